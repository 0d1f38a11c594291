"""planetswe: the truth beside the published one, forecasts' VRMSE, and ten model years without the truth, as JSON.

    meshcast simulate simulate-planetswe
    meshcast simulate simulate-planetswe num_trajectories=4 first_trajectory=36 num_frames=1008 \
        'mesh={kind: gaussian, num_latitudes: 128, num_longitudes: 256}' output=data/planetswe-grid.zarr
    python benchmarks/planetswe.py configs/planetswe.yaml --seeds 0 1 2 --output planetswe.json

Forecasts start on the solver's grid over the first year of the test trajectories: fields are summed from harmonics
at the emulator's nodes, forecast there, fitted by harmonics again and compared on the grid. What the nodes do not hold
of the start is added to the forecast, less each hour until the twelfth; the rest of it counts as error. VRMSE is The
Well's: unweighted over the grid's points (Gaussian rows, 128 x 256, nearly even in latitude), mean over h, u and v.
`nodes` is the error of the truth itself seen in this way. Climates are rolled out from the first frames of the test
trajectories, ten years of 1,008 hours for three of the truth.
Stopped and started again, the script skips the seeds that are finished.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import numpy as np
import torch
from planetswe_truth import NAMES, Array, GridTruth, Index, NodeView, sphere_simulation, vrmse
from sphere_protocol import number

from emulator.build import TrainedEmulator, load_emulator, package_versions
from emulator.data.starts import InitialConditions
from emulator.fields import Fields
from emulator.forcings import ComputedForcings, Forcings
from emulator.foundation.configuration import load
from emulator.heating_cycle import HOUR
from emulator.physics.shallow_water import ShallowWaterConfig
from emulator.state import State
from graphs.atomic_file import write_text
from inference.forecasts.forecast import forecast
from inference.forecasts.guard import Guard
from inference.scores.flow import harmonic_view
from training.experiment import DataPart, ExperimentConfig
from training.runs.study import Run, run_study

PUBLISHED = {
    "h": (296.66, 3.9976),
    "u": (13.896, 0.26371),
    "v": (7.2242, 0.33236),
}  # std and rms hourly change, The Well
WINDOWS = {"1": (1, 1), "6 to 12": (6, 12), "13 to 30": (13, 30)}  # hours
KEPT_HOURS = 12  # until when something is left of what the nodes do not hold of the start
DEGREES = 30
RESAMPLES = 2000


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("config", type=Path, help="YAML of an experiment on h, u and v")
    parser.add_argument("overrides", nargs="*", help="key=value, e.g. training.minutes=60")
    parser.add_argument("--simulation", default="simulate-planetswe")
    parser.add_argument("--grid", type=Path, default=Path("data/planetswe-grid.zarr"))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--every", type=int, default=63, help="hours from one start to the next")
    parser.add_argument("--hours", type=int, default=10_080, help="of the climates")
    parser.add_argument(
        "--long-truth", type=Path, help="test trajectories for as many hours, a frame each 12 h, for --hours"
    )
    parser.add_argument("--results", type=Path, default=Path("results"), help="one file a finished run")
    parser.add_argument("--sections", nargs="+", choices=("truth", "forecasts", "climate"))
    parser.add_argument("--output", type=Path, help="write the JSON here too")
    options = parser.parse_intermixed_args(arguments)
    sections = options.sections or ("truth", "forecasts", "climate")

    config = load(ExperimentConfig, options.config, options.overrides)
    report: dict[str, Any] = {}
    if "truth" in sections:
        report["truth"] = statistics(config) | {"independence": independence(config)}
    trained: list[tuple[dict[str, Any], TrainedEmulator]] = []
    if set(sections) - {"truth"}:
        with redirect_stdout(sys.stderr):  # standard output is for the result alone
            results = run_study([Run("network", config, seed) for seed in options.seeds], options.results, say=print)
        for result in results:
            about = {"seed": result.seed, "status": result.status, "updates": result.update, "seconds": result.seconds}
            trained.append((about, load_emulator(result.emulator_path(options.results))))
    if "forecasts" in sections:
        truth = GridTruth(sphere_simulation(options.simulation), options.grid)
        report["forecasts"] = forecast_errors(truth, trained, options.every)
    if "climate" in sections:
        long = None if options.long_truth is None else DataPart(str(options.long_truth)).open(keep_in_memory=False)
        equation = sphere_simulation(options.simulation).equation
        report["climate"] = climates(config, trained, equation, options.hours, long)
    text = json.dumps({**report, "versions": package_versions()}, indent=1)
    print(text)
    if options.output is not None:
        write_text(options.output, text + "\n")


def part(config: ExperimentConfig, name: str) -> Fields:
    found: DataPart | None = getattr(config.data, name)
    assert found is not None, f"the experiment names no {name} part"
    return found.open(keep_in_memory=False)


def statistics(config: ExperimentConfig) -> dict[str, Any]:
    """Standard deviation and root mean square hourly change of all parts, weighted as an even grid of latitudes."""
    sums, count, mean = np.zeros((3, 3)), 0.0, np.zeros(3)
    for name in ("train", "validation", "test"):
        fields = part(config, name)
        weights = fields.mesh.areas / np.cos(np.radians(fields.mesh.latitudes)).clip(0.02)
        weights /= weights.sum()
        for frame in range(0, len(fields.times) - 1, 24):
            values = fields.read(np.array([frame, frame + 1]), NAMES).astype(np.float64)
            change = np.square(values[1] - values[0])
            sums[0] += np.einsum("rnv,n->v", values[0], weights)
            sums[1] += np.einsum("rnv,n->v", np.square(values[0]), weights)
            sums[2] += np.einsum("rnv,n->v", change, weights)
            count += len(change)
    mean, square, change = sums / count
    found = {}
    for column, name in enumerate(NAMES):
        std, hourly = float(np.sqrt(square[column] - mean[column] ** 2)), float(np.sqrt(change[column]))
        published = PUBLISHED[name]
        found[name] = {
            "std": number(std),
            "std_over_published": number(std / published[0]),
            "hourly_change": number(hourly),
            "hourly_change_over_published": number(hourly / published[1]),
        }
    return found


def independence(config: ExperimentConfig) -> dict[str, float | None]:
    """Mean distance from a state to the nearest state of another trajectory, at any date, over the states' spread."""
    parts = {name: part(config, name) for name in ("train", "test")}
    states, numbers, tests = [], [], []
    for name, fields in parts.items():
        frames = np.arange(0, len(fields.times), 24)
        values = fields.read(frames, NAMES).swapaxes(0, 1)  # [trajectory, day, node, 3]
        scaled = values / values.std(axis=(0, 1, 2)) * np.sqrt(fields.mesh.areas)[:, None]
        states.append(scaled.reshape(-1, scaled.shape[2] * 3).astype(np.float32))
        numbers += np.repeat(np.asarray(fields.trajectories), len(frames)).tolist()
        tests += [name == "test"] * (len(frames) * fields.ensemble_size)
    every, trajectory, test = torch.from_numpy(np.concatenate(states)), np.array(numbers), np.array(tests)
    distance = torch.cdist(every, every).numpy()
    distance[trajectory[:, None] == trajectory] = np.nan
    usual = float(np.nanmean(distance))
    to_training = distance[:, ~test]
    return {
        "test_to_training": number(float(np.nanmin(to_training[test], axis=1).mean()) / usual),
        "training_to_training": number(float(np.nanmin(to_training[~test], axis=1).mean()) / usual),
    }


