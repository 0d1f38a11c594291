"""The report of a comparison is written here: its page, tables and pictures."""
