"""A Transformer over the history and over space."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from emulator.networks.config import NetworkConfig
from emulator.networks.layers.constants import constant
from emulator.networks.layers.feature_layout import CartesianWinds, FeatureLayout
from emulator.networks.layers.mlp import mlp
from emulator.networks.layers.patches import Patches, centres, offsets_within, patches_of, place_encoding
from graphs.errors import MeshcastError
from graphs.graph import ModelGraphs
from graphs.mesh import Mesh

EXPANSION = 2  # of the width, inside a block's network


@dataclass(frozen=True, kw_only=True)
class TransformerConfig(NetworkConfig):
    """Attention among patches of nodes and among the states of the history.

    width: of a token; num_layers: blocks; num_heads: of attention, a divisor of the width.
    patch: nodes on a side of a patch, which is one token at each time of the history: `patch` nodes on a ring, patch x
        patch rows and columns on a grid, at most patch x patch nodes elsewhere.
    """

    family = "feed-forward, recurrent, attention"
    kind: Literal["transformer"] = "transformer"
    width: int = 32
    num_layers: int = 4
    num_heads: int = 4
    patch: int = 4

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.width % self.num_heads:
            raise MeshcastError(
                f"emulator.num_heads must divide the width, but {self.num_heads} heads do not share {self.width} "
                f"channels. Use a width of {-(-self.width // self.num_heads) * self.num_heads}."
            )

    def build(self, layout: FeatureLayout, mesh: Mesh, graphs: ModelGraphs | None = None) -> nn.Module:
        return Transformer(self, layout, mesh)

    @property
    def width_unit(self) -> int:
        return self.num_heads


class Transformer(nn.Module):
    """A pre-norm Transformer (Vaswani et al. 2017, arXiv:1706.03762; Xiong et al. 2020, arXiv:2002.04745) on patches.

    A token is a patch of nodes at one time of the history (Dosovitskiy et al. 2021, arXiv:2010.11929). To its values
    are added what tells its time, learned, and a linear map of what tells its place, `place_encoding`. Attention is
    factorised, over the times of each patch, then over the patches of each time (Bertasius et al. 2021,
    arXiv:2102.05095), so that its cost is that of one field and not of the whole history squared. What stands at the
    last time is read out, by a layer that starts at zero.

    Nodes of a mesh without rows and columns have no order within their patch: there a token is the mean of a small
    network of each node's values and where it stands from the patch's centre, and a node is read out by another, from
    its token, its values now, and where it stands.

    Winds go in and come out as Cartesian vectors.
    """

    def __init__(self, config: TransformerConfig, layout: FeatureLayout, mesh: Mesh) -> None:
        super().__init__()
        self.winds = CartesianWinds(layout, mesh)
        self.layout = inside = self.winds.inside
        self.patches = patches_of(mesh, config.patch)
        self.encoding = constant(place_encoding(centres(self.patches, mesh), mesh))
        self.place = nn.Linear(self.encoding.shape[1], config.width, bias=False)
        self.time = nn.Parameter(0.02 * torch.randn(inside.times, 1, config.width))
        ordered = mesh.domain.kind == "ring" or mesh.structured or config.patch == 1
        self.reader: BlockReader | ClusterReader
        if ordered:
            self.reader = BlockReader(inside, self.patches.num_slots, config.width)
        else:
            self.reader = ClusterReader(inside, self.patches, mesh, config.width)
        self.blocks = nn.ModuleList(
            Block(config.width, config.num_heads, inside.times > 1) for _ in range(config.num_layers)
        )
        self.norm = nn.LayerNorm(config.width)

    def forward(self, features: Tensor) -> Tensor:
        sequence = self.layout.sequence(self.winds.enter(features))
        members = self.patches.gather(sequence)  # [batch, time, patch, slot, channel]
        tokens = self.reader.read(members) + self.place(self.encoding.to(features.dtype)) + self.time
        for block in self.blocks:
            tokens = block(tokens)
        slots = self.reader.write(self.norm(tokens[:, -1]), members[:, -1])  # [batch, patch, slot, output]
        return self.winds.leave(self.patches.scatter(slots))


class BlockReader(nn.Module):
    """Tokens from patches whose slots stand in one order, and back: linear maps of all slots at once."""

    def __init__(self, layout: FeatureLayout, num_slots: int, width: int) -> None:
        super().__init__()
        self.shape = (num_slots, layout.num_outputs)
        self.embedding = nn.Linear(num_slots * layout.num_each, width)
        self.decoder = mlp([width, num_slots * layout.num_outputs], zero_last=True)

    def read(self, members: Tensor) -> Tensor:
        """Return from [batch, time, patch, width] [batch, time, patch, slot, channel]."""
        return self.embedding(members.flatten(-2))

    def write(self, tokens: Tensor, members: Tensor) -> Tensor:
        """Return from [batch, patch, slot, output] [batch, patch, width]."""
        return self.decoder(tokens).unflatten(-1, self.shape)


class ClusterReader(nn.Module):
    """Tokens from patches whose slots have no order, and back: networks of each node's values and place within."""

    def __init__(self, layout: FeatureLayout, patches: Patches, mesh: Mesh, width: int) -> None:
        super().__init__()
        offsets, present = offsets_within(patches, mesh)
        self.offsets = constant(offsets)  # [patch, slot, xyz]
        self.shares = constant((present / present.sum(axis=1, keepdims=True))[..., None])
        self.embedding = mlp([layout.num_each + 3, width, width])
        self.decoder = mlp([width + layout.num_each + 3, width, layout.num_outputs], zero_last=True)

    def read(self, members: Tensor) -> Tensor:
        """Return from [batch, time, patch, width] [batch, time, patch, slot, channel]."""
        return (self.embedding(self._placed(members)) * self.shares.to(members.dtype)).sum(-2)

    def write(self, tokens: Tensor, members: Tensor) -> Tensor:
        """Return from [batch, patch, slot, output] [batch, patch, width] and the members' own values."""
        around = tokens.unsqueeze(-2).expand(*members.shape[:-1], -1)
        return self.decoder(torch.cat([around, self._placed(members)], dim=-1))

    def _placed(self, members: Tensor) -> Tensor:
        offsets = self.offsets.to(members.dtype).expand(*members.shape[:-1], -1)
        return torch.cat([members, offsets], dim=-1)


