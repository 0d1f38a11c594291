"""Does the guard stop what it should, and nothing else? Counts of false stops and of blow-ups caught, as JSON.

    python benchmarks/guard.py --data ../shared/data --run runs/demo-sphere/GNN runs/demo-sphere/truth.zarr > guard.json

Good rollouts of 240 steps: truth that the training part has not seen, of ring equations (two of them decay) and of
shallow water on the sphere, decaying and forced; closed forms on hourly ERA5 and on monthly temperatures, among them
forecasts of anomalies that relax to a flat climatology; and networks of `--run`, an emulator and its test data each. A
network's rollout counts as good where at its end it varies over the nodes between half and twice as much as the test
data.
Blow-ups are planted into the truth: an instability that grows in one wave or at one node, a drift of the mean, and a
number that is none; each counts as caught within 5 steps of the first value outside twice the training range.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from emulator.baselines.anomaly_persistence import AnomalyPersistenceConfig, DampedAnomalyConfig
from emulator.baselines.climatology import ClimatologyConfig
from emulator.baselines.linear_inverse import LinearInverseConfig
from emulator.build import fit_closed_form, load_emulator
from emulator.data.arrays import ArrayFields
from emulator.data.forcing_sources import forcings_of
from emulator.data.sources import open_fields
from emulator.data.starts import histories, states_at
from emulator.fields import Fields
from emulator.foundation.configuration import load
from emulator.foundation.time_step import TimeStep
from emulator.normalise import Statistics
from emulator.physics.simulate import SimulationConfig, simulate_arrays
from emulator.physics.sphere_simulation import SphereSimulationConfig, sphere_arrays, sphere_mesh
from emulator.protocol import Emulator
from emulator.task import Task, Variable
from emulator.training_part import TrainingPart
from graphs.atomic_file import write_text
from graphs.mesh import Mesh
from graphs.meshes.ring import ring
from inference.forecasts.forecast import GuardedRollout
from inference.forecasts.guard import Guard

STEPS = 240
LATEST = 5  # steps after the first value outside twice the training range
Array = NDArray[np.floating]

RINGS: dict[str, dict[str, Any]] = {
    "Burgers, decaying": {"equation": {"kind": "difficulty", "gamma": [0.0, 1.5], "delta": [-1.5]}},
    "advection": {"equation": {"kind": "difficulty", "gamma": [-4.0], "delta": []}},
    "Korteweg-de Vries": {"equation": {"kind": "difficulty", "gamma": [0.0, 0.0, 0.0, -14.0, -9.0], "delta": [-2.0]}},
    "Kuramoto-Sivashinsky": {
        "equation": {"kind": "difficulty", "gamma": [0.0, -1.2, 0.0, -15.0], "delta": [0.0, -6.0]},
        "warm_up": 500,
    },
    "Kuramoto-Sivashinsky, conservative": {
        "equation": {"kind": "kuramoto_sivashinsky", "form": "conservative"},
        "time_step": 0.5,
        "mesh": {"num_nodes": 128, "length": 64.0},
        "warm_up": 200,
        "substeps": 4,
    },
    "advection-diffusion, decaying": {"equation": {"kind": "advection_diffusion"}, "time_step": 0.05},
}
SPHERES: dict[str, dict[str, Any]] = {
    "shallow water, decaying": {},
    "shallow water, forced": {
        "climate": {
            "jet_speed": 80.0,
            "jet_latitude": 45.0,
            "jet_width": 6.0,
            "relaxation_days": 3.0,
            "drag_days": 10.0,
        }
    },
}


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", type=Path, help="folder with the ERA5, NCEP and ERSST files of docs/data.md")
    parser.add_argument("--run", nargs=2, action="append", default=[], metavar=("EMULATOR", "DATA"))
    parser.add_argument("--ring-cases", type=int, default=250)
    parser.add_argument("--sphere-cases", type=int, default=100)
    parser.add_argument("--output", type=Path, help="write the JSON here too")
    options = parser.parse_args(arguments)

    rows: dict[str, dict[str, Any]] = {}
    caught: dict[str, dict[str, Any]] = {}
    truths = [*ring_truths(options.ring_cases), *sphere_truths(options.sphere_cases)]
    for number, (name, known, unseen) in enumerate(truths):
        guard = guard_of(known)
        values = np.moveaxis(unseen.values, 0, 1)[:, :, None].astype(np.float32)  # [case, step, 1, node, variable]
        rows[name] = judged(guard, values)
        caught[name] = planted(guard, values[:25], np.random.default_rng(number))
        print(name, rows[name], caught[name], file=sys.stderr, flush=True)
    if options.data is not None:
        for name, guard, values in closed_forms(options.data):
            rows[name] = judged(guard, values)
            print(name, rows[name], file=sys.stderr, flush=True)
    for emulator, data in options.run:
        rows[f"network of {emulator}"] = row = network(Path(emulator), data)
        print(emulator, row, file=sys.stderr, flush=True)
    report = {
        "good_rollouts": sum(row["rollouts"] for row in rows.values()),
        "false_stops": sum(row["stopped"] for row in rows.values()),
        "steps": STEPS,
        "blow_ups": sum(row["planted"] for row in caught.values()),
        f"caught_within_{LATEST}_steps": sum(row["in_time"] for row in caught.values()),
        "rollouts_by_source": rows,
        "blow_ups_by_source": caught,
    }
    text = json.dumps(report, indent=1)
    print(text)
    if options.output is not None:
        write_text(options.output, text + "\n")


Truth = tuple[str, ArrayFields, ArrayFields]  # a name, the training part, and longer trajectories of other starts


def ring_truths(cases: int) -> Iterator[Truth]:
    for name, given in RINGS.items():
        arrays = []
        for count, frames, seed in ((50, 51, 0), (cases, STEPS + 1, 773)):
            plain = {"time_step": 1.0, **given, "num_trajectories": count, "num_frames": frames, "seed": seed}
            config = load(SimulationConfig, plain)
            arrays.append(simulate_arrays(config)[..., None])
        mesh = ring(config.mesh.num_nodes, config.mesh.length)
        known, unseen = (in_arrays(values, mesh, ("u",)) for values in arrays)
        yield name, known, unseen


def sphere_truths(cases: int) -> Iterator[Truth]:
    for name, extra in SPHERES.items():
        found = []
        for count, frames, seed in ((16, 121, 0), (cases, STEPS + 1, 773)):
            plain = {
                "kind": "sphere",
                "equation": {"truncation": 21, "mean_depth": 10000.0, "longest_step": 1800.0, **extra},
                "initial_states": {"kind": "balanced", "degrees": [4, 12], "max_wind": 40.0},
                "time_step": "3h",
                "mesh": {"kind": "icosphere", "level": 2},
                "num_trajectories": count,
                "num_frames": frames,
                "warm_up": 80 if extra else 8,
                "seed": seed,
            }
            config = load(SphereSimulationConfig, plain)
            found.append(in_arrays(sphere_arrays(config), sphere_mesh(config.mesh), ("h", "u", "v")))
        yield name, found[0], found[1]


def in_arrays(values: Array, mesh: Mesh, names: tuple[str, ...]) -> ArrayFields:
    """Fields of trajectories [trajectory, frame, node, variable]."""
    values = np.moveaxis(values, 1, 0)
    return ArrayFields(values, names, ("1",) * len(names), mesh, TimeStep(1, "second", 1.0), np.arange(len(values)))


def guard_of(known: ArrayFields) -> Guard:
    return Guard(Statistics.of(known, known.variables), known.mesh)


def judged(guard: Guard, values: Array) -> dict[str, Any]:
    """How many rollouts [case, step, member, node, variable] are stopped, and why the first is."""
    alive, stops = np.ones((len(values), 1), dtype=bool), []
    for step in range(values.shape[1]):
        for stop in guard.check(values[:, step], step, alive):
            alive[stop.case, stop.member] = False
            stops.append(stop)
    return {"rollouts": len(values), "stopped": len(stops)} | ({"first": str(stops[0])} if stops else {})


def planted(guard: Guard, values: Array, rng: np.random.Generator) -> dict[str, Any]:
    """How many blow-ups, one in each rollout, are stopped in time; and how long before, in steps, in the median."""
    known, nodes = guard.statistics, values.shape[3]
    width = known.maximum - known.minimum
    in_time, early = 0, []
    for number, rollout in enumerate(values[:, :, 0].astype(np.float64)):
        start, rate, variable = rng.integers(5, 120), rng.uniform(0.08, 1.0), rng.integers(values.shape[-1])
        age = np.maximum(0, np.arange(len(rollout)) - start)
        size = np.where(age > 0, 1e-3 * width[variable] * np.exp(np.minimum(rate * age, 50)), 0)[:, None]
        pattern = (
            (-1.0) ** np.arange(nodes),
            np.eye(nodes)[rng.integers(nodes)],
            np.ones(nodes),
            np.cos(2 * np.pi * rng.integers(1, 9) * np.arange(nodes) / nodes),
        )[number % 4]
        broken = rollout.copy()
        broken[..., variable] += size * pattern
        if number % 5 == 4:
            broken[start:, rng.integers(nodes), variable] = np.nan
        with np.errstate(invalid="ignore"):
            outside = ~(np.abs(broken - (known.maximum + known.minimum) / 2) <= width)
        first = int(np.argmax(outside.any(axis=(1, 2))))
        alive = np.ones((1, 1), dtype=bool)
        steps = (s for s in range(len(broken)) if guard.check(broken[None, None, s].astype(np.float32), s, alive))
        stopped = next(steps, len(broken))
        in_time += stopped <= first + LATEST
        early.append(first - stopped)
    return {"planted": len(values), "in_time": in_time, "median_steps_before": float(np.median(early))}


def closed_forms(folder: Path) -> Iterator[tuple[str, Guard, Array]]:
    """Rollouts of what is fitted by formula, from every start of real series, anomalies among them."""
    hour, month = Variable("2t", "prognostic", units="K"), Variable("sst", "prognostic", units="degC")
    era5 = open_fields(folder / "era5-2mt-2019-03-uk.grib")
    ncep = open_fields(folder / "ncep_t2m_eof20_monthly.nc", units={"t2m": "degC"})
    sst = open_fields(folder / "sst.mnmean.nc")
    for name, fields, variable, train, period, most in (
        ("hourly ERA5", era5, hour, 500, "hour", 150),
        ("monthly NCEP", ncep, replace(hour, name=ncep.variables[0]), 564, "month", 60),
        ("monthly ERSST", sst, month, 84, "month", 60),
        ("monthly ERSST anomalies", anomalies(sst, 84), month, 84, "month", 60),
    ):
        task = Task((variable,), fields.time_step)
        part = TrainingPart(fields, slice(0, train))
        statistics = Statistics.of(fields, (variable.name,), times=slice(0, train))
        valid = np.isfinite(fields.read(slice(0, 1), (variable.name,))[0, 0])
        guard = Guard(statistics, fields.mesh, valid)
        for config in (
            ClimatologyConfig(period=period),
            AnomalyPersistenceConfig(period=period),
            DampedAnomalyConfig(period=period, max_lead=12),
            LinearInverseConfig(period=period),
        ):
            emulator = fit_closed_form(config, task, part)
            yield f"{name}, {config.kind}", guard, rolled_out(emulator, fields, most)


def anomalies(fields: Fields, train: int) -> ArrayFields:
    """The fields without their climatology of the month, in the training part."""
    values = fields.read(slice(None), fields.variables).astype(np.float64)
    month = fields.times.astype("datetime64[s]").astype("datetime64[M]").astype(int) % 12
    for m in range(12):
        values[month == m] -= values[:train][month[:train] == m].mean(axis=0)
    return ArrayFields(
        values.astype(np.float32), fields.variables, fields.units, fields.mesh, fields.time_step, fields.times, "member"
    )


def rolled_out(emulator: Emulator, fields: Fields, most: int) -> Array:
    """Rollouts [case, step, member, node, variable] from times of a series, evenly spread."""
    now = np.flatnonzero(histories(fields, emulator.task, fields.times)[1].all(axis=1))
    now = now[np.linspace(0, len(now) - 1, min(most, len(now))).round().astype(int)]
    state = states_at(fields, emulator.task, fields.times[now]).state
    rollout = GuardedRollout(emulator, state, forcings_of(emulator.task, emulator.mesh))
    return np.stack(list(rollout.steps(STEPS)), axis=1)


def network(path: Path, data: str) -> dict[str, Any]:
    """A trained network's rollouts from the first state of every trajectory, or from times of a series."""
    trained, fields = load_emulator(path), open_fields(data)
    emulator = trained.emulator
    now = np.flatnonzero(histories(fields, emulator.task, fields.times)[1].all(axis=1))
    if fields.ensemble_axis == "trajectory":
        now, rows = now[[0, len(now) // 2]].repeat(fields.ensemble_size), np.tile(np.arange(fields.ensemble_size), 2)
    else:
        now, rows = now[np.linspace(0, len(now) - 1, min(100, len(now))).round().astype(int)], None
    state = states_at(fields, emulator.task, fields.times[now], rows).state
    rollout = GuardedRollout(emulator, state, forcings_of(emulator.task, emulator.mesh, fields))
    values = np.stack(list(rollout.steps(STEPS)), axis=1)
    names = trained.statistics.names
    truth = np.nanstd(fields.read(slice(None), names), axis=2).mean(axis=(0, 1))
    ratio = np.nanstd(values[:, -STEPS // 4 :], axis=3).mean(axis=(1, 2)) / truth  # [case, variable]
    good = ((ratio > 0.5) & (ratio < 2)).all(axis=1)
    guard = Guard(trained.statistics, emulator.mesh, trained.valid)
    bad = judged(guard, values[~good])
    return judged(guard, values[good]) | {"not_good": int((~good).sum()), "of_these_stopped": bad["stopped"]}


if __name__ == "__main__":
    main()
