"""Verification lives here: forecasts are matched with the truth, scored, resampled and written as files."""
