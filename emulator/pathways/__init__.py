"""Pathways: effective radiative forcing year by year, from a name, a file, levers, or between two of them."""
