"""The tidy table: one row a number."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from emulator.foundation.time_step import TimeStep, to_datetime
from inference.scores.scorecard import Verification

if TYPE_CHECKING:
    import pandas as pd

COLUMNS = ("emulator", "seed", "case", "member", "lead", "variable", "metric", "value")
Axis = Sequence[str] | NDArray[np.int64]
TEXTS = ("emulator", "seed", "case", "variable", "metric")


def tidy_table(verification: Verification) -> pd.DataFrame:
    """One row a number: emulator, seed, case, member, lead, variable, metric, value.

    A score over all cases has no case, one over all members no member, and one over all leads no lead. `lead` counts
    time steps. Interval bounds are metrics of their own, such as `rmse_lower`; so are `skill_vs_NAME` and the paired
    difference `rmse_minus_NAME`.
    """
    columns = _Columns()
    _fill(columns, verification)
    return columns.table()


def case_names(init_time: NDArray[np.int64], trajectory: NDArray[np.int64], time_step: TimeStep) -> list[str]:
    """A name a case: its initial time, its trajectory, or both."""
    names = []
    for start, index in zip(init_time.tolist(), trajectory.tolist(), strict=True):
        nominal = time_step.true_length is not None
        moment = f"step {start // time_step.count}" if nominal else str(to_datetime(np.asarray(start)))
        names.append(moment if index < 0 else f"trajectory {index}, {moment}")
    return names


def _fill(columns: _Columns, verification: Verification) -> None:
    """Every number of a verification, emulator by emulator."""
    for emulator in verification.emulators:
        cases = case_names(emulator.init_time, emulator.trajectory, verification.time_step)
        # The name and the seed tell emulators apart, unless a number had to.
        name = emulator.label if "#" in emulator.label else emulator.name
        axes: dict[str, Axis] = {"case": cases, "lead": emulator.lead_steps, "variable": verification.variables}
        rows = _Rows(columns, name, emulator.seed, axes)
        for metric in emulator.metrics:
            rows.add(metric, emulator.case_values(metric), "case", "lead", "variable")
            bounds = verification.interval(emulator.label, metric)
            rows.add_bounded(metric, (emulator.mean(metric), *bounds), "lead", "variable")
        if emulator.member_mse is not None:
            rows.add("rmse", np.sqrt(emulator.member_mse), "case", "member", "lead", "variable")
        rows.add("stable_steps", emulator.stable_steps, "case", "variable")
        rows.add("stable_steps", emulator.mean_stable_steps, "variable")
        rows.add("num_failed", emulator.failed.astype(np.float64), "lead", "variable")
        rows.add_bounded("score", (emulator.score(), *verification.interval(emulator.label, "score")), "variable")
        for other in verification.rivals_of(emulator.label):
            for metric, found in (
                (f"skill_vs_{other}", verification.skill(emulator.label, other)),
                (f"rmse_minus_{other}", verification.difference(emulator.label, other)),
            ):
                shared = _Rows(columns, name, emulator.seed, {**axes, "lead": found.lead_steps})
                shared.add_bounded(metric, (found.estimate, found.lower, found.upper), "lead", "variable")


class _Columns:
    """The table's columns as they grow: a text as its number among those seen, -1 for none, so that rows are small."""

    def __init__(self) -> None:
        self._numbers: dict[str, dict[str, int]] = {name: {} for name in TEXTS}
        self._parts: dict[str, list[NDArray[Any]]] = {name: [] for name in COLUMNS}

    def number(self, column: str, texts: Sequence[str]) -> NDArray[np.int32]:
        """The numbers of some texts."""
        known = self._numbers[column]
        return np.array([known.setdefault(text, len(known)) for text in texts], dtype=np.int32)

    def add(self, values: NDArray[np.float64], others: Mapping[str, NDArray[np.integer]]) -> None:
        """Rows for the finite values; `others` broadcast to them, and what they lack is none."""
        there = np.isfinite(values)
        self._parts["value"].append(values[there])
        for name in COLUMNS[:-1]:
            column = others.get(name, np.array(-1, dtype=np.int32))
            self._parts[name].append(np.broadcast_to(column, values.shape)[there])

    def table(self) -> pd.DataFrame:
        """All rows so far."""
        import pandas as pd

        made: dict[str, Any] = {}
        for name in COLUMNS:
            column = np.concatenate(self._parts.pop(name))
            if name in TEXTS:
                made[name] = pd.Categorical.from_codes(column, list(self._numbers[name]))
            elif name == "value":
                made[name] = column
            else:
                made[name] = pd.arrays.IntegerArray(column.astype(np.int64), column < 0)
        return pd.DataFrame(made)


@dataclass(frozen=True, eq=False)
class _Rows:
    """Turns arrays of one emulator into rows; `axes` names what stands along each dimension, else its index does."""

    columns: _Columns
    name: str
    seed: str
    axes: Mapping[str, Axis]

    def add(self, metric: str, values: NDArray[np.float64], *dims: str) -> None:
        """A row an element of `values` [dims]."""
        fixed = {"emulator": self.name, "seed": self.seed, "metric": metric}
        others: dict[str, NDArray[np.integer]] = {key: self.columns.number(key, [fixed[key]])[0] for key in fixed}
        for place, (dim, size) in enumerate(zip(dims, values.shape, strict=True)):
            along = self.axes.get(dim, np.arange(size))
            numbers = self.columns.number(dim, along) if dim in TEXTS else np.asarray(along)  # type: ignore[arg-type]
            others[dim] = numbers.reshape([-1 if k == place else 1 for k in range(len(dims))])
        self.columns.add(values, others)

    def add_bounded(self, metric: str, found: tuple[NDArray[np.float64], ...], *dims: str) -> None:
        """A score over cases with the bounds of its interval."""
        for name, values in zip((metric, f"{metric}_lower", f"{metric}_upper"), found, strict=True):
            self.add(name, values, *dims)
