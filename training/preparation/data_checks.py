"""What may be wrong with data before anything is learned from them: holes, overlapping periods, data that changed."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from emulator.fields import Fields
from emulator.foundation.time_step import to_datetime
from emulator.harmonic_fields import HarmonicFields
from emulator.task import Task, names_of
from emulator.training_part import TrainingPart
from graphs.errors import MeshcastError
from training.json_file import read_json, write_json

ROUNDING = 1e-4  # of a variable's standard deviation
REMEDY = (
    "Fill the gap, leave those dates out of the data or declare them missing, or mask the node at all times (NaN "
    "throughout, as land in a sea's temperature)."
)


def refuse_holes(part: TrainingPart, task: Task) -> None:
    """Raise MeshcastError where training data lack a value that a network or its loss would need.

    A node that never has a value is masked. One that has them now and then would make forecasts from it NaN; of a
    diagnostic variable it is left out of the loss, as long as there is one value at that time.
    """
    fields, gaps = part.fields, part.survey(task)
    for column, name in enumerate(names_of(task.predicted)):
        if column < len(task.prognostic) and (holes := gaps.holes[:, column]).any():
            node = int(np.flatnonzero(holes)[gaps.first_hole[holes, column].argmin()])
            raise MeshcastError(
                f"The training data {fields.source} hold no value of {name} at {_place(fields, node)} at "
                f"{_date(fields, gaps.first_hole[node, column])}, and holes at {int(holes.sum())} nodes in all, but "
                f"values there at other times. {REMEDY}"
            )
        if (empty := gaps.first_empty[column]) >= 0:
            raise MeshcastError(
                f"The training data {fields.source} hold no value of {name} at all at {_date(fields, empty)}. "
                "Leave that date out of the data, or declare it missing."
            )


def refuse_holes_of_starts(
    fields: Fields, task: Task, pairs: NDArray[np.int64], window: NDArray[np.int64], valid: NDArray[np.bool_] | None
) -> None:
    """Raise MeshcastError where a validation forecast would start from a hole, or meet no truth at all.

    pairs: [window, (ensemble, start)]; window: frames from its first. valid: [node, predicted], where training has
    values.
    """
    names, count = names_of(task.predicted), len(task.prognostic)
    for row, start in pairs.tolist():
        values = fields.read(start + window, names, row)[:, 0]  # [time, node, predicted]
        if np.isfinite(values).all():
            continue
        needed = np.isnan(values) if valid is None else np.isnan(values) & valid
        needed[task.history :] = np.isnan(values[task.history :]).all(axis=1, keepdims=True)
        needed[:, :, count:] &= np.arange(len(window))[:, None, None] >= task.history
        if (bad := needed | np.isinf(values)).any():
            time, node, column = (int(axis[0]) for axis in np.nonzero(bad))
            raise MeshcastError(
                f"The validation data {fields.source} hold {values[time, node, column]:g} for {names[column]} at "
                f"{_place(fields, node)} at {_date(fields, start + window[time])}, where a validation forecast needs "
                f"a value. {REMEDY}"
            )


def refuse_overlap(
    name: str, fields: Fields, targets: NDArray[np.int64], training: Fields, frames: int = 1, other: str = "training"
) -> None:
    """Raise MeshcastError where forecasts would be scored on times that were learned from.

    What comes before a forecast's first lead time is history, and may overlap. Independent trajectories overlap where
    one of them stands in both; members of one ensemble, and different sources of the same dates, are one atmosphere,
    unless `trajectories` splits them by their numbers.

    name, other: of the parts. targets: [time], frames of `fields` that forecasts are scored at.
    frames: of the training data from one step to the next.
    """
    times = np.unique(fields.times[targets])
    first, last = _runs(training, frames)
    inside = times[np.searchsorted(first, times, side="right") > np.searchsorted(last, times, side="left")]
    if len(inside) == 0:
        return
    if fields.ensemble_axis == training.ensemble_axis == "trajectory":
        rows = _same_rows(fields, training, np.intersect1d(inside, training.times))
        if not rows:
            return
        what = f"trajectories {', '.join(map(str, rows[:5]))} stand in both, and"
    elif fields.source == training.source and not set(fields.trajectories) & set(training.trajectories):
        return
    else:
        what = "they"
    span, learned = to_datetime(inside[[0, -1]]), to_datetime(training.times[[0, -1]])
    raise MeshcastError(
        f"The {name} data {fields.source} would be forecast at {len(inside)} times from {span[0]} to {span[1]}, but "
        f"the {other} data {training.source} cover {learned[0]} to {learned[1]}: {what} overlap, so that the score "
        f"would be of what was learned. Give separate periods (start, end), or separate trajectories; independent "
        "simulations on the same dates are told apart by `meshcast dataset --trajectories`."
    )


def refuse_learned_test(test: Fields, task: Task, others: Mapping[str, Fields], frames: int) -> list[str]:
    """Raise MeshcastError where forecasts of the test data would be scored on times that the `others` cover.

    Test data may begin within the others and go on beyond them, since what a forecast starts from may have been
    learned; a line is returned where more than the task's own history of them was.

    frames: of the data from one step to the next.
    """
    targets = np.arange(min(task.history * frames, len(test.times) - 1), len(test.times))
    notices = []
    for name, fields in others.items():
        try:
            refuse_overlap("test", test, targets, fields, frames, name)
        except MeshcastError:
            if not fields.times[0] <= test.times[0] <= fields.times[-1] < test.times[-1]:
                raise
            first, last = to_datetime(np.array([test.times[0], fields.times[-1]]))
            notices.append(
                f"The test data {test.source} begin at {first}, and the {name} data end at {last}: what lies between "
                "may serve as history alone, since a forecast of it would be scored on what was learned."
            )
    return notices


def keep_data(folder: Path, begun: bool, now: dict[str, dict[str, Any]]) -> None:
    """Write what the data of a run are into its folder; of one that has begun, raise MeshcastError where they differ.

    now: from `description_of`, by part of the data.
    """
    path = folder / "data.json"
    if not begun:
        write_json(path, now)
    elif path.is_file():
        before = read_json(path, "Remove it to go on without knowing whether the data are still the same.")
        changed = [
            f"{key} of the {name} data ({was.get(key)} before, {value} now)"
            for name, part in now.items()
            for was in [before.get(name, {})]
            for key, value in part.items()
            if was.get(key) != value
        ]
        if changed:
            raise MeshcastError(
                f"The data are not those that the run in {folder} began with: {'; '.join(changed)}. Bring those data "
                "back to go on, or train anew under another name: name=NAME."
            )


def description_of(fields: Fields, values: str, samples: str) -> dict[str, Any]:
    """Return what a part of the data is, in plain types.

    values: a digest of what is predicted, at all times; samples: of all variables at some times.
    """
    span = to_datetime(fields.times[[0, -1]])
    return {
        "variables": ", ".join(f"{name} [{unit}]" for name, unit in zip(fields.variables, fields.units, strict=True)),
        "rows": fields.ensemble_size,
        "period": f"{span[0]} to {span[1]}, {len(fields.times)} times",
        "times": hashlib.sha256(fields.times.tobytes() + repr(sorted(fields.missing)).encode()).hexdigest()[:16],
        "nodes": hashlib.sha256(fields.mesh.positions.round(6).tobytes()).hexdigest()[:16],
        "values of what is predicted": values,
        "values sampled": samples,
    }


def _runs(fields: Fields, frames: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the first and last time of each run of times that can be read, steps apart at most."""
    readable = np.setdiff1d(np.arange(len(fields.times)), sorted(fields.missing))
    ends = np.flatnonzero(np.diff(readable) > frames)
    return fields.times[readable[np.r_[0, ends + 1]]], fields.times[readable[np.r_[ends, len(readable) - 1]]]


