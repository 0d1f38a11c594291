"""The spread of perturbed members, watched while they are forecast: members that agree say nothing of uncertainty."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

COLLAPSED = 0.01  # of the spread at the initial time


@dataclass(eq=False)
class SpreadWatch:
    """Says once of each variable that its members have collapsed onto each other.

    initial: [case, member, node, variable] at the initial time. names: of its variables.
    """

    initial: NDArray[np.float32]
    names: Sequence[str]
    _collapsed: set[str] = field(default_factory=set, init=False)

    def __post_init__(self) -> None:
        self._start = _spread(self.initial)

    def look(self, values: NDArray[np.float32], step: int) -> Iterator[str]:
        """Yield a sentence for each variable whose spread has fallen to near nothing by this step.

        values: [case, member, node, predicted], the initial variables first.
        """
        if values.shape[1] < 2:
            return
        now = _spread(values[..., : len(self.names)])
        for name, before, after in zip(self.names, self._start, now, strict=True):
            if name not in self._collapsed and after < COLLAPSED * before:
                self._collapsed.add(name)
                yield (
                    f"the {values.shape[1]} members have collapsed onto each other in {name} by step {step}: their "
                    f"spread is {after:.2g}, at the initial time it was {before:.2g}"
                )


def _spread(values: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return the standard deviation between members [variable]; NaN where fewer than two go on."""
    with warnings.catch_warnings():  # a masked node, and a case that was stopped, have none
        warnings.simplefilter("ignore", RuntimeWarning)
        variance = np.nanvar(values.astype(np.float64), axis=1, ddof=1)  # [case, node, variable]
        return np.asarray(np.sqrt(np.nanmean(variance, axis=(0, 1))))
