"""What a person wants to know of a graph before training on it."""

from __future__ import annotations

from typing import Any

import torch

from graphs.edges.connect import arc_radius, relative_positions
from graphs.edges.edge_features import arc_lengths
from graphs.graph import Graph, ModelGraphs, ends
from graphs.mesh import Mesh


def summary(graphs: ModelGraphs, mesh: Mesh) -> dict[str, Any]:
    """Return counts, degrees, lengths [m, or a ring's unit] and memory of each graph, as plain numbers for JSON."""
    meshes = graphs.meshes(mesh)
    return {
        "meshes": {name: one.describe() for name, one in meshes.items()},
        "length_unit": "1" if mesh.domain.kind == "ring" else "m",
        "graphs": {
            name: _graph_summary(graph, *(meshes[end] for end in ends(meshes)[name]))
            for name, graph in graphs.named().items()
        },
    }


def describe(graphs: ModelGraphs, mesh: Mesh) -> str:
    """Return the summary as a few lines of text."""
    content = summary(graphs, mesh)
    lines = [f"{name} mesh: {text}" for name, text in content["meshes"].items()]
    scale, unit = (1.0, "") if content["length_unit"] == "1" else (1e-3, " km")
    for name, about in content["graphs"].items():
        degree, length = about["in_degree"], about["length"]
        lines += [
            f"{name}: {about['num_edges']:,} edges, {about['num_senders']:,} senders to "
            f"{about['num_receivers']:,} receivers",
            f"  edges a receiver {degree['min']} to {degree['max']}, mean {degree['mean']:.2f}; receivers without any "
            f"{about['unreached']}",
            f"  length {length['min'] * scale:.4g} to {length['max'] * scale:.4g}{unit}, mean "
            f"{length['mean'] * scale:.4g}{unit}; relative positions {about['relative_positions']:,}",
            f"  features {', '.join(about['features'])}; memory {about['bytes'] / 2**20:.2f} MiB",
        ]
    return "\n".join(lines)


def _graph_summary(graph: Graph, senders: Mesh, receivers: Mesh) -> dict[str, Any]:
    degrees = graph.in_degrees
    lengths = torch.from_numpy(arc_lengths(senders, receivers, graph.edge_index)) * arc_radius(receivers)
    return {
        "num_senders": graph.num_senders,
        "num_receivers": graph.num_receivers,
        "num_edges": graph.num_edges,
        "unreached": int((degrees == 0).sum()),
        "in_degree": {"min": int(degrees.min()), "mean": float(degrees.double().mean()), "max": int(degrees.max())},
        "length": {"min": float(lengths.min()), "mean": float(lengths.mean()), "max": float(lengths.max())},
        "relative_positions": len(relative_positions(graph)[1]),
        "features": list(graph.feature_names),
        "bytes": sum(array.nelement() * array.element_size() for array in (graph.edge_index, graph.edge_features)),
    }
