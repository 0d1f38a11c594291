"""Simulated truth: as arrays, and as the dataset that holds them."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from emulator.data.datasets import trajectory_files
from emulator.data.sources import open_fields
from emulator.foundation.configuration import load, resolve
from emulator.physics.ring_equations import APEBENCH, Advection, Burgers, Difficulty
from emulator.physics.shallow_water import ShallowWaterConfig
from emulator.physics.simulate import RingConfig, SimulationConfig, simulate, simulate_arrays, solver
from emulator.physics.sphere_simulation import SphereSimulationConfig
from graphs.errors import MeshcastError
from graphs.meshes.icosphere import IcosphereMesh
from tests.stores import digests
from tests.threads import assert_threads_given_or_measured

SMALL = SimulationConfig(
    equation=Burgers(diffusivity=0.05),
    time_step=0.1,
    mesh=RingConfig(num_nodes=32, length=2.0),
    num_trajectories=3,
    num_frames=6,
    warm_up=2,
    substeps=4,
    seed=7,
    title="a small Burgers set",
)
SMALL_SPHERE = SphereSimulationConfig(
    equation=ShallowWaterConfig(truncation=12), mesh=IcosphereMesh(level=1), num_trajectories=1, num_frames=2
)


def test_frames_follow_each_other_by_the_solver() -> None:
    frames = simulate_arrays(SMALL)
    assert frames.shape == (3, 6, 32) and frames.dtype == np.float64
    emulator = solver(SMALL)
    for frame in range(5):
        later = emulator.advance(torch.from_numpy(frames[:, frame]))
        assert np.array_equal(frames[:, frame + 1], later.numpy())


def test_the_warm_up_is_taken_before_the_first_frame() -> None:
    cold = simulate_arrays(replace(SMALL, warm_up=0, num_frames=8))
    assert np.array_equal(cold[:, 2:], simulate_arrays(SMALL))
    assert np.abs(cold[:, 0]).max() == 1


def test_the_seed_decides() -> None:
    assert np.array_equal(simulate_arrays(SMALL), simulate_arrays(SMALL))
    assert not np.allclose(simulate_arrays(SMALL), simulate_arrays(replace(SMALL, seed=8)))


def test_advection_of_findings_shifts_four_cells_a_frame() -> None:
    config = SimulationConfig(equation=APEBENCH["diff_adv"], time_step=1.0, num_trajectories=2, num_frames=11)
    frames = simulate_arrays(config)
    for frame in range(11):
        assert np.allclose(frames[:, frame], np.roll(frames[:, 0], 4 * frame, axis=1), atol=1e-12)


def test_the_dataset_holds_the_float32_of_what_was_computed(tmp_path: Path) -> None:
    path = simulate(SMALL, tmp_path / "burgers.zarr")
    fields = open_fields(str(path))
    values = fields.read(slice(None), ["u"])  # [time, trajectory, node, variable]
    assert np.array_equal(values[..., 0].transpose(1, 0, 2), simulate_arrays(SMALL).astype(np.float32))
    assert fields.ensemble_axis == "trajectory" and fields.ensemble_size == 3
    assert fields.mesh.describe() == "ring of 32 nodes, length 2"
    assert fields.time_step == solver(SMALL).task.time_step and str(fields.time_step) == "0.1"
    assert np.array_equal(np.diff(fields.times), np.ones(5)) and not fields.missing
    assert fields.attributes["title"] == "a small Burgers set" and "0.05" in fields.attributes["simulation"]


def test_anemoi_datasets_inspect_accepts_what_simulate_wrote(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from anemoi.datasets.__main__ import main

    path = simulate(SMALL, tmp_path / "burgers.zarr")
    monkeypatch.setattr(sys, "argv", ["anemoi-datasets", "inspect", str(path)])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 0
    printed = capsys.readouterr().out
    assert "6 × 1 × 3 × 32" in printed and "Dataset ready" in printed and "Statistics ready" in printed


def test_an_output_that_exists_is_refused_before_any_step(tmp_path: Path) -> None:
    (tmp_path / "a.zarr").mkdir()
    steps: list[int] = []
    with pytest.raises(MeshcastError, match="exists"):
        simulate(SMALL, tmp_path / "a.zarr", progress=lambda done, _: steps.append(done))
    assert not steps


def test_progress_counts_every_step() -> None:
    steps: list[tuple[int, int]] = []
    simulate_arrays(SMALL, progress=lambda done, total: steps.append((done, total)))
    assert steps == [(done, 7) for done in range(8)]


def test_a_solution_that_blows_up_is_said_and_not_written(tmp_path: Path) -> None:
    config = replace(SMALL, equation=Burgers(diffusivity=0.0, convection=50.0), num_frames=200, substeps=1)
    with pytest.raises(MeshcastError, match=r"no longer finite after \d+ of 201 steps. Take more than 1 substeps"):
        simulate(config, tmp_path / "a.zarr")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("config", [SMALL, SMALL_SPHERE])
@pytest.mark.parametrize("given", [None, 3])
def test_a_simulation_runs_on_the_threads_given_or_those_it_measures(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    config: SimulationConfig | SphereSimulationConfig,
    given: int | None,
) -> None:
    assert_threads_given_or_measured(
        monkeypatch,
        given,
        lambda on_step, notice: simulate(config, tmp_path / "a.zarr", False, on_step, given, notice),
    )


def test_a_simulation_is_configured_by_plain_values() -> None:
    content = {
        "equation": {"kind": "difficulty", "gamma": [0.0, 1.5], "delta": [-1.5]},
        "time_step": 1.0,
        "mesh": {"num_nodes": 64},
        "initial_states": {"kind": "fourier", "num_modes": 4},
    }
    config = load(SimulationConfig, content, ["equation.delta=[-2.0]", "num_frames=3"])
    assert config.equation == Difficulty(gamma=(0.0, 1.5), delta=(-2.0,)) and config.mesh.num_nodes == 64
    assert load(SimulationConfig, resolve(config)) == config
    advection = load(SimulationConfig, content, ["equation={kind: advection, speed: 2.0}"])
    assert advection.equation == Advection(speed=2.0)
    with pytest.raises(MeshcastError, match="num_frames"):
        SimulationConfig(equation=Advection(), time_step=1.0, num_frames=1)


@pytest.mark.slow
def test_a_killed_simulation_goes_on_with_the_trajectories_that_are_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("emulator.physics.simulate.VALUES_TOGETHER", 32)  # each trajectory on its own
    whole = digests(simulate(SMALL, tmp_path / "whole.zarr", threads=1))
    write_one, written, said = trajectory_files._write, [], []

    def killed_at_the_second(part: Any) -> int:
        if len(written) == 1 and not said:
            said.append("killed")
            raise KeyboardInterrupt
        written.append(part.name)
        return write_one(part)

    monkeypatch.setattr(trajectory_files, "_write", killed_at_the_second)
    with pytest.raises(KeyboardInterrupt):
        simulate(SMALL, tmp_path / "a.zarr", threads=1)
    (first,) = (tmp_path / "a.zarr.parts").glob("*.npy")
    simulate(SMALL, tmp_path / "a.zarr", threads=1, notice=said.append)
    assert written == [f"trajectories-{number:06d}" for number in range(3)] and "Going on" in said[1]
    assert digests(tmp_path / "a.zarr") == whole and not first.exists()
