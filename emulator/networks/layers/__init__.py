"""Layers and operators that several networks share."""
