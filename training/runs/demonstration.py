"""The demonstration: what a user does in five commands, in one."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from emulator.baselines.coarse_solver import CoarseSolver, CoarseSolverConfig
from emulator.build import TrainedEmulator
from emulator.data.forecast import Forecast
from emulator.data.forecast_file import read_forecast
from emulator.data.sources import open_fields
from emulator.data.starts import InitialConditions, spread_starts, states_at
from emulator.foundation.configuration import load
from emulator.physics.simulate import AnySimulation, load_simulation, simulate
from emulator.physics.sphere_simulation import SphereSimulationConfig
from emulator.task import Task
from graphs.atomic_file import write_text
from graphs.errors import MeshcastError
from inference.forecasts.write_forecast import ForecastOptions, future_forcings, write_forecast
from inference.scores.conservation import corrections
from inference.scores.equivalent_truncation import equivalents
from inference.scores.scorecard import Verification
from training.experiment import DataConfig, ExperimentConfig
from training.runs.fit import fit
from training.runs.verify import same_starts, verify_files

NAME = "graph network"
MARK = "demonstration"  # a file that says the folder is ours to make anew


@dataclass(frozen=True)
class Demo:
    """One demonstration.

    title: of its report.
    steps: of the forecasts.
    metric: that decides, and is printed.
    baselines: labels of the closed forms to beat at every lead time, all of them by default.
    truncations: of the coarse solvers that are shown beside, and need not be beaten.
    """

    title: str
    steps: int
    metric: str
    baselines: tuple[str, ...] = ()
    truncations: tuple[int, ...] = ()


DEMOS = {
    "ring": Demo("A graph network forecasts Kuramoto-Sivashinsky turbulence", 60, "nrmse", ("persistence",)),
    "sphere": Demo("A graph network forecasts shallow water on the sphere", 40, "rmse", truncations=(5, 10, 15, 20)),
}


@dataclass(frozen=True, eq=False)
class DemonstrationResult:
    """What the demonstration found, and where its report lies."""

    folder: Path
    verification: Verification
    demo: Demo = DEMOS["ring"]

    @property
    def baselines(self) -> tuple[str, ...]:
        """Return labels of the closed forms to beat."""
        return self.demo.baselines or self.verification.baselines

    @property
    def unbeaten(self) -> list[str]:
        """Return the baselines that err no more than the network in some variable at some lead time.

        A NaN of the network is no success, one of a baseline no defeat.
        """
        metric = self.demo.metric
        network = self.verification.emulators[0].mean(metric)  # [lead, variable]
        errors = {label: np.nan_to_num(self.verification[label].mean(metric), nan=np.inf) for label in self.baselines}
        return [label for label, error in errors.items() if not np.all(network < error)]

    def as_dict(self) -> dict[str, Any]:
        """Return the result as plain values for JSON, scores by label and variable for each lead time."""
        metric, variables = self.demo.metric, self.verification.variables
        found = {
            "folder": str(self.folder),
            metric: {
                scores.label: dict(zip(variables, scores.mean(metric).T.tolist(), strict=True))
                for scores in self.verification.emulators
            },
            "rivals": list(self.baselines),
            "unbeaten": self.unbeaten,
        }
        if worth := equivalents(self.verification):
            found["equivalent_truncation"] = {
                label: {step: str(truncation) for step, truncation in by_lead.items()}
                for label, by_lead in worth.items()
            }
        return found


def run_demonstration(
    domain: str,
    output: Path,
    updates: int | None,
    configs: Mapping[str, Path],
    say: Callable[[str], None],
    progress: Callable[[str, int], AbstractContextManager[Callable[[int], None]]],
) -> DemonstrationResult:
    """Simulate, train, forecast, verify and report into `output`/demo-DOMAIN, made anew each time.

    updates: of the training; as configured where None.
    configs: the shipped configurations by name.
    progress: shows how much of a number of steps is done.
    """
    demo, folder = DEMOS[domain], _fresh(output / f"demo-{domain}")
    simulation = load_simulation(configs[f"simulate-demo-{domain}"])
    truth, steps = folder / simulation.output, demo.steps
    say(f"1/5 Simulating {simulation.title} ({simulation.num_trajectories} trajectories) ...")
    with progress("simulating", 100) as done:
        simulate(simulation, truth, progress=lambda step, total: done(100 * step // total), notice=say)

    experiment = replace(_in_folder(load(ExperimentConfig, configs[f"demo-{domain}"]), folder, updates), name=NAME)
    say(f"2/5 Training a graph network, {experiment.training.updates} updates ...")
    trained = fit(experiment, folder / "run", notice=say)

    say("3/5 Forecasting from initial states it has never seen ...")
    initial, path = _unseen_starts(experiment, trained, steps), folder / "forecast.nc"
    forcings = future_forcings(trained, [])
    with progress("forecasting", steps) as done:
        stops = write_forecast(trained, initial, forcings, steps, path, ForecastOptions(overwrite=True), done)
    for stop in stops:
        say(f"Guard: {stop}")
    facts = {
        "updates": str(experiment.training.updates),
        "best after": f"{trained.metadata['update']} updates",
        **_corrections(trained.emulator.task, corrections(trained.emulator, initial.state, forcings, steps)),
    }

    solvers = _solver_forecasts(demo, simulation, trained, truth, initial)
    last = "coarse solvers" if solvers else "ridge regression"
    say(f"4/5 Verifying beside persistence, climatology, damped anomaly and {last} ...")
    verified = verify_files([read_forecast(path), *solvers], str(truth), experiment.data.train, notice=say)

    say("5/5 Writing the report ...")
    from inference.report.page import Notes
    from inference.report.report import write_report

    summary = f"Trained here on {simulation.title}; forecasts from {len(initial.trajectory)} starts it has never seen."
    notes = Notes(
        title=demo.title,
        summary=summary,
        command=f"meshcast demo {domain}",
        log=folder / "run" / "metrics.csv",
        facts=facts,
    )
    write_report(verified.verification, folder, forecasts=verified.forecasts, truth=verified.truth, notes=notes)
    say(f"Open {folder / 'report.html'}")
    return DemonstrationResult(folder, verified.verification, demo)


def _unseen_starts(experiment: ExperimentConfig, trained: TrainedEmulator, steps: int) -> InitialConditions:
    """Return the first states of the test trajectories, numbered as in the whole dataset."""
    assert experiment.data.test is not None
    test, task = experiment.data.test.open(), trained.emulator.task
    init_time, rows = spread_starts(test, task, steps)
    return replace(states_at(test, task, init_time, rows), trajectory=np.asarray(test.trajectories)[rows])


def _solver_forecasts(
    demo: Demo,
    simulation: AnySimulation,
    trained: TrainedEmulator,
    truth: Path,
    initial: InitialConditions,
) -> list[Forecast]:
    """Return the truth's own solver with fewer harmonics, the last of which it damps as fast, from the same nodes."""
    if not isinstance(simulation, SphereSimulationConfig):
        return []
    fields, solvers = open_fields(str(truth)), []
    for truncation in demo.truncations:
        config = CoarseSolverConfig(equation=replace(simulation.equation, truncation=truncation))
        solver = CoarseSolver(config, trained.emulator.task, fields.mesh)
        solvers.append(TrainedEmulator(f"solver T{truncation}", solver, config, trained.statistics))
    return same_starts(solvers, fields, initial.state.valid_time, initial.trajectory, demo.steps)


