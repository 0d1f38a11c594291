"""Memory that a training takes: said, and refused where it is more than is left, before anything is built."""

from __future__ import annotations

import torch

from emulator.gnn import GNNConfig
from emulator.networks.ffnn import FFNNConfig
from emulator.networks.lstm import LSTMConfig
from emulator.networks.transformer import EXPANSION, TransformerConfig
from emulator.rival_networks import RivalConfig
from graphs.available_memory import refuse_too_large
from graphs.edges.build import default_config
from graphs.edges.estimate import estimate
from graphs.mesh import Mesh
from training.experiment import TrainingConfig

BYTES_PER_WEIGHT = 12  # itself, its gradient and at least one moment of it
LSTM_VALUES = 6  # four gates, what a cell remembers and what it says


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


def refuse_too_large_rival(config: RivalConfig, mesh: Mesh, history: int, training: TrainingConfig) -> None:
    """Raise MeshcastError where a rival's weights, or what an update keeps for its gradient, cannot fit in memory.

    mesh: of the data. history: states a network sees.
    """
    num_nodes = mesh.num_nodes
    if weights := least_weights(config, num_nodes):
        refuse_too_large(
            BYTES_PER_WEIGHT * weights,
            f"A network of kind {config.kind} and scope whole, with {weights:,} or more weights for {num_nodes:,} "
            f"nodes and a width of {config.width},",
            "Choose a smaller width, a coarser grid, or the scope that nodes share.",
        )
    if torch.cuda.is_available() and training.accelerator != "cpu":
        return  # the gradient's memory is the device's, which reports it itself
    refuse_too_large(
        least_kept_by_rival(config, mesh, history, training),
        f"An update of {training.batch_size} samples on {num_nodes:,} nodes",
        "Choose a coarser grid, or smaller training.batch_size or width.",
    )


def least_weights(config: RivalConfig, num_nodes: int) -> int:
    """Weights that a network of the whole field has at least, with one variable in and out; 0 where nodes share."""
    match config:
        case LSTMConfig(scope="whole"):
            return 5 * config.width * num_nodes  # four gates and the way out
        case FFNNConfig(scope="whole"):
            return 2 * config.width * num_nodes
        case _:
            return 0


def least_kept_by_rival(config: RivalConfig, mesh: Mesh, history: int, training: TrainingConfig) -> int:
    """Bytes that an update keeps at least, for its gradient.

    Of layers on all nodes that is what they give; of a Transformer's blocks the normalised tokens, queries, keys,
    values and what was heard, and what is inside their network before and after its activation.
    """
    match config:
        case TransformerConfig():
            tokens = mesh.num_nodes // config.patch ** (1 if mesh.domain.kind == "ring" else 2)
            values = (5 + 2 * EXPANSION) * config.width * config.num_layers * tokens * history
        case LSTMConfig(scope="node"):
            values = LSTM_VALUES * config.width * config.num_layers * mesh.num_nodes * history
        case LSTMConfig() | FFNNConfig(scope="whole"):
            values = 0
        case _:
            values = config.width * getattr(config, "num_layers", 1) * mesh.num_nodes
    bytes_each = 2 if "16" in training.precision else 4
    return bytes_each * values * training.batch_size * max(unroll for _, unroll in training.stages)
