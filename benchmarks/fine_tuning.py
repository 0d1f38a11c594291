"""From which update on a fine-tuned emulator is as good as one trained from the beginning, as JSON.

    python benchmarks/fine_tuning.py "finer mesh" --seeds 0 1 2 > finer-mesh.json
    python benchmarks/fine_tuning.py "another equation" --updates 1500

A case has a source and a target, that differ in the mesh, the equation or the time step. The source is trained once;
the target from random weights for so many updates, and for a third of them from random and from the source's weights.
Each training has a whole schedule of its own length, and its score is that of the checkpoint that validation keeps.
Stopped and started again, the script skips the trainings that are finished and continues the one that was not.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from emulator.build import package_versions
from emulator.foundation.configuration import load
from emulator.physics.simulate import load_simulation, simulate
from training.experiment import ExperimentConfig
from training.runs.study import Result, Run, run_study

CONFIGS = Path(__file__).resolve().parent.parent / "configs"
FEWER, SOURCE = 3, 4  # times fewer updates from the source's weights, times more of the source itself


@dataclass(frozen=True)
class Case:
    """A source and a target to train an emulator for.

    simulation, experiment: names of shipped configurations. shared: overrides of both simulations.
    source, target: overrides of the simulation of either. training: overrides of all trainings.
    updates: from random weights; the source has SOURCE times as many, being trained already. tuning: overrides of the
    trainings from its weights.
    """

    simulation: str
    experiment: str
    source: tuple[str, ...]
    target: tuple[str, ...]
    updates: int
    shared: tuple[str, ...] = ()
    training: tuple[str, ...] = ()
    tuning: tuple[str, ...] = ()


RING = ("num_trajectories=60", "num_frames=61")
KS = "equation={kind: kuramoto_sivashinsky, form: conservative}"
BURGERS = "equation={kind: burgers, diffusivity: 0.5}"
ON_RING = ("validation.every=250", "validation.cases=8")
TUNED = ("training.learning_rate=4.0e-3", "training.warm_up=20")  # half of demo-ring's rate: less is unlearned
CASES = {
    "finer mesh": Case(
        "simulate-demo-sphere",
        "demo-sphere",
        ("mesh={kind: icosphere, level: 3}",),
        ("mesh={kind: icosphere, level: 4}",),
        1200,
        training=("training.precision=bf16-mixed", "validation.every=125", "validation.steps=20"),
        tuning=("training.warm_up=50",),
    ),
    "another equation": Case(
        "simulate-demo-ring",
        "demo-ring",
        (BURGERS, "warm_up=0", "initial_states={num_modes: 8}"),
        (KS,),
        1500,
        RING,
        ON_RING,
        TUNED,
    ),
    "another coefficient": Case(
        "simulate-demo-ring",
        "demo-ring",
        (BURGERS,),
        ("equation={kind: burgers, diffusivity: 0.25}",),
        1500,
        (*RING, "warm_up=0", "initial_states={num_modes: 8}"),
        ON_RING,
        TUNED,
    ),
    "longer step": Case(
        "simulate-demo-ring",
        "demo-ring",
        (KS,),
        (KS, "time_step=1.0", "substeps=8"),
        1500,
        RING,
        ON_RING,
        TUNED,
    ),
}


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("case", choices=sorted(CASES))
    parser.add_argument("overrides", nargs="*", help="key=value of every training, e.g. training.learning_rate=1e-3")
    parser.add_argument("--tuned", nargs="+", default=[], help="key=value of the trainings from the source's weights")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--updates", type=int, help="from random weights; those of the case by default")
    parser.add_argument("--folder", type=Path, default=Path("runs/fine-tuning"), help="data, runs and results")
    options = parser.parse_intermixed_args(arguments)

    case = CASES[options.case]
    updates = options.updates or case.updates
    folder = options.folder / options.case.replace(" ", "-")
    with redirect_stdout(sys.stderr):  # standard output is for the result alone
        source = trained(experiment(case, folder, "source", SOURCE * updates, options.overrides), folder, [0])[0]
        start = os.path.relpath(source.emulator_path(folder / "results"))
        target = experiment(case, folder, "target", updates, options.overrides)
        whole = trained(target, folder, options.seeds)
        fewer = replace(target, training=replace(target.training, updates=updates // FEWER))
        own = [*options.overrides, *case.tuning, *options.tuned, f"training.initialise_from={start}"]
        tuned = experiment(case, folder, "target", updates // FEWER, own)
        rows = {
            f"random weights, {updates} updates": whole,
            f"the source's weights, {updates // FEWER} updates": trained(tuned, folder, options.seeds),
            f"random weights, {updates // FEWER} updates": trained(fewer, folder, options.seeds),
        }
    reference = geometric_mean(whole)
    found: dict[str, Any] = {
        "case": options.case,
        "source": {"overrides": case.source, "validation_score": source.validation_score},
        "target": case.target,
        "scores": {label: [result.validation_score for result in results] for label, results in rows.items()},
        "relative": {label: round(geometric_mean(results) / reference, 4) for label, results in rows.items()},
        "overrides": options.overrides,
        "overrides from the source's weights": [*case.tuning, *options.tuned],
        "versions": package_versions(),
    }
    print(json.dumps(found, indent=1))


def experiment(case: Case, folder: Path, which: str, updates: int, overrides: Sequence[str]) -> ExperimentConfig:
    """Return the experiment on the source or the target, its data made where they are not there yet."""
    data = folder / f"{which}.zarr"
    if not data.exists():
        own = case.source if which == "source" else case.target
        settings = load_simulation(CONFIGS / f"{case.simulation}.yaml", [*case.shared, *own, f"output={data}"])
        simulate(settings, data, notice=print)
    sources = [f"data.{part}.source={data}" for part in ("train", "validation", "test")]
    more = [*case.training, *sources, f"output={folder / 'runs'}", f"name={which}", f"training.updates={updates}"]
    return load(ExperimentConfig, CONFIGS / f"{case.experiment}.yaml", [*more, *overrides])


def trained(config: ExperimentConfig, folder: Path, seeds: Sequence[int]) -> list[Result]:
    """Return the results of one experiment with each seed."""
    config = replace(config, data=replace(config.data, test=None))
    runs = [Run(config.name, config, seed) for seed in seeds]
    return run_study(runs, folder / "results", emulators=True, say=print, progress=False)


def geometric_mean(results: Sequence[Result]) -> float:
    """Return the geometric mean of the validation scores."""
    return float(np.exp(np.mean([np.log(result.validation_score or np.nan) for result in results])))


if __name__ == "__main__":
    main()