def _corrections(task: Task, found: Mapping[str, Any]) -> dict[str, str]:
    """Return what exact conservation takes off the area mean, as facts of the report."""
    units = {variable.name: variable.units for variable in task.predicted}
    facts = {}
    for name, sizes in found.items():
        mean, most = np.sqrt(np.mean(sizes**2)), np.max(sizes)
        facts[f"conservation of {name}"] = (
            f"takes {mean:.2g} {units[name]} off the area mean at a step, root mean square over cases and steps, "
            f"{most:.2g} {units[name]} where it takes most: training leaves that mean free"
        )
    return facts


def _fresh(folder: Path) -> Path:
    """Return an empty folder; one of an earlier demonstration is removed, anything else is left alone."""
    if folder.exists() and any(folder.iterdir()) and not (folder / MARK).is_file():
        raise MeshcastError(f"{folder} holds something else than a demonstration. Choose another --output.")
    try:
        if folder.exists():
            shutil.rmtree(folder)
        folder.mkdir(parents=True, exist_ok=True)
        write_text(folder / MARK, "Written anew by each `meshcast demo`.\n")
    except OSError as error:
        raise MeshcastError(
            f"Cannot write into {folder}: {error.strerror or error}. Choose another --output."
        ) from None
    return folder


def _in_folder(config: ExperimentConfig, folder: Path, updates: int | None) -> ExperimentConfig:
    splits = {
        name: replace(split, source=str(folder / str(split.source)))
        for name in ("train", "validation", "test")
        if (split := getattr(config.data, name)) is not None
    }
    training = config.training if updates is None else replace(config.training, updates=updates)
    return replace(config, data=DataConfig(**splits), training=training)