def forecast_errors(
    truth: GridTruth, trained: Sequence[tuple[dict[str, Any], TrainedEmulator]], every: int
) -> dict[str, Any]:
    """VRMSE of each emulator, of persistence, of linear extrapolation over an hour, and of the truth at the nodes."""
    last = WINDOWS["13 to 30"][1]
    frames = np.arange(1, len(truth.fields.times) - last, every)
    frame, row = (each.ravel() for each in np.meshgrid(frames, np.arange(truth.fields.ensemble_size), indexing="ij"))
    start = truth.grid(frame, row)
    coefficients = truth.coefficients(start)
    view = NodeView(truth, trained[0][1].emulator.mesh)
    before = truth.grid(frame - 1, row)
    beyond = start - truth.on_grid(view.coefficients(view.at_nodes(coefficients).numpy()))
    runs = {
        f"seed {about['seed']}": hourly(each, view, coefficients, truth, frame, row, last) for about, each in trained
    }
    labels = (*runs, "persistence", "linear extrapolation", "nodes")
    errors: dict[str, Array] = {label: np.full((last, len(frame), 3), np.nan) for label in labels}
    for lead in range(1, last + 1):
        there = truth.grid(frame + lead, row)
        kept = max(0.0, 1.0 - lead / KEPT_HOURS) * beyond
        for label, values in runs.items():
            errors[label][lead - 1] = vrmse(truth.on_grid(view.coefficients(values[:, lead - 1])) + kept, there)
        errors["persistence"][lead - 1] = vrmse(start, there)
        errors["linear extrapolation"][lead - 1] = vrmse(start + lead * (start - before), there)
        seen = view.at_nodes(truth.coefficients(there)).numpy()
        errors["nodes"][lead - 1] = vrmse(truth.on_grid(view.coefficients(seen)) + kept, there)
    summary = {label: in_windows(each) for label, each in errors.items()}
    return {
        "starts": len(frame),
        "fit_truncation": view.truncation,
        "vrmse": summary,
        "median_over_seeds": {
            window: number(np.median([summary[label][window]["mean"] for label in runs])) for window in WINDOWS
        },
        "by_hour": {label: [number(value) for value in each.mean(axis=(1, 2))] for label, each in errors.items()},
        "runs": [about for about, _ in trained],
    }


