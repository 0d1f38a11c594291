"""Anything that advances a State, and where States come from."""