def _same_rows(fields: Fields, training: Fields, shared: NDArray[np.int64]) -> list[int]:
    """Return the numbers of trajectories whose values at some shared times are those of a trajectory of training."""
    if len(shared) == 0:
        return []
    moments = shared[[0, len(shared) // 2, -1]]
    names = [name for name in fields.variables if name in training.variables]
    rows, others = _rows_at(fields, moments, names), _rows_at(training, moments, names)
    if isinstance(fields, HarmonicFields) or isinstance(training, HarmonicFields):
        same = [any(_nearly_the_same(row, other) for other in others) for row in rows]
    else:
        learned = {row.tobytes() for row in others}
        same = [row.tobytes() in learned for row in rows]
    return [
        fields.trajectories[number]
        for number, row in enumerate(rows)
        if same[number] and not (row == row.flat[0]).all()
    ]


def _nearly_the_same(row: NDArray[np.float32], other: NDArray[np.float32]) -> bool:
    """Return whether values [time, node, variable] differ by rounding alone, as a sum of harmonics does."""
    return bool(np.all(np.abs(row - other).max(axis=(0, 1)) <= ROUNDING * row.std(axis=(0, 1))))


def _rows_at(fields: Fields, moments: NDArray[np.int64], names: list[str]) -> NDArray[np.float32]:
    """Return values [row, time, node, variable]."""
    return np.ascontiguousarray(fields.unkept.read(np.searchsorted(fields.times, moments), names).swapaxes(0, 1))


def _place(fields: Fields, node: int) -> str:
    return fields.mesh.place(node)


def _date(fields: Fields, index: int | np.int64) -> str:
    return str(to_datetime(fields.times[np.array([index])])[0])
