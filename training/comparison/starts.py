"""Where a comparison's forecasts start, and the forecasts themselves: every row from the same states."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import torch

from emulator.data.forcing_sources import forcings_of
from emulator.data.starts import spread_starts
from emulator.fields import Fields
from emulator.forcings import Forcings
from emulator.task import Task
from graphs.errors import MeshcastError
from inference.comparison.record import Seed
from training.comparison.configuration import StartsConfig
from training.comparison.forecast_files import Starts
from training.experiment import DataConfig, ExperimentConfig
from training.optimisation.clock import working_seconds
from training.runs.references import same_starts


def spread(wanted: StartsConfig, tasks: Sequence[Task], test: Fields) -> Starts:
    """Initial times and trajectories from which every row can start, the longest history deciding."""
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


def refuse_long_history(data: DataConfig, experiments: Mapping[str, ExperimentConfig]) -> None:
    """Raise MeshcastError where a part is too short for the history of a row and one step after it."""
    parts = {"training": data.train, "validation": data.validation, "test": data.test}
    lengths: dict[str, tuple[int, Fields]] = {}
    for name, part in parts.items():
        if part is not None:
            fields = part.unread
            lengths[name] = len(fields.times), fields
    for label, experiment in experiments.items():
        short = {}
        for name, (length, fields) in lengths.items():
            frames = experiment.task.build(fields).time_step.frames(fields.time_step)
            if (length - 1) // frames < experiment.task.history:
                short[name] = length
        if short:
            told = ", ".join(f"{name} {length} times" for name, (length, _) in lengths.items())
            raise MeshcastError(
                f"task.history is {experiment.task.history} for {label}, and a step after it needs "
                f"{experiment.task.history + 1} times a time step apart, but the parts hold: {told}. The "
                f"{' and '.join(short)} part{'s are' if len(short) > 1 else ' is'} too short: set task.history (or "
                "that of the row) lower, or give longer series."
            )


SharedForcings = dict[tuple[tuple[str, ...], bytes], Forcings]  # by names and nodes; computed once for all rows


def forecast_from(
    seed: Seed, test: Fields, starts: Starts, forcing_tables: Sequence[str], shared: SharedForcings | None = None
) -> Seed:
    """Return the seed with its forecasts from these starts; one that blew up ends in NaN.

    One that has forecasts, or no emulator to make any, stays as it is.
    """
    if seed.emulator is None or seed.forecast is not None:
        return seed
    trained = replace(seed.emulator, name=seed.label)
    on_gpu = torch.cuda.is_initialized()
    begun = working_seconds(on_gpu)
    task, mesh = trained.emulator.task, trained.emulator.mesh
    key, shared = (task.forcing, mesh.positions.tobytes()), {} if shared is None else shared
    shared[key] = shared.get(key) or forcings_of(task, mesh, test, forcing_tables)
    (forecast,) = same_starts([trained], test, starts.init_time, starts.trajectory, starts.steps, given=shared[key])
    seconds = (working_seconds(on_gpu) - begun) / (starts.steps * len(starts))
    leads = starts.lead_steps - 1
    values = forecast.values if len(leads) == starts.steps else forecast.values[:, :, leads]
    forecast = replace(
        forecast,
        values=np.where(np.isfinite(values), values, np.float32(np.nan)),
        lead_steps=starts.lead_steps,
        attributes={**forecast.attributes} | ({} if seed.seed is None else {"seed": str(seed.seed)}),
    )
    return replace(seed, forecast=forecast, inference_seconds=seconds)