def hourly(
    trained: TrainedEmulator,
    view: NodeView,
    coefficients: torch.Tensor,
    truth: GridTruth,
    frame: Index,
    row: Index,
    last: int,
) -> np.ndarray:
    """Return h, u, v [case, hour, node, 3] of an emulator's forecast."""
    emulator = trained.emulator
    initial = view.initial(coefficients, truth.fields.times[frame], row, emulator.task)
    parts = int(emulator.task.time_step.count // HOUR)
    steps = -(-last // parts)
    found, _ = forecast(trained, initial, Forcings(ComputedForcings(emulator.mesh)), steps, parts=parts)
    return found.values[:, 0, :last][..., [found.variables.index(name) for name in NAMES]]


def in_windows(errors: Array) -> dict[str, dict[str, float | None]]:
    """Return the mean over cases and hours of each window, of errors [hour, case, 3]."""
    found = {}
    for window, (first, last) in WINDOWS.items():
        by_field = errors[first - 1 : last].mean(axis=(0, 1))
        found[window] = {name: number(value) for name, value in zip(NAMES, by_field, strict=True)}
        found[window]["mean"] = number(by_field.mean())
    return found


def climates(
    config: ExperimentConfig,
    trained: Sequence[tuple[dict[str, Any], TrainedEmulator]],
    equation: ShallowWaterConfig,
    duration: int,
    long: Fields | None = None,
) -> list[dict[str, Any]]:
    """Compare hours without the truth to the truth's: energy by degree, the daily and the yearly wave, mass.

    long: the test trajectories for as many hours, with which all but the daily wave is compared; without it they are
    compared with the hours there are.
    """
    assert equation.heating is not None, "the truth has neither days nor years"
    periods = {"daily": equation.heating.day_hours * HOUR, "yearly": equation.heating.year_hours * HOUR}
    test, everything = part(config, "test"), [part(config, name) for name in ("train", "validation", "test")]
    low, high = sampling_interval(everything, test.ensemble_size)
    rows = []
    for about, each in trained:
        emulator, mesh = each.emulator, each.emulator.mesh
        step = int(emulator.task.time_step.count // HOUR)
        parts = max(1, step // 6) if each.between is not None else 1
        steps = duration // step
        rows_of = np.arange(test.ensemble_size)
        values = test.read(np.array([0]), NAMES)[0]  # [trajectory, node, 3]
        order = [NAMES.index(name) for name in emulator.task.prognostic]
        state = State(torch.from_numpy(values[:, None, None][..., order]), np.repeat(test.times[:1], len(rows_of)))
        initial = InitialConditions(state, rows_of, {})
        guard = Guard(each.statistics, mesh)
        found, stops = forecast(each, initial, Forcings(ComputedForcings(mesh)), steps, guard, parts=parts)
        fields = found.values[:, 0][..., [found.variables.index(name) for name in NAMES]].astype(np.float64)
        hours = (step // parts) * np.arange(1, fields.shape[1] + 1)
        true_hours = hours[hours < len(test.times)]
        truth = test.read(true_hours, NAMES).swapaxes(0, 1).astype(np.float64)
        hourly = compared = (fields, hours), (truth, true_hours)
        if long is not None:
            known = hours[np.isin(test.times[0] + 3600 * hours, long.times)]
            index = np.searchsorted(long.times, test.times[0] + 3600 * known)
            longer = long.read(index, NAMES).swapaxes(0, 1).astype(np.float64)
            compared = (fields[:, np.isin(hours, known)], known), (longer, known)
        energy, true_energy = (energy_by_degree(each_part, mesh) for each_part, _ in compared)
        ratio = energy.mean(axis=0) / true_energy.mean(axis=0).clip(1e-30)  # degree 0 has none
        inside = (np.abs(ratio - 1) < 0.1) | ((energy.mean(axis=0) >= low) & (energy.mean(axis=0) <= high))
        waves = {
            name: [wave(each_part[..., 0], test.times[0] + 3600 * at, period, mesh.areas) for each_part, at in pair]
            for (name, period), pair in zip(periods.items(), (hourly, compared), strict=True)
        }
        drift = np.abs(fields[..., 0] @ mesh.areas - values[:, None, :, 0] @ mesh.areas).max() / equation.mean_depth
        rows.append(
            {
                "seed": about["seed"],
                "hours": int(hours[-1]),
                "hours_of_the_truth": int(compared[1][1][-1]),
                "guard_stops": len(stops),
                "energy_ratio_by_degree": [number(value) for value in ratio[1:]],
                "truth_interval_over_its_mean": [
                    [number(a), number(b)]
                    for a, b in zip(low[1:] / true_energy.mean(0)[1:], high[1:] / true_energy.mean(0)[1:], strict=True)
                ],
                "degrees_outside": [int(degree) for degree in np.flatnonzero(~inside[1:]) + 1],
                **{
                    f"{name}_amplitude": {"forecast": number(a), "truth": number(b), "ratio": number(a / b)}
                    for name, (a, b) in waves.items()
                },
                "mass_drift": number(drift),
            }
        )
    return rows


def energy_by_degree(fields: Array, mesh: Any) -> Array:
    """Return kinetic energy [case, degree], mean over times, of h, u, v [case, time, node, 3]."""
    view = harmonic_view(mesh)
    return np.stack([view.kinetic_energy(each[..., 1], each[..., 2]).mean(axis=0)[: DEGREES + 1] for each in fields])


def sampling_interval(parts: Sequence[Fields], count: int) -> tuple[Array, Array]:
    """Return the 95 % interval [degree] of a mean over so many trajectories of the truth, resampled from all."""
    energies = []
    for fields in parts:
        frames = np.arange(12, len(fields.times), 24)
        for row in range(fields.ensemble_size):
            values = fields.read(frames, NAMES, row).swapaxes(0, 1).astype(np.float64)
            energies.append(energy_by_degree(values, fields.mesh)[0])
    generator = np.random.default_rng(0)
    drawn = generator.integers(len(energies), size=(RESAMPLES, count))
    low, high = np.quantile(np.stack(energies)[drawn].mean(axis=1), [0.025, 0.975], axis=0)
    return low, high


def wave(height: Array, times: Index, period: float, areas: Array) -> float:
    """Return the amplitude [m] of what has a period, root mean square over the sphere, of h [case, time, node].

    At each node a mean, a trend and the wave are fitted; the waves' mean over cases is taken before its size.
    """
    angle = 2 * np.pi * (times % period) / period
    since = (times - times.mean()) / np.ptp(times)
    design = np.stack([np.ones_like(angle), since, np.cos(angle), np.sin(angle)], axis=1)  # [time, 4]
    fitted = np.linalg.lstsq(design, height.mean(axis=0), rcond=None)[0]  # [4, node]
    return float(np.sqrt(np.square(fitted[2:]).sum(axis=0) @ areas))


if __name__ == "__main__":
    main()
