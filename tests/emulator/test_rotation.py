"""Nothing on the globe says where longitude begins: a turned start gives the turned forecast."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from emulator.build import build_network
from emulator.data.arrays import ArrayFields
from emulator.forcings import Forcings
from emulator.foundation.time_step import TimeStep
from emulator.networks.gnn import GNNConfig, ProcessorConfig
from emulator.neural import NeuralEmulator
from emulator.protocol import rollout
from emulator.state import State
from emulator.task import Task, Variable
from emulator.training_part import TrainingPart
from graphs.edges.build import GraphConfig, MultiMeshEdges
from graphs.mesh import Mesh
from graphs.meshes.icosphere import IcosphereMesh, icosphere
from graphs.meshes.latlon import latlon

MESHES = {
    "data on the icosphere": (icosphere(2), GraphConfig(MultiMeshEdges())),
    # Rows at the poles, and longitudes on the meridians along which faces meet.
    "a grid with an icosphere": (
        latlon(np.linspace(90, -90, 13), np.arange(24) * 15.0),
        GraphConfig(MultiMeshEdges(), IcosphereMesh(level=1)),
    ),
}
STEPS = 10
SIZES = ProcessorConfig(num_layers=2, latent_size=16, hidden_size=16)


def sphere_task(*statics: str) -> Task:
    wind = (Variable("u", "prognostic", "m s-1", partner="v"), Variable("v", "prognostic", "m s-1", partner="u"))
    fixed = tuple(Variable(name, "static") for name in statics)
    return Task((Variable("h", "prognostic", "m"), *wind, *fixed), TimeStep.parse("3h"), history=2)


def turned_by_a_third(mesh: Mesh) -> NDArray[np.int64]:
    """[node] where each node came from, 120 degrees to its west."""
    if mesh.structured:
        rows, columns = mesh.shape
        return np.roll(np.arange(rows * columns).reshape(rows, columns), columns // 3, axis=1).ravel()
    angle = np.radians(-120.0)
    turn = np.array([[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]])
    distance, origin = cKDTree(mesh.positions).query(mesh.positions @ turn.T)
    assert distance.max() < 1e-12
    return origin


def unfitted(kind: str, mesh: Mesh, graph: GraphConfig, task: Task) -> NeuralEmulator:
    """An emulator on standard normal data, its last layer drawn at unit scale."""
    rng = np.random.default_rng(0)
    names = task.prognostic
    values = rng.normal(size=(8, 1, mesh.num_nodes, len(names)))
    times = np.arange(8, dtype=np.int64) * 10_800
    fields = ArrayFields(values, names, ("m", "m s-1", "m s-1"), mesh, task.time_step, times, "member")
    torch.manual_seed(0)
    config = GNNConfig(graph=graph, processor=replace(SIZES, kind=kind))
    emulator = build_network(config, task, mesh, len(task.static))
    emulator.inputs.take(TrainingPart(fields))
    torch.nn.init.normal_(emulator.network.decoder[-1].weight)
    torch.nn.init.normal_(emulator.network.decoder[-1].bias)
    emulator.correction_std.fill_(0.15)  # what changes in 3 hours
    return emulator.eval().requires_grad_(False)


def asymmetry(emulator: NeuralEmulator, dtype: torch.dtype) -> float:
    """Largest difference of the turned forecast from the forecast of the turned start, over the forecast's std."""
    emulator = emulator.to(dtype)
    origin = torch.from_numpy(turned_by_a_third(emulator.mesh))
    generator = torch.Generator().manual_seed(1)
    values = torch.randn(1, 1, 2, emulator.mesh.num_nodes, 3, generator=generator, dtype=torch.float64).to(dtype)
    now = np.zeros(1, dtype=np.int64)
    last = [
        list(rollout(emulator, State(start, now), Forcings(), STEPS))[-1][0].now
        for start in (values, values.index_select(3, origin))
    ]
    assert (last[0] - values[:, :, -1]).std() > 0.3  # the network has moved it
    return float((last[0].index_select(2, origin) - last[1]).abs().max() / last[0].std())


@pytest.mark.parametrize("kind", ["kernel", "interaction"])
@pytest.mark.parametrize("place", MESHES)
def test_a_start_turned_by_120_degrees_gives_the_turned_forecast(kind: str, place: str) -> None:
    task = sphere_task("sin_latitude", "cos_latitude", "coriolis")
    emulator = unfitted(kind, *MESHES[place], task)
    assert asymmetry(emulator, torch.float32) < 1e-4
    assert asymmetry(unfitted(kind, *MESHES[place], task), torch.float64) < 1e-10


@pytest.mark.parametrize("place", MESHES)
def test_longitude_among_the_features_breaks_the_symmetry(place: str) -> None:
    """So that the test above could fail."""
    emulator = unfitted("kernel", *MESHES[place], sphere_task("sin_latitude", "sin_longitude"))
    assert asymmetry(emulator, torch.float64) > 1e-2
