"""Emulators that are fitted in closed form, without gradient descent, and the first guesses that networks correct."""
