"""Memory that a training takes: said, and refused where it is more than is left, before anything is built."""

from __future__ import annotations

import torch

from emulator.networks.config import NetworkConfig
from graphs.available_memory import refuse_too_large
from graphs.mesh import Mesh
from training.experiment import TrainingConfig

BYTES_PER_WEIGHT = 12  # itself, its gradient and at least one moment of it


def refuse_too_large_network(config: NetworkConfig, mesh: Mesh, history: int, training: TrainingConfig) -> None:
    """Raise MeshcastError where graphs, weights, or what an update keeps for its gradient, cannot fit in memory.

    mesh: of the data. history: states a network sees.
    """
    num_nodes = mesh.num_nodes
    if weights := config.least_weights(num_nodes):
        refuse_too_large(
            BYTES_PER_WEIGHT * weights,
            f"A network of kind {config.kind} and scope whole, with {weights:,} or more weights for {num_nodes:,} "
            "nodes,",
            "Choose a smaller width, a coarser grid, or the scope that nodes share.",
        )
    kept = least_kept(config, mesh, history, training)
    if torch.cuda.is_available() and training.accelerator != "cpu":
        return  # the gradient's memory is the device's, which reports it itself
    refuse_too_large(
        kept,
        f"An update of {training.batch_size} samples on {num_nodes:,} nodes",
        f"Choose a coarser grid or mesh, or smaller training.batch_size or {config.width_key}.",
    )


def least_kept(config: NetworkConfig, mesh: Mesh, history: int, training: TrainingConfig) -> int:
    """Return the bytes that an update keeps at least for its gradient, over all samples and steps of the loss."""
    bytes_each = 2 if "16" in training.precision else 4
    steps = max(unroll for _, unroll in training.stages)
    return bytes_each * config.values_kept(mesh, history) * training.batch_size * steps
