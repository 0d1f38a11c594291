"""Learning rates, and how fast averages of the weights forget, over updates."""

from __future__ import annotations

import math


def warm_up_cosine(update: int, warm_up: int, updates: int) -> float:
    """Return the share of the peak learning rate: a linear rise over `warm_up` updates, then a cosine to zero.

    Loshchilov and Hutter (2017), arXiv:1608.03983, eq. 5, without restarts.
    """
    if update < warm_up:
        return (update + 1) / warm_up
    progress = (update - warm_up) / max(updates - warm_up, 1)
    return 0.5 * (1.0 + math.cos(math.pi * min(progress, 1.0)))


def averaging_decay(ema_decay: float, update: int) -> float:
    """Return the share that the moving average of the weights keeps of itself after `update` updates, from 1.

    A short average at first, so that it does not drag the untrained weights along.
    """
    return min(ema_decay, (1 + update) / (10 + update))
