"""The graph of a network that passes messages on the nodes of its data, without a mesh of its own."""

from __future__ import annotations

from graphs.edges.build import GraphConfig, build_graphs, default_config
from graphs.errors import MeshcastError
from graphs.graph import ModelGraphs
from graphs.mesh import Mesh


def data_graphs(config: GraphConfig | None, mesh: Mesh, graphs: ModelGraphs | None) -> ModelGraphs:
    """Those of a checkpoint, else those of the configuration, else the default ones of the mesh.

    Raises MeshcastError where messages would pass on a mesh of their own.
    """
    if config is not None and config.mesh is not None:
        raise MeshcastError(
            "The textbook graph networks pass messages between the nodes of the data themselves, but graph.mesh asks "
            f"for a mesh of kind {config.mesh.kind}. Leave out graph.mesh, or use kind: gnn."
        )
    return graphs or build_graphs(config or default_config(mesh), mesh)
