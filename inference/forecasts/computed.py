"""Forecasts that are computed a few cases at a time, when their values are asked for, and never held as a whole."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

BLOCK_BYTES = 64_000_000  # of the values held at once


@dataclass(eq=False)
class ComputedValues:
    """Values [case, member, lead, node, variable] of a forecast, as an array that is computed where it is looked at.

    compute: values of the cases given by index. shape: of all values.
    """

    compute: Callable[[NDArray[np.int64]], NDArray[np.float32]]
    shape: tuple[int, int, int, int, int]
    _first: int = field(default=0, init=False)
    _block: NDArray[np.float32] | None = field(default=None, init=False)
    _opening: NDArray[np.float32] | None = field(default=None, init=False)  # the first case, which pictures ask for

    def __getitem__(self, index: Any) -> NDArray[np.float32]:
        cases, *others = index if isinstance(index, tuple) else (index,)
        wanted = np.arange(self.shape[0])[cases]
        if wanted.ndim == 0:
            return self._of(int(wanted))[tuple(others)]
        return np.stack([self._of(case)[tuple(others)] for case in wanted.tolist()])

    def _of(self, case: int) -> NDArray[np.float32]:
        """Return the values of a case [member, lead, node, variable]."""
        size = max(1, BLOCK_BYTES // (4 * int(np.prod(self.shape[1:]))))
        first = case - case % size
        if case == 0 and self._opening is not None:
            return self._opening
        if self._block is None or first != self._first:
            self._block = None  # before the next is made
            self._first, self._block = first, self.compute(np.arange(first, min(first + size, self.shape[0])))
            if first == 0:
                self._opening = self._block[0].copy()
        return self._block[case - first]
