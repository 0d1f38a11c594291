"""Fields on a ring or a grid of latitudes and longitudes, for networks that convolve: what lies beyond each edge."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Annotated, Literal

import numpy as np
import torch
from torch import Tensor, nn

from emulator.networks.config import NetworkConfig
from emulator.networks.layers.constants import constant
from emulator.networks.layers.feature_layout import FeatureLayout
from graphs.errors import MeshcastError
from graphs.geometry import parallel_transport
from graphs.graph import ModelGraphs
from graphs.interpolation.interpolate import bilinear
from graphs.kinds import ByKind
from graphs.mesh import Mesh
from graphs.meshes.grids import GaussianGrid, LatLonGrid, build_grid

StructuredGrid = Annotated[GaussianGrid | LatLonGrid, ByKind]
RowEdge = Literal["none", "replicate", "cap", "pole"]


@dataclass(frozen=True, kw_only=True)
class StructuredConfig(NetworkConfig):
    """A network that needs a ring or a grid of latitudes and longitudes.

    grid: of latitudes and longitudes to interpolate to and back from, for data on another mesh; none by default.
    """

    family = "convolutional, spectral"
    grid: StructuredGrid | None = None

    def build(self, layout: FeatureLayout, mesh: Mesh, graphs: ModelGraphs | None = None) -> GridNetwork:
        return GridNetwork(self, layout, mesh)

    def inside(self, num_inputs: int, num_outputs: int, mesh: Mesh) -> nn.Module:
        """Return the network on the grid: [batch, input, row, column] to [batch, output, row, column]."""
        raise NotImplementedError(f"{type(self).__name__} does not say what it builds.")


@dataclass(frozen=True)
class Edges:
    """What a convolution finds beyond a field's four edges. A field is [batch, channel, row, column], a ring one row.

    wraps: the last column's neighbour is the first.
    first, last: beyond the first and the last row. `none`: a ring has no rows to go to. `replicate`: the row itself
        again. Across a pole rows go on from the pole with longitudes shifted by half a circle: `cap`, where the pole
        lies between rows, from the edge row; `pole`, where the edge row is the pole, from the row before it.
    """

    wraps: bool
    first: RowEdge
    last: RowEdge

    @classmethod
    def of(cls, mesh: Mesh) -> Edges:
        """Return those of a ring, or of a grid of latitudes and longitudes, global or limited."""
        if mesh.domain.kind == "ring":
            return cls(wraps=True, first="none", last="none")
        if not mesh.domain.periodic:
            return cls(wraps=False, first="replicate", last="replicate")
        latitudes = np.abs(mesh.latitudes.reshape(mesh.shape)[:, 0])
        if len(latitudes) < 2:
            return cls(wraps=True, first="replicate", last="replicate")
        steps = np.abs(np.diff(mesh.latitudes.reshape(mesh.shape)[:, 0]))
        return cls(True, _row_edge(latitudes[0], steps[0]), _row_edge(latitudes[-1], steps[-1]))

    @property
    def has_rows(self) -> bool:
        return self.first != "none"

    def halved(self, rows: int) -> Edges:
        """Return those of every second row, from the first on, out of `rows`: the last pole may fall between rows."""
        return self if rows % 2 or self.last != "pole" else replace(self, last="cap")

    def pad(self, values: Tensor, reach: int) -> Tensor:
        """Return [batch, channel, row + 2 · reach, column + 2 · reach]; a ring keeps its one row."""
        rows, columns = values.shape[2:]
        least = max(reach + (edge == "pole") if edge in ("cap", "pole") else 1 for edge in (self.first, self.last))
        if least > rows or (self.wraps and reach > columns):
            grid = f"ring of {columns} nodes" if not self.has_rows else f"grid of {rows} x {columns}"
            raise MeshcastError(
                f"A kernel reaches {reach} nodes to each side, more than the {grid} has at this level of the network. "
                "Use smaller dilations, or fewer levels."
            )
        if self.has_rows:
            before, after = _beyond(values, reach, self.first, "before"), _beyond(values, reach, self.last, "after")
            values = torch.cat([before, values, after], dim=2)
        if self.wraps:
            return torch.cat([values[..., columns - reach :], values, values[..., :reach]], dim=3)
        sides = (values[..., :1], values[..., -1:])
        west, east = (side.expand(*side.shape[:3], reach) for side in sides)
        return torch.cat([west, values, east], dim=3)


def _row_edge(latitude: float, step: float) -> RowEdge:
    if 90.0 - latitude < 1e-3:  # degrees
        return "pole"
    return "cap" if 90.0 - latitude < step else "replicate"


def _beyond(values: Tensor, reach: int, edge: RowEdge, side: Literal["before", "after"]) -> Tensor:
    rows, columns = values.shape[2:]
    if edge == "replicate":
        return values[:, :, : 1 if side == "before" else None][:, :, -1:].expand(-1, -1, reach, -1)
    skipped = 1 if edge == "pole" else 0
    nearest = slice(skipped, skipped + reach) if side == "before" else slice(rows - skipped - reach, rows - skipped)
    return values[:, :, nearest].flip(2).roll(columns // 2, dims=3)


class PaddedConvolution(nn.Module):
    """A convolution over what `Edges` put around a field: [batch, channel, row, column] to the same rows and columns.

    On a ring the kernel is one row high.

    stride: 2 keeps every second row and column, from the first on; an odd number n of them becomes (n + 1) / 2.
    """

    def __init__(
        self, num_inputs: int, num_outputs: int, edges: Edges, kernel_size: int = 3, dilation: int = 1, stride: int = 1
    ) -> None:
        super().__init__()
        self.edges, self.reach = edges, dilation * (kernel_size // 2)
        size, strides, dilations = (_both(edges, each) for each in (kernel_size, stride, dilation))
        self.convolution = nn.Conv2d(num_inputs, num_outputs, size, strides, dilation=dilations)

    def forward(self, values: Tensor) -> Tensor:
        values = self.convolution(self.edges.pad(values, self.reach) if self.reach else values)
        # Channels last in memory, where convolutions run a third faster; after one input they are not by themselves.
        return values.contiguous(memory_format=torch.channels_last)


class PaddedUpsampling(nn.Module):
    """The transpose of a convolution of kernel 3 and stride 2: twice as many rows and columns, cut to a given size."""

    def __init__(self, num_inputs: int, num_outputs: int, edges: Edges) -> None:
        super().__init__()
        self.edges = edges
        self.convolution = nn.ConvTranspose2d(num_inputs, num_outputs, _both(edges, 3), stride=_both(edges, 2))

    def forward(self, values: Tensor, rows: int, columns: int) -> Tensor:
        """Return [batch, channel, rows, columns]; node i of the input is node 2 i of the output."""
        wide = self.convolution(self.edges.pad(values, 1))
        first = 3 if self.edges.has_rows else 0  # what the padding adds at twice the resolution, and the kernel's arm
        return wide[:, :, first : first + rows, 3 : 3 + columns]


def _both(edges: Edges, size: int) -> tuple[int, int]:
    return (size if edges.has_rows else 1), size


class GridNetwork(nn.Module):
    """A network on fields [batch, channel, row, column], its inputs and outputs [batch, node, feature].

    The transpose at the door moves no number: features stay last in memory, as convolutions like it on processors.
    Where a grid is given, fields are interpolated to it first and the answer back. Winds go as eastward and northward
    components of the grid's own frames, so that weights mean the same at every longitude.
    """

    def __init__(self, config: StructuredConfig, layout: FeatureLayout, mesh: Mesh) -> None:
        super().__init__()
        inner = _inner_mesh(config, mesh)
        self.there: Regridding | None = None
        self.back: Regridding | None = None
        self.regridding = ""
        if config.grid is not None and inner is not mesh:
            self.there, self.back = Regridding(mesh, inner, layout.winds), Regridding(inner, mesh, layout.output_winds)
            name = f"icosphere of {mesh.num_nodes} nodes" if mesh.levels else mesh.describe()
            rows, columns = inner.shape
            self.regridding = f"regridded from {name} to {rows} x {columns} {config.grid.kind} grid and back, bilinear"
        self.shape = inner.shape if inner.structured else (1, inner.num_nodes)
        self.inside = config.inside(layout.num_inputs, layout.num_outputs, inner)

    def forward(self, features: Tensor) -> Tensor:
        features = features if self.there is None else self.there(features)
        field = features.transpose(1, 2).unflatten(2, self.shape)  # [batch, input, row, column]
        output = self.inside(field).flatten(2).transpose(1, 2)  # [batch, node, output]
        return output if self.back is None else self.back(output)


def _inner_mesh(config: StructuredConfig, mesh: Mesh) -> Mesh:
    """Return the mesh of the configuration's grid, or the mesh itself. Raises MeshcastError if unstructured."""
    if config.grid is not None:
        if mesh.domain.kind == "ring":
            raise MeshcastError(f"{config.kind} needs no grid on a {mesh.describe()}. Leave emulator.grid out.")
        target = build_grid(config.grid)
        mesh = mesh if mesh.same_nodes(target) else target
    if mesh.domain.kind == "ring" or mesh.structured:
        return mesh
    name = "icosphere" if mesh.levels else "mesh"
    number = 8 * -(-math.isqrt(mesh.num_nodes) // 16)  # twice as many points as nodes, or some more
    raise MeshcastError(
        f"{config.kind} needs a structured mesh, but this {name} has shape {mesh.shape}. Give grid: {{kind: gaussian, "
        f"number: {number}}}, which regrids there and back, or use kind: gnn."
    )


class Regridding(nn.Module):
    """[batch, source node, channel] to [batch, target node, channel] by bilinear weights, constant and differentiable.

    A wind is carried along the great circle from each source node to the target, from one east-north frame to the
    other, so that a flow across a pole stays whole.

    winds: (eastward, northward) channels.
    """

    def __init__(self, source: Mesh, target: Mesh, winds: tuple[tuple[int, int], ...] = ()) -> None:
        super().__init__()
        entries = bilinear(source, target).matrix.tocoo()
        self.num_targets = target.num_nodes
        self.senders = constant(entries.col.astype(np.int64))
        self.receivers = constant(entries.row.astype(np.int64))
        turn = parallel_transport(source.positions[entries.col], target.positions[entries.row])
        weights = np.stack([np.ones_like(entries.data), *turn]) * entries.data  # for scalars, cosine, sine
        self.weights = constant(weights[:, :, None])  # [3, entry, 1]
        self.east = constant(np.array([east for east, _ in winds], np.int64))
        self.north = constant(np.array([north for _, north in winds], np.int64))

    def forward(self, values: Tensor) -> Tensor:
        values = values.to(torch.promote_types(values.dtype, torch.float32))  # whole values under autocast too
        received = values.index_select(1, self.senders)
        scalar, cosine, sine = self.weights.to(values.dtype)
        sent = received * scalar
        if len(self.east):
            east, north = self.east, self.north
            u, v = received.index_select(2, east), received.index_select(2, north)
            sent = sent.index_copy(2, east, cosine * u - sine * v).index_copy(2, north, sine * u + cosine * v)
        target = values.new_zeros(len(values), self.num_targets, values.shape[2])
        return target.index_add(1, self.receivers, sent)
