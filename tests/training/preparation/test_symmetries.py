"""Mirror images as samples: the solver agrees with them, each sample is seen both ways, and unfit tasks are refused."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from emulator.baselines.ridge import RidgeConfig
from emulator.data.arrays import ArrayFields
from emulator.forcings import Forcings
from emulator.foundation.time_step import TimeStep
from emulator.networks.gnn import GNNConfig
from emulator.physics.shallow_water import ShallowWaterConfig
from emulator.physics.sphere_solver import SphereSolver
from emulator.state import State
from emulator.task import Role, Task, Variable
from graphs.errors import MeshcastError
from graphs.meshes.icosphere import icosphere
from graphs.meshes.limited_area import CapWindow, limited_area
from training.experiment import DataConfig, DataPart, ExperimentConfig, TaskConfig, TrainingConfig
from training.preparation.mirror import Mirror, mirror_of
from training.preparation.windows import Windows

MESH, STEP = icosphere(2), TimeStep(10_800)
AREA, _ = limited_area(icosphere(3), CapWindow((45.0, 10.0), 2500.0, 2000.0))
FLOW = (Variable("h", "prognostic"), *(Variable(name, "prognostic", partner=other) for name, other in ("uv", "vu")))
TASK = Task((*FLOW, Variable("sin_latitude", "static")), STEP)
PART = DataPart("data.zarr")


def experiment(mirror: tuple[str, ...] | None = ("v",), emulator: GNNConfig | None = None) -> ExperimentConfig:
    return ExperimentConfig(
        name="mirrored",
        data=DataConfig(PART, PART),
        task=TaskConfig(("h", "u", "v")),
        emulator=emulator or GNNConfig(),
        training=TrainingConfig(mirror=mirror),
    )


def with_one_more(name: str, role: Role) -> Task:
    return replace(TASK, variables=(*TASK.variables, Variable(name, role)))


def mirror() -> Mirror:
    found = mirror_of(experiment(), TASK, MESH)
    assert found is not None
    return found


def test_the_mirror_image_of_the_next_state_is_the_state_after_the_mirror_image() -> None:
    solver = SphereSolver(ShallowWaterConfig(truncation=8), STEP, MESH)
    generator = torch.Generator().manual_seed(0)
    values = torch.tensor([10_000.0, 10.0, 5.0]) + torch.randn(1, 1, 1, MESH.num_nodes, 3, generator=generator)
    first, _ = solver.step(State(values.double(), np.zeros(1, np.int64)))  # which cuts it to the solver's harmonics
    image = mirror()

    def mirrored(state: State) -> State:
        return State(torch.from_numpy(image.of(state.values[0, 0].numpy()))[None, None], state.valid_time)

    later, _ = solver.step(first)
    of_image, _ = solver.step(mirrored(first))
    assert (of_image.values - mirrored(later).values).abs().max() < 1e-6
    assert (of_image.values - later.values).abs().max() > 1.0
    wrong = replace(image, signs=np.ones(3, np.float32))
    other, _ = solver.step(State(torch.from_numpy(wrong.of(first.values[0, 0].numpy()))[None, None], first.valid_time))
    assert (other.values - torch.from_numpy(wrong.of(later.values[0, 0].numpy()))[None, None]).abs().max() > 1e-2


def test_each_sample_is_seen_both_ways_in_two_epochs() -> None:
    values = np.random.default_rng(0).normal(size=(6, 2, MESH.num_nodes, 3)).astype(np.float32)
    times = STEP.advance(np.zeros(6, dtype=np.int64), np.arange(6))
    fields = ArrayFields(values, ("h", "u", "v"), ("1",) * 3, MESH, STEP, times)
    windows = Windows(fields, TASK, 1, Forcings(), mirror=mirror())
    plain = Windows(fields, TASK, 1, Forcings())
    for sample in range(len(windows)):
        given = plain[sample]["values"].numpy()
        seen = [windows[epoch, sample]["values"].numpy() for epoch in (0, 1)]
        order = seen if sample % 2 == 0 else seen[::-1]
        np.testing.assert_array_equal(order[0], given)
        np.testing.assert_array_equal(order[1], mirror().of(given))
        assert not np.array_equal(*seen)
    assert mirror_of(experiment(None), TASK, MESH) is None


@pytest.mark.parametrize(
    ("config", "task", "mesh", "said"),
    [
        (experiment(("w",)), TASK, MESH, "names w, which the task does not predict"),
        (experiment(()), TASK, MESH, r"northward wind v changes sign .* training.mirror is \[\]"),
        (experiment(("u", "v")), TASK, MESH, r"eastward u does not, but training.mirror is \[u, v\]"),
        (
            experiment(),
            replace(TASK, variables=(*FLOW, Variable("insolation", "forcing"))),
            MESH,
            "insolation may tell",
        ),
        (experiment(), replace(TASK, variables=(*FLOW, Variable("orography", "static"))), MESH, "orography may tell"),
        (experiment(emulator=GNNConfig(node_statistics=True)), TASK, MESH, "node_statistics may tell"),
        (experiment(emulator=GNNConfig(first_guess=RidgeConfig())), TASK, MESH, "first guess ridge may tell"),
        (experiment(), TASK, AREA, "lies alike on both sides"),
    ],
)
def test_what_tells_the_hemispheres_apart_is_refused(config, task, mesh, said) -> None:
    with pytest.raises(MeshcastError, match=said):
        mirror_of(config, task, mesh)
