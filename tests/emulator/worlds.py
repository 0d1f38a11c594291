"""Small worlds for emulators: waves on a ring, a masked sea, hourly weather, and the emulators made for them."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from emulator.baselines.first_guess import PersistenceGuess
from emulator.baselines.neighbourhood import NeighbourhoodMap
from emulator.baselines.ridge import RidgeConfig
from emulator.build import build_network
from emulator.data.arrays import ArrayFields
from emulator.foundation.time_step import TimeStep
from emulator.networks.gnn import GNNConfig, ProcessorConfig
from emulator.neural import NeuralEmulator
from emulator.state import State
from emulator.task import Task, Variable
from emulator.training_part import TrainingPart
from graphs.mesh import Mesh
from graphs.meshes.latlon import latlon
from graphs.meshes.ring import ring

FRAME = TimeStep(1, "second", 1.0, "frame")
HOUR = TimeStep.parse("1h")
WAVES = Task((Variable("u", "prognostic"),), FRAME)
WEATHER = Task(
    (
        Variable("2t", "prognostic", "K"),
        Variable("sst", "prognostic", "K", bounds=(271.0, None)),
        Variable("tp", "diagnostic", "m", bounds=(0.0, None)),
        Variable("insolation", "forcing"),
        Variable("sin_latitude", "static"),
    ),
    HOUR,
    history=2,
)
SMALL = ProcessorConfig(num_layers=1, latent_size=8, hidden_size=8)


def moving_waves(trajectories: int, frames: int, nodes: int = 24, shift: int = 1, seed: int = 0) -> NDArray[np.float32]:
    """[trajectory, frame, 1, node] random waves that move `shift` nodes to the right each frame."""
    rng = np.random.default_rng(seed)
    x, k = 2 * np.pi * np.arange(nodes) / nodes, np.arange(1, 4)[:, None]
    waves = np.sin(k * x + rng.uniform(0, 2 * np.pi, (trajectories, 3, 1)))
    start = np.einsum("tk,tkx->tx", rng.uniform(-1, 1, (trajectories, 3)), waves)
    return np.stack([np.roll(start, shift * t, axis=1) for t in range(frames)], axis=1)[:, :, None].astype(np.float32)


def wave_fields(trajectories: int = 4, frames: int = 12, seed: int = 0) -> ArrayFields:
    values = moving_waves(trajectories, frames, seed=seed).transpose(1, 0, 3, 2)
    return ArrayFields(values, ("u",), ("1",), ring(values.shape[2]), FRAME, np.arange(frames, dtype=np.int64))


def weather_mesh() -> Mesh:
    return latlon(np.linspace(56, 50, 4), np.linspace(-8, 2, 6))


def weather_fields(times: int = 60, seed: int = 0) -> ArrayFields:
    """Hourly 2t with a daily round, sst that is NaN on the last two columns (land), and rain."""
    rng = np.random.default_rng(seed)
    mesh, hour = weather_mesh(), np.arange(times)
    noise = np.cumsum(rng.normal(size=(times, mesh.num_nodes)), axis=0) * 0.1
    temperature = 280.0 + 3.0 * np.cos(2 * np.pi * (hour[:, None] - 14) / 24) + noise
    sea = 284.0 + 0.1 * noise
    sea[:, np.arange(mesh.num_nodes) % 6 >= 4] = np.nan
    rain = np.abs(rng.normal(size=noise.shape)) * 1e-3
    values = np.stack([temperature, sea, rain], axis=-1)[:, None].astype(np.float32)
    start = np.datetime64("2019-03-01", "s").astype(np.int64)
    return ArrayFields(
        values, ("2t", "sst", "tp"), ("K", "K", "m"), mesh, HOUR, start + 3600 * hour.astype(np.int64), "member"
    )


def fitted(
    task: Task,
    fields: ArrayFields,
    config: GNNConfig | None = None,
    zero: bool = False,
    part: TrainingPart | None = None,
) -> NeuralEmulator:
    """A network with the scales of the fields; its decoder drawn at random unless `zero`."""
    torch.manual_seed(0)
    emulator = build_network(config or GNNConfig(processor=SMALL), task, fields.mesh, len(task.static))
    emulator.inputs.take(part or TrainingPart(fields))
    if isinstance(emulator.first_guess, NeighbourhoodMap):
        torch.nn.init.normal_(emulator.first_guess.weights, std=0.1)
    if not zero:
        torch.nn.init.normal_(emulator.network.decoder[-1].weight, std=0.1)
    return emulator.eval().requires_grad_(False)


def with_ridge(radius: int = 1) -> GNNConfig:
    return GNNConfig(processor=SMALL, first_guess=RidgeConfig(radii=(radius,), penalties=(1e-6,)))


def with_persistence() -> GNNConfig:
    return GNNConfig(processor=SMALL, first_guess=PersistenceGuess())


def starting_from(fields: ArrayFields, task: Task, starts: list[int], row: int = 0) -> State:
    """States whose history begins at the given times of one ensemble row."""
    names = task.prognostic
    blocks = [fields.read(slice(start, start + task.history), names, row) for start in starts]
    values = torch.from_numpy(np.stack(blocks)).permute(0, 2, 1, 3, 4)  # [batch, member, time, node, prognostic]
    return State(values.contiguous(), fields.times[np.array(starts) + task.history - 1])
