"""Data and statistics are made ready here: windows, batches and the first guess."""
