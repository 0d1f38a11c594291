"""A ring equation by APEBench's protocol: a graph network beside ridge regression and persistence, as JSON.

    python benchmarks/ring_protocol.py configs/ring-advection.yaml --seeds 0 1 2 > ring-advection.json
    python benchmarks/ring_protocol.py configs/ring-protocol.yaml --task diff_ks > ks.json
    python benchmarks/ring_protocol.py configs/ring-protocol.yaml --task diff_kdv --arrays FOLDER > kdv.json

The tasks are those of Koehler et al. (2024), arXiv:2411.00180: 160 nodes, 50 training trajectories of 51 frames, whose
last ten choose the checkpoint, and 30 test trajectories of 201; diff_adv is an exact shift of four cells a step and
diff_adv_fast of 10.5. The arrays are made here, or with --arrays another solver's, TASK_train.npy and TASK_test.npy.
Stopped and started again, the script skips the runs that are finished and continues the one that was not.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import redirect_stdout
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from emulator.baselines.persistence import PersistenceConfig
from emulator.baselines.ridge import RidgeConfig
from emulator.build import TrainedEmulator, load_emulator, package_versions
from emulator.data.arrays import open_arrays
from emulator.data.forcing_sources import forcings_of
from emulator.data.forecast import Forecast
from emulator.data.starts import InitialConditions, spread_starts, states_at
from emulator.fields import Fields
from emulator.forcings import Forcings
from emulator.foundation.configuration import load
from emulator.physics.ring_equations import APEBENCH
from emulator.physics.simulate import RingConfig, SimulationConfig, simulate_arrays
from emulator.protocol import Emulator
from emulator.scores import ROUNDING
from graphs.atomic_file import atomic_file, write_text
from inference.forecasts.forecast import forecast
from inference.forecasts.guard import Guard, Stop
from inference.scores.verification import verify
from training.experiment import DataConfig, DataPart, ExperimentConfig
from training.runs.study import Result, Run, run_study
from training.task_config import TaskConfig

NUM_NODES = 160
ARRAYS = {"train": (0, 50, 51), "test": (773, 30, 201)}  # seed, trajectories, frames
TRAINING, VALIDATION = (0, 40), (40, 50)
WARM_UP = {"diff_ks": 500, "diff_ks_cons": 500}  # steps thrown away, until the turbulence has developed
LONG = 1_000  # steps of the rollout that is guarded and whose amplitude is measured
LEADS = (1, 10, 100, 200)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("config", type=Path, help="YAML of an experiment; its data are replaced by the protocol's")
    parser.add_argument("overrides", nargs="*", help="key=value, e.g. training.updates=200")
    parser.add_argument("--task", choices=sorted(APEBENCH), default="diff_adv")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--folder", type=Path, default=Path("runs/ring-protocol"), help="data and runs")
    parser.add_argument("--arrays", type=Path, help="folder of TASK_train.npy and TASK_test.npy; made here by default")
    parser.add_argument("--results", type=Path, default=Path("results"), help="one file a finished run")
    parser.add_argument("--output", type=Path, help="write the JSON here too")
    options = parser.parse_intermixed_args(arguments)

    config = load(ExperimentConfig, options.config, options.overrides)
    folder = options.folder / options.task
    if options.arrays is None:
        make_arrays(folder, options.task)
        train, test = folder / "train.npy", folder / "test.npy"
    else:
        train, test = (options.arrays / f"{options.task}_{part}.npy" for part in ("train", "test"))
    runs = runs_of(config, folder, train, options.seeds)
    with redirect_stdout(sys.stderr):  # standard output is for the result alone
        results = run_study(runs, options.results, emulators=True, say=print)
    truth = open_arrays(test)
    rows = [row for result in results for row in measured(result, options.results, truth)]
    text = json.dumps({"task": options.task, **summary(rows)}, indent=1)
    print(text)
    if options.output is not None:
        write_text(options.output, text + "\n")


def runs_of(config: ExperimentConfig, folder: Path, train: Path, seeds: Sequence[int]) -> list[Run]:
    """The network with each seed, its own first guess alone where that is ridge regression, and persistence.

    Of the configuration's task the conserved mean alone counts.
    """
    config = replace(
        config,
        name="runs",
        output=str(folder),
        task=TaskConfig(("u",), conserved=config.task.conserved),
        data=DataConfig(DataPart(str(train), TRAINING), DataPart(str(train), VALIDATION)),
    )
    guess = getattr(config.emulator, "first_guess", None)
    ridge = guess if isinstance(guess, RidgeConfig) else RidgeConfig(radii=(5, 11, 20))
    return [
        *(Run(config.emulator.kind, config, seed) for seed in seeds),
        Run("ridge", replace(config, emulator=ridge)),
        Run("persistence", replace(config, emulator=PersistenceConfig())),
    ]


def make_arrays(folder: Path, task: str) -> None:
    """train.npy and test.npy [trajectory, frame, channel, node], float32."""
    for name, (seed, trajectories, frames) in ARRAYS.items():
        if (folder / f"{name}.npy").is_file():
            continue
        simulation = SimulationConfig(
            equation=APEBENCH[task],
            time_step=1.0,
            mesh=RingConfig(num_nodes=NUM_NODES),
            num_trajectories=trajectories,
            num_frames=frames,
            warm_up=WARM_UP.get(task, 0),
            seed=seed,
        )
        with atomic_file(folder / f"{name}.npy") as part, part.open("wb") as file:
            np.save(file, simulate_arrays(simulation)[:, :, None].astype(np.float32))


def measured(result: Result, results: Path, test: Fields) -> Iterator[dict[str, Any]]:
    """One row of the table; a failed run has no numbers."""
    row: dict[str, Any] = {"label": result.label, "seed": result.seed, "status": result.status}
    if result.status == "failed":
        yield {**row, "reason": result.reason}
        return
    trained = load_emulator(result.emulator_path(results))
    free, stops = long_rollouts(trained, test)
    nrmse, score = errors(free, test)
    before = test.read(slice(0, 1), ("u",))[0].std(axis=1)[:, 0]  # [trajectory]; an exact shift keeps it
    ratio = free.values[:, 0, -1, :, 0].std(axis=1) / before
    yield {
        **row,
        "score": score,
        "nrmse": {str(lead): nrmse[lead - 1] for lead in LEADS},
        f"amplitude_after_{LONG}": {
            "mean": number(ratio.mean()),
            "lowest": number(ratio.min()),
            "highest": number(ratio.max()),
        },
        f"stopped_by_guard_within_{LONG}": len(stops),
        "first_stop": min((stop.step for stop in stops), default=None),
        "parameters": result.parameters,
        "seconds": result.seconds,
        "updates": result.config["training"]["updates"] if result.update is not None else None,
        "kept_after_updates": result.update,
        "validation_score": result.validation_score,
    }


def long_rollouts(trained: TrainedEmulator, test: Fields) -> tuple[Forecast, list[Stop]]:
    """A free rollout from the first state of every test trajectory, and where the guard would have stopped it."""
    initial, forcings = first_states(trained.emulator, test)
    free, _ = forecast(trained, initial, forcings, LONG)
    guard = Guard(trained.statistics, trained.emulator.mesh)
    alive, stops = np.ones((len(initial.trajectory), 1), dtype=bool), []
    for step in range(LONG):
        found = guard.check(free.values[:, :, step], step + 1, alive)
        for stop in found:
            alive[stop.case, stop.member] = False
        stops += found
    return free, stops


def first_states(emulator: Emulator, test: Fields) -> tuple[InitialConditions, Forcings]:
    """The first state of every test trajectory."""
    init_time, trajectory = spread_starts(test, emulator.task, max(LEADS))
    return states_at(test, emulator.task, init_time, trajectory), forcings_of(emulator.task, emulator.mesh, test)


def errors(free: Forecast, test: Fields) -> tuple[list[float | None], float | None]:
    """nRMSE at steps 1 to 200, mean over trajectories of ‖error‖ / ‖truth‖, and its geometric mean over the first 100.

    Errors below float32's rounding count as that: every 40 steps the waves have come round, and persistence is exact.
    """
    last = max(LEADS)
    part = replace(free, values=free.values[:, :, :last], lead_steps=free.lead_steps[:last])
    nrmse = verify([part], test, spectra=False).emulators[0].mean("nrmse")[:, 0]
    score = np.exp(np.log(np.maximum(nrmse[:100], ROUNDING)).mean())
    return [number(value) for value in nrmse], number(score)


def summary(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """The rows, the median score of each label, and what the numbers were made with."""
    labels = dict.fromkeys(row["label"] for row in rows)
    scores = {label: [row.get("score") for row in rows if row["label"] == label] for label in labels}
    return {
        "protocol": f"APEBench: {NUM_NODES} nodes, 50 x 51 training frames, 30 x 201 test frames",
        "median_score": {
            label: number(np.median([np.inf if score is None else score for score in found]))
            for label, found in scores.items()
        },
        "rows": rows,
        "threads": torch.get_num_threads(),
        "processors": os.cpu_count(),
        "versions": package_versions(),
    }


def number(value: float | np.floating[Any]) -> float | None:
    """A finite number with the digits that mean something; JSON knows no infinity."""
    return float(f"{value:.5g}") if np.isfinite(value) else None


if __name__ == "__main__":
    main()
