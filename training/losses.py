"""Losses: what training makes small, functions of the error at each node that are averaged over area, steps, variables.

The error comes in units of what the first guess leaves, and is zero where the truth is masked. A loss is written in
operators alone (`*`, `**`, `abs`), so that PyTorch and TensorFlow both take it and differentiate it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from emulator.foundation.configuration_faults import nearest
from emulator.plugins import contributed
from graphs.errors import MeshcastError

Loss = Callable[[Any], Any]


def mse(error: Any) -> Any:
    """Return the squared error e²."""
    return error * error


def mae(error: Any) -> Any:
    """Return the absolute error |e|, whose minimum is the median."""
    return abs(error)


def pseudo_huber(error: Any) -> Any:
    """Return √(1 + e²) - 1: half the squared error where that is small, the absolute error where it is large.

    Charbonnier et al. (1997), doi:10.1109/83.551699, table I.
    """
    return (1.0 + error * error) ** 0.5 - 1.0


def huber(error: Any) -> Any:
    """Return e² / 2 where |e| <= 1, |e| - 1/2 beyond.

    Huber (1964), doi:10.1214/aoms/1177703732.
    """
    size = abs(error)
    near = 0.5 * (size + 1.0 - abs(size - 1.0))  # the smaller of |e| and 1
    return near * (size - 0.5 * near)


def crps(error: Any) -> Any:
    """Return |e|, the continuous ranked probability score of one forecast; that of members takes all of them at once.

    Gneiting and Raftery (2007), doi:10.1198/016214506000001437, eq. 21.
    """
    return abs(error)


LOSSES: dict[str, Loss] = contributed("LOSSES")
LOSSES.update(mse=mse, mae=mae, huber=huber, pseudo_huber=pseudo_huber, crps=crps)


def find_loss(name: str) -> Loss:
    """Return the loss of that name, ours or one from the dictionary LOSSES of a plug-in."""
    if name not in LOSSES:
        raise MeshcastError(
            f"training.loss must be one of {', '.join(LOSSES)}, but is {name!r}{nearest(name, LOSSES) or '.'} "
            "A loss of your own stands in the dictionary LOSSES of a file named with --plugin."
        )
    return LOSSES[name]
