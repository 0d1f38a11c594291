"""The demonstration's result, for people or for machines; and the sphere's whole path, made small."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from emulator.foundation.configuration import load
from emulator.physics.simulate import load_simulation
from inference.scores.scorecard import ForecastScores
from inference.scores.verification import verify
from meshcast.commands.configs import shipped_configs
from meshcast.console import progress, say
from meshcast.main import app
from tests.inference.synthetic import ring_forecast, ring_truth, sphere_forecast, sphere_truth
from training.experiment import ExperimentConfig
from training.runs import demonstration


@pytest.mark.parametrize(("lag", "code"), [(0.05, 0), (0.9, 1)])
def test_json_stands_alone_and_the_exit_code_says_whether_persistence_is_beaten(
    lag: float, code: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    truth = ring_truth()
    forecasts = [ring_forecast(truth, "network", lag, leads=5), ring_forecast(truth, "persistence", 0.5, leads=5)]
    result = demonstration.DemonstrationResult(Path("runs/demo-ring"), verify(forecasts, truth))
    monkeypatch.setattr(demonstration, "run_demonstration", lambda *arguments: result)
    said = CliRunner().invoke(app, ["demo", "ring", "--json"])
    assert said.exit_code == code
    assert json.loads(said.stdout)["unbeaten"] == ([] if code == 0 else ["persistence"])
    assert "nRMSE of u, 6 cases" in CliRunner().invoke(app, ["demo", "ring"]).stdout


@pytest.mark.parametrize(("lag", "unbeaten"), [(1, []), (3, ["damped anomaly"])])
def test_on_the_sphere_every_closed_form_is_to_be_beaten_and_no_solver(lag: int, unbeaten: list[str]) -> None:
    truth = sphere_truth()
    closed = [sphere_forecast(truth, "damped anomaly", lag=2), sphere_forecast(truth, "persistence", lag=9)]
    solvers = [sphere_forecast(truth, f"solver T{t}", lag=0, truncation=str(t)) for t in (5, 10)]
    found = verify(
        [sphere_forecast(truth, "network", lag=lag), *solvers, *closed],
        truth,
        baselines=[forecast.name for forecast in closed],
        num_resamples=20,
    )
    result = demonstration.DemonstrationResult(Path("runs"), found, demonstration.DEMOS["sphere"])
    # From the fourth step on: before, lags reach behind the start, and all begin from the same state.
    late = replace(found, emulators=tuple(_late(scores) for scores in found.emulators))
    assert replace(result, verification=late).unbeaten == unbeaten
    assert set(result.as_dict()["equivalent_truncation"]) == {"network", "damped anomaly", "persistence"}
    json.dumps(result.as_dict())


def _late(scores: ForecastScores) -> ForecastScores:
    return scores.cases(np.arange(scores.num_cases), np.arange(3, 8))


def test_a_forecast_that_failed_beats_nothing() -> None:
    truth = sphere_truth()
    failed, other = sphere_forecast(truth, "network"), sphere_forecast(truth, "persistence", lag=5)
    failed.values[0, :, -1] = float("nan")
    found = verify([failed, other], truth, baselines=["persistence"], num_resamples=20)
    assert demonstration.DemonstrationResult(Path("runs"), found, demonstration.DEMOS["sphere"]).unbeaten == [
        "persistence"
    ]


@pytest.mark.slow
def test_the_sphere_goes_from_simulation_to_report(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    configs = shipped_configs()
    simulation = load_simulation(
        configs["simulate-demo-sphere"],
        [
            "equation.truncation=10",
            "num_trajectories=8",
            "num_frames=9",
            "mesh.level=2",
            "initial_states.degrees=[3, 5]",
        ],
    )
    parts = {"train": [0, 5], "validation": [5, 6], "test": [6, 8]}
    experiment = load(
        ExperimentConfig,
        configs["demo-sphere"],
        [*(f"data.{name}.trajectories={rows}" for name, rows in parts.items()), "validation.steps=4"],
    )
    monkeypatch.setattr(demonstration, "load_simulation", lambda path: simulation)
    monkeypatch.setattr(demonstration, "load", lambda cls, path: experiment)
    demo = replace(demonstration.DEMOS["sphere"], steps=8, truncations=(5, 8))
    monkeypatch.setitem(demonstration.DEMOS, "sphere", demo)
    result = demonstration.run_demonstration("sphere", tmp_path, 2, configs, say, progress)
    made = {path.name for path in result.folder.iterdir()}
    pictures = {
        "maps_h.png",
        "maps_vorticity.png",
        "kinetic_energy.png",
        "conservation.png",
        "wind.png",
        "animation.gif",
    }
    assert {"report.html", "forecast.nc", "flow.zarr", "scores.json", *pictures} <= made
    labels = [scores.label for scores in result.verification.emulators]
    assert {"solver T5", "solver T8", "persistence", "climatology", "damped anomaly"} < set(labels)
    assert "Equivalent truncation" in (result.folder / "report.html").read_text()
    height = result.verification.emulators[0].mean("mean_drift")[:, 0]
    assert abs(height).max() < 0.01  # metres of ten kilometres, in float32
