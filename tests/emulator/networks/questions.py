"""What every network is asked: small worlds on a ring and on spheres, and the questions."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from emulator.build import TrainedEmulator, build_network, load_emulator, save_emulator
from emulator.foundation.time_step import TimeStep
from emulator.networks.config import NetworkConfig
from emulator.networks.layers.feature_layout import FeatureLayout
from emulator.networks.layers.processors import rotation
from emulator.neural import NeuralEmulator
from emulator.normalise import Statistics
from emulator.task import Task, Variable
from graphs.graph import Graph
from graphs.mesh import Mesh
from graphs.meshes.icosphere import icosphere
from graphs.meshes.latlon import latlon
from graphs.meshes.ring import ring

STEP = TimeStep.parse("6h")
WAVE = Task((Variable("u", "prognostic"),), STEP, history=2)
WIND = Task(
    (
        Variable("h", "prognostic"),
        Variable("u", "prognostic", partner="v"),
        Variable("v", "prognostic", partner="u"),
        Variable("sun", "forcing"),
        Variable("orography", "static"),
    ),
    STEP,
    history=2,
)
MESHES = {
    "ring": lambda: ring(24),
    "area": lambda: latlon(np.linspace(56, 50, 4), np.linspace(-8, 2, 6)),
    "globe": lambda: latlon(np.linspace(75, -75, 6), np.arange(0, 360, 45)),
    "icosphere": lambda: icosphere(1),
}


def task_on(mesh: Mesh) -> Task:
    return WAVE if mesh.domain.kind == "ring" else WIND


def emulator_of(config: NetworkConfig, mesh: Mesh, seed: int = 0) -> NeuralEmulator:
    """An emulator whose last layer is drawn like the others."""
    torch.manual_seed(seed)
    emulator = build_network(config, task_on(mesh), mesh, len(task_on(mesh).static))
    return drawn(emulator)


def drawn(module: nn.Module) -> nn.Module:
    """The module with weights that stood at zero drawn at random."""
    for weight in module.parameters():
        if not weight.any():
            nn.init.normal_(weight, std=0.2)
    return module


def network_of(config: NetworkConfig, layout: FeatureLayout, mesh: Mesh, seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return drawn(config.build(layout, mesh))


def features_of(emulator: NeuralEmulator, batch: int = 3, seed: int = 1) -> Tensor:
    inputs, generator = emulator.inputs, torch.Generator().manual_seed(seed)
    return torch.randn(batch, emulator.mesh.num_nodes, inputs.num_fields + inputs.num_own, generator=generator)


def untrained_is_its_guess(config: NetworkConfig, mesh: Mesh) -> None:
    emulator = build_network(config, task_on(mesh), mesh, len(task_on(mesh).static))
    assert not emulator.network(features_of(emulator)).any()


def each_sample_stands_alone(config: NetworkConfig, mesh: Mesh) -> None:
    emulator = emulator_of(config, mesh)
    features = features_of(emulator)
    whole = emulator.network(features)
    assert whole.shape == (3, mesh.num_nodes, len(emulator.task.predicted)) and whole.std() > 1e-3
    torch.testing.assert_close(emulator.network(features[[2, 0, 1]]), whole[[2, 0, 1]], rtol=1e-4, atol=1e-5)


def gradients_reach_every_weight(config: NetworkConfig, mesh: Mesh) -> None:
    emulator = emulator_of(config, mesh)
    emulator.network(features_of(emulator)).square().sum().backward()
    assert [name for name, weight in emulator.network.named_parameters() if not weight.grad.any()] == []


def old_states_are_heard(config: NetworkConfig, mesh: Mesh) -> None:
    emulator = emulator_of(config, mesh)
    features = features_of(emulator)
    other = features.clone()
    other[..., 0] += 1.0  # of the oldest state
    assert (emulator.network(other) - emulator.network(features)).abs().max() > 1e-4


def a_checkpoint_says_the_same(config: NetworkConfig, mesh: Mesh, folder: Path) -> None:
    emulator = emulator_of(config, mesh).eval()
    names = tuple(variable.name for variable in emulator.task.predicted)
    statistics = Statistics(names, *np.ones((6, len(names))))
    path = folder / "emulator.safetensors"
    save_emulator(path, TrainedEmulator("network", emulator, config, statistics))
    back = load_emulator(path)
    assert back.config == config
    features = features_of(emulator)
    assert torch.equal(back.emulator.network(features), emulator.network(features))


def shifting_waves(nodes: int, batch: int, seed: int) -> tuple[Tensor, Tensor]:
    """Features [batch, node, 2] of a wave that has moved a node, and its next move [batch, node, 1]."""
    generator = torch.Generator().manual_seed(seed)
    x = 2 * np.pi * torch.arange(nodes) / nodes
    phase = 2 * np.pi * torch.rand(batch, 1, generator=generator)
    states = [torch.sin(x - 2 * np.pi * step / nodes + phase) for step in (-1, 0, 1)]
    return torch.stack(states[:2], dim=-1), (states[2] - states[1])[..., None]


def left_after_fitting(network: nn.Module, features: Tensor, target: Tensor, updates: int) -> float:
    """Share of the target's variance that `updates` of Adam leave."""
    optimiser = torch.optim.Adam(network.parameters(), lr=1e-2)
    for _ in range(updates):
        optimiser.zero_grad()
        loss = (network(features) - target).square().mean()
        loss.backward()
        optimiser.step()
    return float(loss.detach() / target.square().mean())


RING_LAYOUT = FeatureLayout(times=2, num_prognostic=1, num_forcing=0, num_inputs=2, num_outputs=1)
QUESTIONS = (
    untrained_is_its_guess,
    each_sample_stands_alone,
    gradients_reach_every_weight,
    old_states_are_heard,
)


def turned(sent: Tensor, graph: Graph, num_vectors: int) -> Tensor:
    """What senders send, [..., edge, channel], with its vectors in the receivers' frames (parallel transport).

        u' = cos u - sin v,   v' = sin u + cos v

    The first `num_vectors` channels are eastward components, the next `num_vectors` the northward ones; the others
    are scalars and stay. Cosine and sine are the edge features of that name.
    """
    if num_vectors == 0:
        return sent
    cosine, sine = rotation(graph, sent.dtype)
    u, v, scalars = sent.split([num_vectors, num_vectors, sent.shape[-1] - 2 * num_vectors], dim=-1)
    return torch.cat([cosine * u - sine * v, sine * u + cosine * v, scalars], dim=-1)
