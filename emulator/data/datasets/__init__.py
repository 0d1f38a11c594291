"""Anemoi datasets, in and out: fields, and the scalars that stand beside them."""
