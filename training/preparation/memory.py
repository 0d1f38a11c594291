"""The memory a training takes at least, counted before it begins."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from emulator.networks.config import NetworkConfig
from emulator.networks.keras_networks.keras_models import KerasConfig, torch_config
from emulator.networks.layers.feature_layout import FeatureLayout
from graphs.available_memory import refuse_too_large
from graphs.mesh import Mesh
from training.experiment import TrainingConfig

BYTES_PER_WEIGHT = 12  # itself, its gradient and at least one moment of it


def refuse_too_large_network(
    config: NetworkConfig, mesh: Mesh, history: int, training: TrainingConfig, numbers: tuple[int, int] | None = None
) -> None:
    """Raise MeshcastError where graphs, weights, or what an update keeps for its gradient, cannot fit in memory.

    mesh: of the data. history: states a network sees. numbers: `least_numbers` of these, where they are known.
    """
    weights, values = numbers or least_numbers(config, mesh, history)
    refuse_too_large(
        BYTES_PER_WEIGHT * weights,
        f"A network of kind {config.kind} with {weights:,} or more weights for {mesh.num_nodes:,} nodes",
        "Choose a smaller width, a coarser grid, or the scope that nodes share.",
    )
    if torch.cuda.is_available() and training.accelerator != "cpu":
        return  # the gradient's memory is the device's, which reports it itself
    bytes_each = 2 if "16" in training.precision else 4
    steps = max(unroll for _, unroll in training.stages)
    refuse_too_large(
        bytes_each * values * training.process_batch * steps,
        f"An update of {training.process_batch} samples on {mesh.num_nodes:,} nodes",
        f"Choose a coarser grid or mesh, or smaller training.batch_size or {config.width_key}.",
    )


def least_numbers(config: NetworkConfig, mesh: Mesh, history: int) -> tuple[int, int]:
    """Return a network's weights, and the numbers an update keeps for its gradient, of each sample and step.

    Of one variable in and out, by passes through the network on PyTorch's device `meta`, whose tensors have a shape and
    no content. At least so many: a fused LSTM has a workspace beside them. Both are zero where a network cannot be
    built there.
    """
    if isinstance(config, KerasConfig):
        config = torch_config(config)
    try:
        with torch.device("meta"):
            network = config.build(FeatureLayout(history, 1, 0, history, 1), mesh).to("meta")
            one, two = (_numbers_kept(network, torch.empty(count, mesh.num_nodes, history)) for count in (1, 2))
    except (RuntimeError, NotImplementedError, TypeError):  # it needs the content of a tensor, as for geometry
        return 0, 0
    return sum(weight.numel() for weight in network.parameters()), two - one


def _numbers_kept(network: nn.Module, features: Tensor) -> int:
    kept: dict[int, Tensor] = {}  # by storage, which views of one tensor share

    def keep(tensor: Tensor) -> Tensor:
        kept[tensor.untyped_storage()._cdata] = tensor
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        network(features)
    return sum(tensor.untyped_storage().nbytes() // tensor.element_size() for tensor in kept.values())