class Block(nn.Module):
    """Attention over time, where there is more than one, attention over space, and a network of each token."""

    def __init__(self, width: int, num_heads: int, over_time: bool) -> None:
        super().__init__()
        self.time = Attention(width, num_heads) if over_time else None
        self.space = Attention(width, num_heads)
        self.norm = nn.LayerNorm(width)
        self.network = mlp([width, EXPANSION * width, width])

    def forward(self, tokens: Tensor) -> Tensor:
        """Return [batch, time, patch, width] to the same."""
        if self.time is not None:
            tokens = tokens + self.time(tokens.transpose(1, 2)).transpose(1, 2)
        tokens = tokens + self.space(tokens)
        return tokens + self.network(self.norm(tokens))


class Attention(nn.Module):
    """Multi-head attention of [.., token, width] to itself, normalised first."""

    def __init__(self, width: int, num_heads: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.norm = nn.LayerNorm(width)
        self.questions = nn.Linear(width, 3 * width, bias=False)
        self.out = nn.Linear(width, width)

    def forward(self, tokens: Tensor) -> Tensor:
        heads = self.questions(self.norm(tokens)).unflatten(-1, (3, self.num_heads, -1))
        query, key, value = (part.transpose(-2, -3) for part in heads.unbind(-3))  # [.., head, token, channel]
        received = nn.functional.scaled_dot_product_attention(query, key, value)
        return self.out(received.transpose(-2, -3).flatten(-2))
