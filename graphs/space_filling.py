"""A space-filling curve: an order of nodes in which those that are near in space are near in memory."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

BITS = 10  # of a coordinate; cells of 2e-3, of which a sphere crosses about 3 million


def hilbert_order(positions: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return the nodes [node] along Hilbert's curve through positions [node, dimension] in [-1, 1]."""
    cells = ((np.asarray(positions).T + 1.0) / 2.0 * (2**BITS - 1)).round().astype(np.int64).clip(0, 2**BITS - 1)
    return np.argsort(hilbert_number(cells), kind="stable")


def hilbert_number(cells: NDArray[np.int64], bits: int = BITS) -> NDArray[np.int64]:
    """Return the number along Hilbert's curve [node] of cells [dimension, node] of 2^bits along each axis.

    Skilling (2004), Programming the Hilbert curve, AIP Conference Proceedings 707, 381, doi:10.1063/1.1751381.
    """
    axes = list(np.asarray(cells, dtype=np.int64))
    for bit in (1 << place for place in range(bits - 1, 0, -1)):  # undo the excess of each level
        for n, axis in enumerate(axes):
            inside = (axis & bit) != 0
            swapped = np.where(inside, 0, (axes[0] ^ axis) & (bit - 1))
            axes[n] = axes[n] ^ swapped
            axes[0] = axes[0] ^ np.where(inside, bit - 1, swapped if n else 0)
    for n in range(1, len(axes)):  # Gray code
        axes[n] = axes[n] ^ axes[n - 1]
    flip = np.zeros_like(axes[0])
    for bit in (1 << place for place in range(bits - 1, 0, -1)):
        flip ^= np.where(axes[-1] & bit, bit - 1, 0)
    number = np.zeros_like(axes[0])
    for place in range(bits - 1, -1, -1):
        for axis in axes:
            number = (number << 1) | (((axis ^ flip) >> place) & 1)
    return number
