"""Guarded rollouts, written lead time by lead time, and resumed where they were interrupted."""
