"""What the processors of other models share: sizes, MLPs of several inputs, and nodes before edges in memory."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn

from emulator.networks.layers.constants import without_autocast
from emulator.networks.layers.depth import refuse_endless
from emulator.networks.layers.edge_blocks import EdgeBlocks
from emulator.networks.layers.matrix_product import linear
from graphs.errors import MeshcastError

Activation = Callable[[Tensor], Tensor]


@dataclass(frozen=True, kw_only=True)
class RoundsConfig:
    """Rounds of messages of another model.

    num_layers: rounds of messages, each with weights of its own.
    latent_size: features of a node, and of an edge, between layers.
    hidden_size: width inside a layer.
    """

    num_layers: int = 6
    latent_size: int = 32
    hidden_size: int = 32

    def __post_init__(self) -> None:
        for name in ("num_layers", "latent_size", "hidden_size"):
            if getattr(self, name) < 1:
                raise MeshcastError(f"processor.{name} must be at least 1, but is {getattr(self, name)}.")
        refuse_endless(self.num_layers, "processor")

    @property
    def kind(self) -> str:
        """Return what YAML calls it: in every kind a field, `kind: Literal["name"] = "name"`."""
        raise NotImplementedError(f"{type(self).__name__} has no kind.")

    def in_words(self) -> str:
        """Return what the messages are, for a paragraph on methods; sources by their keys in references.bib."""
        return f"messages of kind {self.kind}"

    @property
    def width_unit(self) -> int:
        """Return what `latent_size` must be a multiple of."""
        return 1

    def processor(self, edges: EdgeBlocks) -> nn.Module:
        """Return `num_layers` rounds on one mesh, a module of (edges, latent, latent), [batch, node, latent] all."""
        return self.rounds(edges, self.num_layers, two_meshes=False)

    def link(self, edges: EdgeBlocks) -> nn.Module:
        """Return one round from one mesh to another, a module of (edges, senders, receivers) to receivers."""
        return self.rounds(edges, 1, two_meshes=True)

    def rounds(self, edges: EdgeBlocks, num_layers: int, two_meshes: bool) -> nn.Module:
        """Return rounds on one mesh, or from the nodes of one to those of another."""
        raise NotImplementedError(f"{type(self).__name__} does not say what it builds.")


class ConcatenationMLP(nn.Module):
    """An MLP of several inputs side by side, and a LayerNorm: linear, activation, ..., linear, norm.

    Its first map is split, one part an input, so that the inputs are never copied beside one another.

    inputs: sizes of the inputs. hidden: sizes of the layers between.
    """

    def __init__(self, inputs: Sequence[int], hidden: Sequence[int], outputs: int, activation: Activation) -> None:
        super().__init__()
        self.inputs = list(inputs)
        self.activation: Activation = activation
        sizes = [sum(inputs), *hidden, outputs]
        self.linears = nn.ModuleList(nn.Linear(before, after) for before, after in pairwise(sizes))
        self.norm = nn.LayerNorm(outputs)

    def first(self) -> list[Tensor]:
        """Return the first map's bias [hidden] and its weights [hidden, input], one an input."""
        layer = self.linears[0]
        assert isinstance(layer, nn.Linear)
        return [layer.bias, *layer.weight.split(self.inputs, dim=1)]

    def rest(self) -> list[Tensor]:
        """Return the weights behind the first map: (weight, bias) of each other, scale and shift of the norm."""
        layers = [
            layer for layer in (*list(self.linears)[1:], self.norm) if isinstance(layer, nn.Linear | nn.LayerNorm)
        ]
        return [value for layer in layers for value in (layer.weight, layer.bias)]

    def forward(self, *inputs: Tensor) -> Tensor:
        """Return [..., output] from [..., input] each."""
        dtype = computing_dtype(inputs[0])
        bias, *weights = (weight.to(dtype) for weight in self.first())
        rest = [weight.to(dtype) for weight in self.rest()]
        with without_autocast(inputs[0]):
            hidden = bias
            for values, weight in zip(inputs, weights, strict=True):
                hidden = linear(values.to(dtype), weight) + hidden
            return mlp_after_first(hidden, rest, self.activation)


def mlp_after_first(hidden: Tensor, rest: Sequence[Tensor], activation: Activation) -> Tensor:
    """Return what an MLP makes of its first map's values [..., hidden], with the weights of `ConcatenationMLP.rest`."""
    *maps, scale, shift = rest
    for weight, bias in zip(maps[::2], maps[1::2], strict=True):
        hidden = linear(activation(hidden), weight, bias)
    return nn.functional.layer_norm(hidden, scale.shape, scale, shift)


def computing_dtype(values: Tensor) -> torch.dtype:
    """Return the precision of products with these values: autocast's where it is on."""
    device = values.device.type
    if device != "meta" and values.dtype == torch.float32 and torch.is_autocast_enabled(device):
        return torch.get_autocast_dtype(device)
    return values.dtype


def by_node(latent: Tensor) -> Tensor:
    """Return [node, batch, latent], contiguous, of [batch, node, latent]."""
    return latent.transpose(0, 1).contiguous()
