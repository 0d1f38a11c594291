"""Memory that a training takes: said, and refused where it is more than is left, before anything is built."""

from __future__ import annotations

import torch

from emulator.gnn import GNNConfig
from graphs.available_memory import refuse_too_large
from graphs.build import default_config
from graphs.estimate import estimate
from graphs.mesh import Mesh
from training.experiment import TrainingConfig


def refuse_too_large_network(config: GNNConfig, mesh: Mesh, training: TrainingConfig) -> None:
    """Raise MeshcastError where graphs, or what an update keeps for its gradient, cannot fit in memory.

    mesh: of the data; of a limited area nothing is refused, since its mesh is trimmed to what the area reaches.
    """
    if mesh.domain.kind != "sphere":
        return
    expected = estimate(config.graph or default_config(mesh), mesh.num_nodes)
    expected.refuse_too_large()
    if torch.cuda.is_available() and training.accelerator != "cpu":
        return  # the gradient's memory is the device's, which reports it itself
    refuse_too_large(
        least_kept(config, expected.num_nodes, training),
        f"An update of {training.batch_size} samples on {expected.num_nodes:,} nodes and {expected.num_edges:,} edges",
        "Choose a lower level, or smaller training.batch_size, processor.latent_size or hidden_size.",
    )


def least_kept(config: GNNConfig, num_nodes: int, training: TrainingConfig) -> int:
    """Bytes that an update keeps at least, for its gradient, between the layers of the processor.

    Of each layer that is the latent features it read and the hidden ones before and after their activation; what
    messages take, on top, depends on the kind of layer.
    """
    processor = config.processor
    width = processor.latent_size + 2 * processor.hidden_size
    bytes_each = 2 if "16" in training.precision else 4
    steps = max(unroll for _, unroll in training.stages)
    return bytes_each * width * processor.num_layers * num_nodes * training.batch_size * steps
