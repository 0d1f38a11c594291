"""Is a forecast of a thousand steps still alive? Its climate beside the truth's, as JSON.

    meshcast simulate simulate-shallow-water-forced
    meshcast train shallow-water-forced
    python benchmarks/long_rollout.py configs/shallow-water-forced.yaml runs/shallow-water-forced > alive.json

The emulator is rolled out from several frames of every test trajectory. At every 100th step three things are compared
with the truth's climate, which is steady, each a mean over the starts: the kinetic energy, the power of the depth and
of the wind by degree, both by one fit of harmonics to the nodes, and the standard deviation of the change over the last
day. The largest scales have few coefficients and change slowly, so that a mean over few states has an error of its own:
as many states of the truth, taken the same number of steps after the starts (from the series' beginning again where it
ends), are compared with the climate too.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, get_args

import numpy as np
from numpy.typing import NDArray

from emulator.build import load_emulator
from emulator.data.forcing_sources import forcings_of
from emulator.data.starts import states_at
from emulator.fields import Fields
from emulator.foundation.configuration import load
from emulator.foundation.low_precision import Precision
from emulator.neural import in_precision
from graphs.atomic_file import write_text
from graphs.mesh import Mesh
from inference.forecasts.forecast import GuardedRollout
from inference.scores.flow import harmonic_view
from training.experiment import ExperimentConfig

NAMES = ("h", "u", "v")
DAY = 86400  # s
Array = NDArray[np.float64]


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("config", type=Path, help="YAML of an experiment on h, u and v")
    parser.add_argument("run", type=Path, help="folder of its run, or an emulator.safetensors")
    parser.add_argument("--steps", type=int, default=1000)
    parser.add_argument("--every", type=int, default=100)
    parser.add_argument("--frames", type=int, default=4, help="starts of each trajectory, evenly over it")
    parser.add_argument("--degrees", type=int, default=16)
    parser.add_argument("--precision", choices=get_args(Precision), default="float32", help="of the network")
    parser.add_argument("--output", type=Path, help="write the JSON here too")
    options = parser.parse_args(arguments)

    config = load(ExperimentConfig, options.config, [])
    assert config.data.test is not None, "the experiment names no test part"
    test = config.data.test.open()
    path = options.run / "emulator.safetensors" if options.run.is_dir() else options.run
    emulator = in_precision(load_emulator(path).emulator, options.precision)
    steps_a_day = emulator.task.time_step.steps_in("1d")
    day = int(np.searchsorted(test.times, test.times[0] + DAY))  # in frames of the data
    stride = day // steps_a_day
    rows = np.arange(test.ensemble_size)
    frames = day + np.linspace(0, len(test.times), options.frames, endpoint=False).round().astype(int)
    frame, trajectory = (part.ravel() for part in np.meshgrid(frames, rows, indexing="ij"))
    initial = states_at(test, emulator.task, test.times[frame], trajectory)
    forcings = forcings_of(emulator.task, emulator.mesh, test)
    columns = [emulator.task.prognostic.index(name) for name in NAMES]

    recent: list[Array] = [initial.state.now[:, 0][..., columns].double().numpy()]
    mass = [mean_depth(recent[0], emulator.mesh)]
    forecast = []
    rollout = GuardedRollout(emulator, initial.state, forcings)
    for step, values in enumerate(rollout.steps(options.steps), 1):
        recent = [*recent[-steps_a_day:], values[:, 0][..., columns].astype(np.float64)]
        if step % options.every == 0:
            forecast.append(climate(recent[-1], recent[0], emulator.mesh, options.degrees))
            mass.append(mean_depth(recent[-1], emulator.mesh))
    steps = range(options.every, options.steps + 1, options.every)
    truth = [truth_at(test, frame + step * stride, day, trajectory, emulator.mesh, options.degrees) for step in steps]
    everything = np.meshgrid(np.arange(day, len(test.times), day), rows, indexing="ij")
    mean = truth_at(test, everything[0].ravel(), day, everything[1].ravel(), emulator.mesh, options.degrees)
    drift = np.abs(np.stack(mass[1:]) / mass[0] - 1.0).max()
    report = {
        "starts": len(frame),
        "forecast_against_the_climate": judged(forecast, [mean] * len(truth), steps),
        "as_many_states_of_the_truth_against_the_climate": judged(truth, [mean] * len(truth), steps),
        "largest_relative_mass_drift": float(f"{drift:.2g}"),
    }
    text = json.dumps(report, indent=1)
    print(text)
    if options.output is not None:
        write_text(options.output, text + "\n")


def climate(now: Array, yesterday: Array, mesh: Mesh, degrees: int) -> dict[str, Array]:
    """Kinetic energy, power by degree of depth and wind, and std of the one-day change, of states [case, node, 3]."""
    view = harmonic_view(mesh)
    kinetic = 0.5 * np.mean(np.square(now[..., 1:]).sum(axis=-1) @ mesh.areas)
    change = np.square(now - yesterday)
    return {
        "kinetic_energy": np.asarray(kinetic),
        "depth_power": view.power(now[..., :1])[..., 1 : degrees + 1, 0].mean(axis=0),
        "wind_power": view.kinetic_energy(now[..., 1], now[..., 2])[..., 1 : degrees + 1].mean(axis=0),
        "change_of_depth": np.sqrt(np.mean(change[..., 0] @ mesh.areas)),
        "change_of_wind": np.sqrt(np.mean(change[..., 1:].sum(axis=-1) @ mesh.areas)),
    }


def truth_at(
    test: Fields,
    frame: NDArray[np.int64],
    day: int,
    trajectory: NDArray[np.int64],
    mesh: Mesh,
    degrees: int,
) -> dict[str, Array]:
    """The same of the truth at frames [case] of trajectories [case]; past its end the series begins again."""
    now = frame
    while (past := now >= len(test.times)).any():
        now = np.where(past, now - len(test.times) + day, now)
    used, place = np.unique(np.concatenate([now, now - day]), return_inverse=True)
    values = test.read(used, NAMES)
    states = values[place, np.tile(trajectory, 2)].astype(np.float64)
    return climate(states[: len(now)], states[len(now) :], mesh, degrees)


def mean_depth(values: Array, mesh: Mesh) -> Array:
    """[case]."""
    return values[..., 0] @ mesh.areas


def judged(found: Sequence[dict[str, Array]], truth: Sequence[dict[str, Array]], steps: range) -> dict[str, Any]:
    """Ratios to the truth at each step, and their extremes: of power, over degrees."""
    rows = []
    for step, ours, theirs in zip(steps, found, truth, strict=False):
        ratio = {key: ours[key] / theirs[key] for key in ours}
        rows.append(
            {"step": step}
            | {key: number(value) for key, value in ratio.items() if value.ndim == 0}
            | {
                f"{key}_{side}": number(extreme)
                for key, value in ratio.items()
                if value.ndim
                for side, extreme in (("lowest", value.min()), ("highest", value.max()))
            }
            | {f"{key}_lowest_at_degree": int(value.argmin()) + 1 for key, value in ratio.items() if value.ndim}
        )
    keys = [key for key in rows[0] if key != "step" and not key.endswith("_degree")] if rows else []
    worst = {key: [number(pick([row[key] for row in rows])) for pick in (np.min, np.max)] for key in keys}
    return {"steps_reached": rows[-1]["step"] if rows else 0, "lowest_and_highest": worst, "rows": rows}


def number(value: float | np.floating[Any] | Array) -> float:
    """With the digits that mean something."""
    return float(f"{float(value):.4g}")


if __name__ == "__main__":
    main()
