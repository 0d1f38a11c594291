"""Forecasts are made here: a guarded rollout, written lead time by lead time, resumed where it was interrupted."""
