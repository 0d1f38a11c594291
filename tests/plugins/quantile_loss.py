"""A plug-in loss: the pinball loss, whose minimum is a quantile; for `meshcast train --plugin` and training.loss."""

from __future__ import annotations


def upper_decile(error):
    """Too low by one costs 0.9, too high by one 0.1 (Koenker and Bassett 1978, doi:10.2307/1913643, eq. 2.1)."""
    return abs(error) / 2 + (0.5 - 0.9) * error


LOSSES = {"upper_decile": upper_decile}
