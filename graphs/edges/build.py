"""From a configuration to the graphs of a network, and how large they will be."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Annotated, Literal

import numpy as np
import torch
from scipy.spatial import cKDTree
from torch import Tensor

from graphs.available_memory import readable, refuse_too_large
from graphs.edges.connect import (
    BYTES_PER_EDGE,
    containing_triangle,
    multi_mesh,
    nearest,
    refuse_unreached,
    ring_hops,
    stencil,
    within,
)
from graphs.edges.edge_features import edge_features
from graphs.errors import MeshcastError
from graphs.geometry import face_sides
from graphs.graph import Graph, ModelGraphs
from graphs.kinds import ByKind
from graphs.mesh import Mesh
from graphs.meshes.grids import GridConfig
from graphs.meshes.icosphere import SIDE, IcosphereMesh, check_level, icosphere, memory_estimate, num_nodes, trim
from graphs.meshes.stretched import StretchedMesh, stretched


@dataclass(frozen=True)
class HopEdges:
    """Edges over a ring, `hops` nodes to either side; (1, 2, 4, 8) spans several scales."""

    kind: Literal["hops"] = "hops"
    hops: tuple[int, ...] = (1, 2)


@dataclass(frozen=True)
class StencilEdges:
    """Edges over a latitude-longitude grid, at most `radius` rows and columns away."""

    kind: Literal["stencil"] = "stencil"
    radius: int = 1
    shape: Literal["square", "disc"] = "square"
    self_edges: bool = False


@dataclass(frozen=True)
class NearestEdges:
    """Edges from the nearest `neighbours` nodes."""

    kind: Literal["nearest"] = "nearest"
    neighbours: int = 8


@dataclass(frozen=True)
class RadiusEdges:
    """Edges from all nodes at most `distance` away along the great circle [m], on a ring in the unit of its length."""

    kind: Literal["radius"] = "radius"
    distance: float = 500e3


@dataclass(frozen=True)
class MultiMeshEdges:
    """The sides of the triangles of several levels of an icosphere, near and far; all `levels` where null."""

    kind: Literal["multi_mesh"] = "multi_mesh"
    levels: tuple[int, ...] | None = None


@dataclass(frozen=True)
class TriangleEdges:
    """Edges between a grid point and the corners of the triangle around it, barycentric weights as a feature."""

    kind: Literal["triangle"] = "triangle"


log = logging.getLogger(__name__)

EdgeConfig = Annotated[HopEdges | StencilEdges | NearestEdges | RadiusEdges | MultiMeshEdges, ByKind]
LinkConfig = Annotated[TriangleEdges | NearestEdges | RadiusEdges, ByKind]
MeshConfig = Annotated[IcosphereMesh | StretchedMesh, ByKind]

DEGREE = 6  # edges a node where only the mesh knows better: the sides of its triangles
STRETCHED = 1.5  # longest side over shortest beyond which a mesh is; an icosphere's are below 1.2
FEWEST = 12  # nodes, those of an icosahedron, below which messages have hardly anywhere to go
ENCODER_REACH = 0.6  # of the longest side of a triangle; its corners are at most 0.58 sides from any point inside


@dataclass(frozen=True)
class GraphConfig:
    """Which graphs a network runs on.

    processor: edges along which messages pass.
    mesh: where messages pass; null where that is the mesh of the data, without encoder and decoder.
    encoder: edges from grid to mesh; null for all grid points within 0.6 of the longest side of a triangle, or the
        nearest one.
    decoder: edges from mesh to grid; null for the corners of the triangle around each grid point.
    """

    processor: EdgeConfig
    mesh: MeshConfig | None = None
    encoder: LinkConfig | None = None
    decoder: LinkConfig | None = None

    def __post_init__(self) -> None:
        if self.mesh is None and (self.encoder is not None or self.decoder is not None):
            raise MeshcastError(
                "An encoder or a decoder needs a mesh to lead to. Add mesh: {kind: icosphere, level: 4}, or leave "
                "both out for data on the mesh itself."
            )


@dataclass(frozen=True)
class GridGraphs:
    """A grid and the graphs of a network on it, without data.

    grid: where data would live.
    graph: the edges; by default several scales on a ring or an icosphere, the eight neighbours elsewhere.
    """

    grid: GridConfig
    graph: GraphConfig | None = None


def build_graphs(config: GraphConfig, mesh: Mesh) -> ModelGraphs:
    """Return the graphs of a network for data on `mesh`; raise MeshcastError where a node would receive nothing."""
    if config.mesh is None:
        return ModelGraphs(processor=connected(mesh, mesh, connect(config.processor, mesh), "the processor"))
    hidden, edge_index = message_mesh(config.mesh, config.processor, mesh)
    return ModelGraphs(
        processor=connected(hidden, hidden, edge_index, "the processor"),
        encoder=_encoder(config.encoder, mesh, hidden),
        decoder=_decoder(config.decoder, mesh, hidden),
        mesh=hidden,
    )


def message_mesh(config: MeshConfig, edges: EdgeConfig, grid: Mesh) -> tuple[Mesh, Tensor]:
    """Return the mesh where messages pass for data on `grid`, and the processor's edges [2, edge] on it.

    For limited-area data the mesh is trimmed to the corners of triangles that hold a grid point and the nodes within
    the encoder's reach of one; of a multi-mesh the edges between kept nodes stay.
    """
    if grid.domain.kind == "ring":
        raise MeshcastError(f"An icosphere cannot carry the messages of a {grid.describe()}. Leave out graph.mesh.")
    size = grid.domain.size
    whole = stretched(config, size) if isinstance(config, StretchedMesh) else icosphere(config.level, size)
    if grid.domain.kind == "sphere":
        return whole, connect(edges, whole)
    keep = np.zeros(whole.num_nodes, dtype=bool)
    keep[containing_triangle(whole, grid)[0][0].numpy()] = True
    keep[_within_reach(grid, whole)[1].numpy()] = True
    trimmed = trim(whole, keep)
    if trimmed.num_nodes < min(FEWEST, grid.num_nodes):
        _warn_of_few_nodes(grid, trimmed)
    if isinstance(edges, MultiMeshEdges):
        edge_index, number = multi_mesh(whole, edges.levels), torch.from_numpy(np.cumsum(keep) - 1)
        return trimmed, number[edge_index[:, torch.from_numpy(keep)[edge_index].all(dim=0)]]
    return trimmed, connect(edges, trimmed)


def _warn_of_few_nodes(grid: Mesh, hidden: Mesh) -> None:
    spacing = float(np.median(cKDTree(grid.positions).query(grid.positions, k=2)[0][:, 1]))
    level = int(np.ceil(np.log2(SIDE / (2.0 * spacing)))) if spacing > 0 else 0
    log.warning(
        "Messages pass on %d nodes only: the %s spans %.1f degrees of latitude. Choose a higher level (%d has nodes "
        "about twice as far apart as the data's), or look whether latitudes and longitudes are in degrees.",
        hidden.num_nodes,
        grid.describe(),
        np.ptp(grid.latitudes),
        min(max(level, 0), 12),
    )


def _within_reach(grid: Mesh, hidden: Mesh) -> Tensor:
    """Return the edges [2, edge] to each mesh node from all grid points within 0.6 of the longest side of its faces."""
    assert hidden.faces is not None
    sides = face_sides(hidden.faces)
    lengths = np.linalg.norm(hidden.positions[sides[:, 0]] - hidden.positions[sides[:, 1]], axis=1)  # chords
    if lengths.max() < STRETCHED * lengths.min():
        return within(grid, hidden, ENCODER_REACH * 2.0 * float(np.arcsin(lengths.max() / 2.0)) * hidden.domain.size)
    longest = np.zeros(hidden.num_nodes)
    np.maximum.at(longest, sides.ravel(), np.repeat(lengths, 2))
    reach = 2.0 * np.sin(ENCODER_REACH * np.arcsin(longest / 2.0))
    found = cKDTree(grid.positions).query_ball_point(hidden.positions, reach, return_sorted=True)
    receivers = np.repeat(np.arange(hidden.num_nodes), [len(senders) for senders in found])
    return torch.from_numpy(np.stack([np.concatenate(found).astype(np.int64), receivers]))


def _encoder(config: LinkConfig | None, grid: Mesh, hidden: Mesh) -> Graph:
    barycentric = None
    match config:
        case None:
            edge_index = _within_reach(grid, hidden)
            unreceived = np.flatnonzero(np.bincount(edge_index[1].numpy(), minlength=hidden.num_nodes) == 0)
            edge_index = torch.cat([edge_index, nearest(grid, hidden, 1)[:, unreceived]], dim=1)
        case TriangleEdges():
            edge_index, barycentric = containing_triangle(hidden, grid)
            edge_index = edge_index.flip(0)
        case _:
            edge_index = connect(config, grid, hidden)
    return connected(grid, hidden, edge_index, "the encoder", _area_shares(grid, hidden, edge_index, barycentric))


def _area_shares(grid: Mesh, hidden: Mesh, edge_index: Tensor, weights: Tensor | None) -> Tensor:
    """Return each sender's share [edge] in the area its receiver receives; at every receiver they sum to one.

    A sum over senders would grow with their number, which on a grid of latitudes and longitudes is tens of times
    larger near a pole than at the equator.
    """
    senders, receivers = edge_index
    areas = torch.from_numpy(grid.areas)[senders] * (1.0 if weights is None else weights)
    received = areas.new_zeros(hidden.num_nodes).index_add_(0, receivers, areas)
    return areas / received.clamp_min(1e-300)[receivers]  # of corners that receive weights of zero only, nothing


def _decoder(config: LinkConfig | None, grid: Mesh, hidden: Mesh) -> Graph:
    if config is None or isinstance(config, TriangleEdges):
        edge_index, weights = containing_triangle(hidden, grid)
        return connected(hidden, grid, edge_index, "the decoder", weights)
    return connected(hidden, grid, connect(config, hidden, grid), "the decoder")


def default_config(mesh: Mesh) -> GraphConfig:
    """Return a fair first choice: hops of several scales on a ring or an icosphere, the eight neighbours elsewhere."""
    if mesh.domain.kind == "ring":
        hops = tuple(hop for hop in (1, 2, 4, 8) if 2 * hop < mesh.num_nodes)
        return GraphConfig(HopEdges(hops=hops))
    if mesh.structured:
        return GraphConfig(StencilEdges(radius=1))
    if mesh.faces is not None and mesh.levels:
        return GraphConfig(MultiMeshEdges())
    return GraphConfig(NearestEdges(neighbours=min(8, mesh.num_nodes - 1)))


def default_graphs(mesh: Mesh) -> ModelGraphs:
    """Return the graphs of `default_config`."""
    return build_graphs(default_config(mesh), mesh)


def connect(config: EdgeConfig, senders: Mesh, receivers: Mesh | None = None) -> Tensor:
    """Return the edges [2, edge] a configuration asks for, inside one mesh or from one to another."""
    receivers = senders if receivers is None else receivers
    match config:
        case HopEdges():
            return ring_hops(senders, config.hops)
        case StencilEdges():
            return stencil(senders, config.radius, config.shape, config.self_edges)
        case NearestEdges():
            return nearest(senders, receivers, config.neighbours)
        case RadiusEdges():
            return within(senders, receivers, config.distance)
        case MultiMeshEdges():
            return multi_mesh(senders, config.levels)
        case _:
            raise MeshcastError(f"Edges are of kind hops, stencil, nearest, radius or multi_mesh, not {config!r}.")


def connected(senders: Mesh, receivers: Mesh, edge_index: Tensor, what: str, weights: Tensor | None = None) -> Graph:
    """Return a graph whose every receiver is reached; `weights` [edge] become its last edge feature."""
    refuse_unreached(edge_index, receivers, what)
    count = edge_index.shape[1]
    advice = "Choose a coarser mesh or fewer edges."
    refuse_too_large(BYTES_PER_EDGE * count, f"A graph of {count:,} edges for {what}", advice)
    features, names = edge_features(senders, receivers, edge_index)
    if weights is not None:
        features, names = torch.cat([features, weights[:, None]], dim=1), (*names, "weight")
    return Graph.sorted(edge_index, features, senders.num_nodes, receivers.num_nodes, names)


@dataclass(frozen=True)
class Estimate:
    """Nodes of the mesh where messages pass, edges of all graphs, and bytes of memory at the peak of building them."""

    num_nodes: int
    num_edges: int
    num_bytes: int

    def describe(self) -> str:
        """Return the estimate in a sentence."""
        return (
            f"To build: about {self.num_nodes:,} nodes and {self.num_edges:,} edges, "
            f"{readable(self.num_bytes)} of memory at the peak."
        )

    def refuse_too_large(self) -> None:
        """Raise MeshcastError where less memory is left than the peak takes."""
        what = f"A graph of about {self.num_nodes:,} nodes and {self.num_edges:,} edges"
        refuse_too_large(self.num_bytes, what, "Choose a lower level, or fewer edges.")


def estimate(config: GraphConfig, num_grid_points: int) -> Estimate:
    """Return about how large the graphs of a configuration will be, on so many points over the whole domain."""
    nodes, mesh_bytes, links = num_grid_points, 0, 0
    if isinstance(config.mesh, IcosphereMesh):
        check_level(config.mesh.level)
        nodes, mesh_bytes = num_nodes(config.mesh.level), memory_estimate(config.mesh.level)
        # a grid point reaches 1.3 nodes within 0.6 sides, on average, and three corners send to it
        links = max(4 * num_grid_points // 3, nodes) + 3 * num_grid_points
    match config.processor:
        case HopEdges():
            degree = 2 * len(config.processor.hops)
        case StencilEdges():
            degree = (2 * config.processor.radius + 1) ** 2
        case NearestEdges():
            degree = config.processor.neighbours
        case MultiMeshEdges():
            degree = 8  # 80 · 4^level edges over 10 · 4^level nodes
        case _:
            degree = DEGREE
    edges = degree * nodes + links
    return Estimate(nodes, edges, mesh_bytes + BYTES_PER_EDGE * edges)
