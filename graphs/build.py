"""From a configuration to the graphs of a network."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from graphs.connect import nearest, refuse_unreached, ring_hops, stencil, within
from graphs.edge_features import edge_features
from graphs.errors import MeshcastError
from graphs.graph import Graph, ModelGraphs
from graphs.mesh import Mesh


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


EdgeConfig = HopEdges | StencilEdges | NearestEdges | RadiusEdges


@dataclass(frozen=True)
class GraphConfig:
    """Which graphs a network runs on; data and messages share the mesh."""

    processor: EdgeConfig


def build_graphs(config: GraphConfig, mesh: Mesh) -> ModelGraphs:
    """The graphs of a network whose messages pass on the mesh of its data, so without encoder and decoder edges.

    Raises where a node would hear nothing.
    """
    return ModelGraphs(processor=connected(mesh, mesh, connect(config.processor, mesh), "the processor"))


def default_config(mesh: Mesh) -> GraphConfig:
    """A fair first choice: hops of several scales on a ring, the eight neighbours elsewhere."""
    if mesh.domain.kind == "ring":
        hops = tuple(hop for hop in (1, 2, 4, 8) if 2 * hop < mesh.num_nodes)
        return GraphConfig(HopEdges(hops=hops))
    if mesh.structured:
        return GraphConfig(StencilEdges(radius=1))
    return GraphConfig(NearestEdges(neighbours=min(8, mesh.num_nodes - 1)))


def default_graphs(mesh: Mesh) -> ModelGraphs:
    """The graphs of `default_config`."""
    return build_graphs(default_config(mesh), mesh)


def connect(config: EdgeConfig, mesh: Mesh) -> Tensor:
    """[2, edge] the edges a configuration asks for, inside one mesh."""
    match config:
        case HopEdges():
            return ring_hops(mesh, config.hops)
        case StencilEdges():
            return stencil(mesh, config.radius, config.shape, config.self_edges)
        case NearestEdges():
            return nearest(mesh, mesh, config.neighbours)
        case RadiusEdges():
            return within(mesh, mesh, config.distance)
        case _:
            raise MeshcastError(f"Edges are of kind hops, stencil, nearest or radius, not {config!r}.")


def connected(senders: Mesh, receivers: Mesh, edge_index: Tensor, what: str) -> Graph:
    """A graph with its edge features, every receiver reached."""
    refuse_unreached(edge_index, receivers, what)
    features, names = edge_features(senders, receivers, edge_index)
    return Graph.sorted(edge_index, features, senders.num_nodes, receivers.num_nodes, names)
