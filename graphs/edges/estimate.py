"""How large graphs will be, said before they are built."""

from __future__ import annotations

from dataclasses import dataclass

from graphs.available_memory import readable, refuse_too_large
from graphs.edges.build import GraphConfig, HopEdges, MultiMeshEdges, NearestEdges, StencilEdges
from graphs.edges.connect import BYTES_PER_EDGE
from graphs.meshes.icosphere import IcosphereMesh, check_level, memory_estimate, num_nodes

DEGREE = 6  # edges a node where only the mesh knows better: the sides of its triangles


@dataclass(frozen=True)
class Estimate:
    """What graphs will need.

    num_nodes: of the mesh where messages pass.
    num_edges: of all graphs, about.
    num_bytes: of memory at the peak of building.
    """

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
        refuse_too_large(
            self.num_bytes,
            f"A graph of about {self.num_nodes:,} nodes and {self.num_edges:,} edges",
            "Choose a lower level, or fewer edges.",
        )


def estimate(config: GraphConfig, num_grid_points: int) -> Estimate:
    """Return nodes, edges and memory of the graphs of a configuration, on data of so many points over the whole domain.

    Raises MeshcastError where the configuration names a level that no icosphere has.
    """
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
