"""Scenarios: a climate under pathways of forcing, by region, as files, tables and pictures."""
