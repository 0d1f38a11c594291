"""Where a comparison's forecasts start, and the forecasts themselves: every row from the same states."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray

from emulator.data.forcing_sources import forcings_of
from emulator.data.starts import spread_starts
from emulator.fields import Fields
from emulator.forcings import Forcings
from emulator.task import Task, Variable
from graphs.errors import MeshcastError
from inference.comparison.record import Seed
from training.comparison.configuration import StartsConfig
from training.experiment import DataConfig, ExperimentConfig
from training.optimisation.machine import working_seconds
from training.preparation.data_checks import refuse_overlap
from training.preparation.prepared import PreparedData
from training.runs.verify import same_starts

SharedForcings = dict[tuple[tuple[Variable, ...], bytes], Forcings]  # by forcing and nodes; computed once for all rows


@dataclass(frozen=True, eq=False)
class Starts:
    """Holds initial times and trajectories [case] of a comparison's forecasts, and lead times [lead] in steps."""

    init_time: NDArray[np.int64]
    trajectory: NDArray[np.int64]
    lead_steps: NDArray[np.int64]

    @property
    def steps(self) -> int:
        """Return the steps a rollout must take."""
        return int(self.lead_steps[-1])

    def __len__(self) -> int:
        return len(self.init_time)


def spread(wanted: StartsConfig, tasks: Sequence[Task], test: Fields) -> Starts:
    """Return initial times and trajectories from which every row can start, the longest history deciding."""
    longest = max(tasks, key=lambda task: task.history)
    init_time, trajectory = spread_starts(test, longest, wanted.steps)
    if test.ensemble_axis != "trajectory":
        step = np.searchsorted(test.times, init_time)
        kept = (step - step[0]) % (wanted.every * longest.time_step.frames(test.time_step)) == 0
        init_time, trajectory = init_time[kept], trajectory[kept]
    if wanted.cases is not None and wanted.cases < len(init_time):
        chosen = np.linspace(0, len(init_time) - 1, wanted.cases).round().astype(int)
        init_time, trajectory = init_time[chosen], trajectory[chosen]
    return Starts(init_time, trajectory, np.arange(1, wanted.steps + 1))


def refuse_long_history(data: DataConfig, experiments: Mapping[str, ExperimentConfig], prepared: PreparedData) -> None:
    """Raise MeshcastError where a split is too short for the history of a row and one step after it."""
    splits = {"training": data.train, "validation": data.validation, "test": data.test}
    series = {name: prepared.fields(split) for name, split in splits.items() if split is not None}
    for label, experiment in experiments.items():
        history = experiment.task.history
        short = []
        for name, fields in series.items():
            frames = experiment.task.build(fields).time_step.frames(fields.time_step)
            if (len(fields.times) - 1) // frames < history:
                short.append(name)
        if short:
            lengths = ", ".join(f"{name} {len(fields.times)} times" for name, fields in series.items())
            raise MeshcastError(
                f"task.history is {history} for {label}, and a step after it needs {history + 1} times a time step "
                f"apart, but the data have: {lengths}. The {' and '.join(short)} data are too short: "
                "set task.history (or that of the row) lower, or give longer series."
            )


def refuse_scores_of_learned(
    starts: Starts, task: Task, test: Fields, data: DataConfig, prepared: PreparedData
) -> None:
    """Raise MeshcastError where forecasts would be scored at times that are learned from, or that select."""
    frames = task.time_step.frames(test.time_step)
    targets = np.searchsorted(test.times, starts.init_time)[:, None] + frames * starts.lead_steps
    for name, split in (("training", data.train), ("validation", data.validation)):
        refuse_overlap("test", test, np.unique(targets), prepared.fields(split), frames, name)


def forecast_from(
    seed: Seed, test: Fields, starts: Starts, forcing_tables: Sequence[str], shared: SharedForcings
) -> Seed:
    """Return the seed with its forecasts from these starts; one that blew up ends in NaN.

    A seed that has forecasts, or no emulator, stays as it is.
    """
    if seed.emulator is None or seed.forecast is not None:
        return seed
    on_gpu = torch.cuda.is_initialized()
    begun = working_seconds(on_gpu)
    task, mesh = seed.emulator.emulator.task, seed.emulator.emulator.mesh
    key = task.with_role("forcing"), mesh.positions.tobytes()
    shared[key] = shared.get(key) or forcings_of(task, mesh, test, forcing_tables)
    trained = replace(seed.emulator, name=seed.label)
    (forecast,) = same_starts([trained], test, starts.init_time, starts.trajectory, starts.steps, given=shared[key])
    seconds = (working_seconds(on_gpu) - begun) / (starts.steps * len(starts))
    every = len(starts.lead_steps) == starts.steps
    values = forecast.values if every else forecast.values[:, :, starts.lead_steps - 1]
    forecast = replace(
        forecast,
        values=np.where(np.isfinite(values), values, np.float32(np.nan)),
        lead_steps=starts.lead_steps,
        attributes={**forecast.attributes, **({} if seed.seed is None else {"seed": str(seed.seed)})},
    )
    return replace(seed, forecast=forecast, inference_seconds=seconds)
