"""planetswe's benchmark: the way between grid, harmonics and nodes, waves in time, and all of it on a small planet."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch

from emulator.foundation.configuration import dump
from emulator.heating_cycle import HeatingCycle
from emulator.physics.shallow_water import ShallowWater, ShallowWaterConfig
from emulator.physics.simulate import simulate
from emulator.physics.sphere_simulation import GaussianMesh, SphereSimulationConfig
from emulator.physics.sphere_states import BalancedFlow
from graphs.errors import MeshcastError
from graphs.meshes.icosphere import IcosphereMesh, icosphere

ROOT = Path(__file__).resolve().parent.parent
PLANET = SphereSimulationConfig(
    equation=ShallowWaterConfig(truncation=10, mean_depth=5000.0, surface=True, heating=HeatingCycle()),
    initial_states=BalancedFlow(degrees=(2, 6), max_wind=30.0),
    time_step="1h",
    mesh=IcosphereMesh(level=2),
    num_trajectories=5,
    num_frames=60,
    start_date="2000-01-06T00:00:00",
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The nodes' data of five trajectories, the grid's of the last, and the simulation's configuration."""
    path = tmp_path_factory.mktemp("planet")
    simulate(replace(PLANET, output=str(path / "nodes.zarr")))
    grid = GaussianMesh(num_latitudes=16, num_longitudes=32)
    only = {"first_trajectory": 4, "num_trajectories": 1, "num_frames": 40}
    simulate(replace(PLANET, mesh=grid, output=str(path / "grid.zarr"), **only))
    dump(PLANET, path / "planet.yaml")
    return path


@pytest.fixture
def benchmark(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    import planetswe

    return planetswe


@pytest.fixture
def truth_of(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    import planetswe_truth

    return planetswe_truth


def test_grid_harmonics_and_nodes_hold_one_truth(folder: Path, truth_of: ModuleType) -> None:
    truth = truth_of.GridTruth(truth_of.sphere_simulation(str(folder / "planet.yaml")), folder / "grid.zarr")
    frame, row = np.array([0, 20]), np.array([0, 0])
    grid = truth.grid(frame, row)
    coefficients = truth.coefficients(grid)
    assert np.abs(truth.on_grid(coefficients) - grid).max() < 2e-3  # of hundreds of metres, in float32
    view = truth_of.NodeView(truth, icosphere(2))
    assert view.truncation == 10
    nodes = view.at_nodes(coefficients).numpy()
    there = truth_of.open_fields(str(folder / "nodes.zarr")).read(frame, ("h", "u", "v"), 4)[:, 0]
    assert np.abs(nodes - there).max() < 0.01 * there.std()
    assert truth_of.vrmse(truth.on_grid(view.coefficients(nodes)), grid).max() < 1e-4
    assert truth_of.vrmse(grid + np.float32([0.0, 1.0, 0.0]), grid)[0] == pytest.approx(
        [0, 1 / grid[0, ..., 1].std(), 0]
    )


def test_a_solver_of_the_truths_truncation_is_the_truth(folder: Path, truth_of: ModuleType) -> None:
    truth = truth_of.GridTruth(truth_of.sphere_simulation(str(folder / "planet.yaml")), folder / "grid.zarr")
    start = truth.coefficients(truth.grid(np.array([0]), np.array([0])))
    time = truth.fields.times[:1]
    for truncation, most in ((10, 1e-3), (6, 0.5)):
        equation: ShallowWater = truth_of.solver_of(truth, truncation, 3600.0)
        state = equation.advance(truth.solver_state(start, equation), 12 * 3600.0, time)
        error = truth_of.vrmse(
            truth.on_grid(truth.of_solver(state, equation)), truth.grid(np.array([12]), np.array([0]))
        )
        assert error.max() < most and (truncation == 10 or error.max() > 0.01)


def test_a_wave_of_a_period_is_found_beside_a_trend(benchmark: ModuleType) -> None:
    times, areas = 3600 * np.arange(24 * 20), np.full(6, 1 / 6)
    angle = 2 * np.pi * times[:, None] / 86_400.0 + np.arange(6)
    height = (5.0 + 1e-5 * times[:, None] + 3.0 * np.cos(angle) + np.sin(7.3 * angle))[None]
    assert benchmark.wave(height, times, 86_400.0, areas) == pytest.approx(3.0, rel=0.02)


def test_the_whole_benchmark_on_a_small_planet(
    folder: Path, benchmark: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(folder)
    torch.manual_seed(0)
    parts = [
        f"data.{name}={{source: nodes.zarr, trajectories: [{first}, {last}]}}"
        for name, first, last in (("train", 0, 3), ("validation", 3, 4), ("test", 4, 5))
    ]
    small = [
        "task.static=[sin_latitude, cos_latitude]",
        "emulator.processor={kind: kernel, num_layers: 1, latent_size: 8, hidden_size: 8}",
        "training={updates: 4, batch_size: 2}",
        "validation={every: 2, steps: 2, cases: 1}",
    ]
    command = [
        str(ROOT / "configs/planetswe.yaml"),
        *parts,
        *small,
        "--simulation",
        "planet.yaml",
        "--grid",
        "grid.zarr",
    ]
    benchmark.main([*command, "--seeds", "0", "--every", "3", "--hours", "96", "--output", "all.json"])
    capsys.readouterr()
    report = json.loads((folder / "all.json").read_text())
    assert set(report) == {"truth", "forecasts", "climate", "versions"}
    assert report["truth"]["h"]["std"] > 0 and report["truth"]["independence"]["test_to_training"] > 0.1
    errors = report["forecasts"]["vrmse"]
    assert errors["nodes"]["13 to 30"]["mean"] < 1e-3 < errors["persistence"]["1"]["mean"]
    assert errors["persistence"]["1"]["mean"] < errors["persistence"]["13 to 30"]["mean"]
    assert 0 < errors["seed 0"]["6 to 12"]["mean"] < 10 and len(report["forecasts"]["by_hour"]["seed 0"]) == 30
    (climate,) = report["climate"]
    assert (climate["hours"], climate["hours_of_the_truth"]) == (96, 54)
    assert climate["mass_drift"] < 1e-6 and len(climate["energy_ratio_by_degree"]) <= 30


def test_a_simulation_is_named_by_its_file_or_as_it_is_shipped(truth_of: ModuleType) -> None:
    shipped = truth_of.sphere_simulation("simulate-planetswe")
    assert shipped == truth_of.sphere_simulation(str(ROOT / "configs/simulate-planetswe.yaml"))
    with pytest.raises(MeshcastError, match="Did you mean the shipped simulate-planetswe"):
        truth_of.sphere_simulation("simulate-planetsw")
