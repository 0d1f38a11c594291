"""The demonstration: what a user does in five commands, in one."""

from __future__ import annotations

import shutil
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from emulator.configuration import load
from emulator.data.forecast_file import read_forecast
from emulator.data.simulate import SimulationConfig, simulate
from emulator.data.starts import spread_starts, states_at
from graphs.errors import MeshcastError
from inference.scorecard import Verification
from inference.write_forecast import future_forcings, write_forecast
from meshcast.console import progress, say
from meshcast.shipped import shipped_configs
from training.experiment import DataConfig, ExperimentConfig
from training.fit import fit
from training.verify import verify_files

STEPS = 60
MARK = "demonstration"  # a file that says the folder is ours to make anew


@dataclass(frozen=True, eq=False)
class DemonstrationResult:
    """What the demonstration found, and where its report lies."""

    folder: Path
    verification: Verification

    @property
    def nrmse(self) -> dict[str, list[float]]:
        """By label of each emulator, by lead."""
        return {scores.label: scores.mean("nrmse")[:, 0].tolist() for scores in self.verification.emulators}

    @property
    def beats_persistence(self) -> bool:
        """Whether the network errs less at every lead time."""
        nrmse = self.nrmse
        ours, persistence = (np.array(nrmse[label]) for label in (next(iter(nrmse)), "persistence"))
        return bool(np.all(ours < persistence))

    def as_dict(self) -> dict[str, Any]:
        return {"folder": str(self.folder), "nrmse": self.nrmse, "beats_persistence": self.beats_persistence}


def run_demonstration(domain: str, output: Path, updates: int | None = None) -> DemonstrationResult:
    """Simulate, train, forecast, verify and report into `output`/demo-DOMAIN, made anew each time."""
    folder = _fresh(output / f"demo-{domain}")
    configs = shipped_configs()
    truth = folder / "truth.zarr"

    simulation = load(SimulationConfig, configs[f"simulate-demo-{domain}"])
    say(f"1/5 Simulating {simulation.title} ({simulation.num_trajectories} trajectories) ...")
    simulate(simulation, truth)

    experiment = _in_folder(load(ExperimentConfig, configs[f"demo-{domain}"]), folder, updates)
    say(f"2/5 Training a graph network, {experiment.training.updates} updates ...")
    trained = fit(experiment, folder / "run")

    say("3/5 Forecasting from initial states it has never seen ...")
    assert experiment.data.test is not None and experiment.data.test.trajectories is not None
    first = experiment.data.test.trajectories[0]
    test = experiment.data.test.open()
    init_time, rows = spread_starts(test, trained.emulator.task, STEPS)
    initial = states_at(test, trained.emulator.task, init_time, rows)
    initial = replace(initial, trajectory=rows + first)
    forecast_path = folder / "forecast.nc"
    with progress("forecasting", STEPS) as done:
        stops = write_forecast(
            trained, initial, future_forcings(trained, []), STEPS, forecast_path, overwrite=True, on_step=done
        )
    for stop in stops:
        say(f"Guard: {stop}")

    say("4/5 Verifying beside persistence, climatology and ridge regression ...")
    verified = verify_files([read_forecast(forecast_path)], str(truth), notice=say)

    say("5/5 Writing the report ...")
    from inference.report import Story, write_report

    write_report(
        verified.verification,
        folder,
        forecasts=verified.forecasts,
        truth=verified.truth,
        story=Story(
            title="A graph network forecasts Kuramoto-Sivashinsky turbulence",
            summary=f"Trained here on {simulation.title}; forecasts from {len(rows)} starts it has never seen.",
            command=f"meshcast demo {domain}",
            log=folder / "run" / "metrics.csv",
            facts={"updates": str(experiment.training.updates), "best after": f"{trained.metadata['update']} updates"},
        ),
    )
    say(f"Open {folder / 'report.html'}")
    return DemonstrationResult(folder, verified.verification)


def _fresh(folder: Path) -> Path:
    """An empty folder; one of an earlier demonstration is removed, anything else is left alone."""
    if folder.exists() and any(folder.iterdir()):
        if not (folder / MARK).is_file():
            raise MeshcastError(f"{folder} holds something else than a demonstration. Choose another --output.")
        shutil.rmtree(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / MARK).write_text("Made anew by each `meshcast demo`.\n")
    except OSError as error:
        raise MeshcastError(f"Cannot write into {folder}: {error.strerror}. Choose another --output.") from None
    return folder


def _in_folder(config: ExperimentConfig, folder: Path, updates: int | None) -> ExperimentConfig:
    parts = {
        name: replace(part, source=str(folder / str(part.source)))
        for name in ("train", "validation", "test")
        if (part := getattr(config.data, name)) is not None
    }
    training = config.training if updates is None else replace(config.training, updates=updates)
    return replace(config, data=DataConfig(**parts), training=training)
