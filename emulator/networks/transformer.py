"""A Transformer over the history and over space."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from emulator.networks.config import NetworkConfig
from emulator.networks.layers.aggregate import zeros_beyond
from emulator.networks.layers.constants import constant
from emulator.networks.layers.feature_layout import CartesianWinds, FeatureLayout
from emulator.networks.layers.mlp import mlp
from graphs.errors import MeshcastError
from graphs.graph import ModelGraphs
from graphs.harmonics.basis import real_basis
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

    def in_words(self) -> str:
        sources = "[@vaswani2017; @dosovitskiy2021; @bertasius2021]"
        size = f"{self.num_layers} blocks of width {self.width} and {self.num_heads} heads"
        return f"a Transformer on patches of {self.patch} nodes a side, over space and history {sources}, of {size}"

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
    its token, its values now, and where it stands. Winds go in and come out as Cartesian vectors.
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
        """Return [batch, time, patch, width] from [batch, time, patch, slot, channel]."""
        return self.embedding(members.flatten(-2))

    def write(self, tokens: Tensor, members: Tensor) -> Tensor:
        """Return [batch, patch, slot, output] from [batch, patch, width]."""
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
        """Return [batch, time, patch, width] from [batch, time, patch, slot, channel]."""
        return (self.embedding(self._placed(members)) * self.shares.to(members.dtype)).sum(-2)

    def write(self, tokens: Tensor, members: Tensor) -> Tensor:
        """Return [batch, patch, slot, output] from [batch, patch, width] and the values of the members."""
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


Array = NDArray[np.float64]

MOST_HARMONICS = 32  # of the angle on a ring
MOST_DEGREES = 7  # of spherical harmonics: 64 of them
AREA_WAVES = 8  # along either axis of a limited area


class Patches(nn.Module):
    """The nodes of every patch, each in one: [.., node, channel] to [.., patch, slot, channel] and back.

    members: [patch, slot] nodes, the number of nodes (one past the end) where a patch has fewer.
    places: [node] patch · slots + slot.
    """

    def __init__(self, members: NDArray[np.int64], num_nodes: int) -> None:
        super().__init__()
        self.members = constant(members)
        places = np.zeros(num_nodes + 1, dtype=np.int64)
        places[members.ravel()] = np.arange(members.size)
        self.places = constant(places[:-1])

    @property
    def num_slots(self) -> int:
        return self.members.shape[1]

    def gather(self, values: Tensor) -> Tensor:
        """Return [.., patch, slot, channel] from [.., node, channel], zero where there is no node."""
        return zeros_beyond(values).index_select(-2, self.members.reshape(-1)).unflatten(-2, self.members.shape)

    def scatter(self, values: Tensor) -> Tensor:
        """Return [.., node, channel] from [.., patch, slot, channel]."""
        return values.flatten(-3, -2).index_select(-2, self.places)


def patches_of(mesh: Mesh, size: int) -> Patches:
    """Return patches of `size` consecutive nodes on a ring, of size x size rows and columns on a grid; elsewhere of at
    most size x size nodes, all nodes halved along their longest extent until they are that few.

    On a ring and a grid a slot is one place within every patch; elsewhere slots have no order.
    """
    if mesh.domain.kind == "ring":
        groups = [np.arange(first, min(first + size, mesh.num_nodes)) for first in range(0, mesh.num_nodes, size)]
        return _padded(groups, mesh.num_nodes)
    if mesh.structured:
        return Patches(_blocks(mesh, size), mesh.num_nodes)
    return _padded(_halved(mesh.positions, np.arange(mesh.num_nodes), size * size), mesh.num_nodes)


def centres(patches: Patches, mesh: Mesh) -> Array:
    """Return unit vectors [patch, coordinate] to the middle of each patch, or to a node of one around a circle."""
    members = patches.members.numpy()
    positions = np.concatenate([mesh.positions, np.zeros((1, mesh.positions.shape[1]))])[members]
    middle = positions.sum(axis=1)
    length = np.linalg.norm(middle, axis=1, keepdims=True)
    return np.where(length > 1e-6, middle / np.maximum(length, 1e-6), positions[:, 0])


def offsets_within(patches: Patches, mesh: Mesh) -> tuple[Array, NDArray[np.bool_]]:
    """Return [patch, slot, coordinate] from a patch's centre to its nodes, the longest one long, and [patch, slot]
    whether there is a node."""
    members = patches.members.numpy()
    present = members < mesh.num_nodes
    offsets = mesh.positions[np.where(present, members, 0)] - centres(patches, mesh)[:, None]
    offsets *= present[..., None]
    return offsets / max(float(np.linalg.norm(offsets, axis=-1).max()), 1e-12), present


def place_encoding(positions: Array, mesh: Mesh) -> Array:
    """Return [place, feature] what tells one place from another, smooth on the mesh and periodic where it is.

    - ring: cos kθ and sin kθ for k = 1 ... half the places, at most 32;
    - sphere: real spherical harmonics, their mean square one, up to degree 7 and as far as the places resolve them;
    - limited area: cos and sin of kπs for k = ½, 1, ... 4 along its two longest axes, each scaled to s in -1 ... 1.
    """
    count = len(positions)
    if mesh.domain.kind == "ring":
        angle = np.arctan2(positions[:, 1], positions[:, 0])[:, None]
        k = np.arange(1, max(1, min(MOST_HARMONICS, count // 2)) + 1)
        return np.concatenate([np.cos(k * angle), np.sin(k * angle)], axis=1) * np.sqrt(2.0)
    if mesh.domain.kind == "sphere":
        degree = max(1, min(MOST_DEGREES, int(np.sqrt(count)) - 1))
        basis = real_basis(positions, degree)
        return basis[:, np.abs(basis).max(axis=0) > 1e-12]
    offset = positions - positions.mean(axis=0)
    axes = np.linalg.svd(offset, full_matrices=False)[2][:2]
    along = offset @ axes.T  # [place, axis]
    along = along / np.maximum(np.abs(along).max(axis=0), 1e-12)
    wave = np.pi * 0.5 * np.arange(1, AREA_WAVES + 1) * along[..., None]
    return np.concatenate([np.cos(wave), np.sin(wave)], axis=-1).reshape(count, -1) * np.sqrt(2.0)


def _blocks(mesh: Mesh, size: int) -> NDArray[np.int64]:
    """Return [patch, slot] of a grid of rows and columns, patches row by row."""
    rows, columns = mesh.shape
    high, wide = -(-rows // size), -(-columns // size)
    padded = np.full((high * size, wide * size), mesh.num_nodes)
    padded[:rows, :columns] = np.arange(mesh.num_nodes).reshape(rows, columns)
    return padded.reshape(high, size, wide, size).transpose(0, 2, 1, 3).reshape(high * wide, size * size)


def _halved(positions: Array, nodes: NDArray[np.int64], most: int) -> list[NDArray[np.int64]]:
    if len(nodes) <= most:
        return [nodes]
    own = positions[nodes]
    longest = int(np.argmax(own.max(axis=0) - own.min(axis=0)))
    order = nodes[np.argsort(own[:, longest], kind="stable")]
    middle = len(order) // 2
    return [*_halved(positions, order[:middle], most), *_halved(positions, order[middle:], most)]


def _padded(groups: list[NDArray[np.int64]], num_nodes: int) -> Patches:
    members = np.full((len(groups), max(len(group) for group in groups)), num_nodes)
    for row, group in zip(members, groups, strict=True):
        row[: len(group)] = group
    return Patches(members, num_nodes)
