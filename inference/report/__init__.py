"""The report of a verification is written here: one page and its tables."""
