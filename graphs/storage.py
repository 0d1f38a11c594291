"""Meshes and graphs on disk, as safetensors, and in the hands of PyG, named as Anemoi names them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from graphs.atomic_file import atomic_file
from graphs.edges.edge_features import arc_lengths, edge_features
from graphs.errors import MeshcastError
from graphs.geometry import Array, tangent_displacement, to_latlon
from graphs.graph import Graph, ModelGraphs, ends
from graphs.mesh import EARTH_RADIUS, Domain, Mesh
from graphs.meshes.points import mesh_at

if TYPE_CHECKING:
    from torch_geometric.data import HeteroData

FORMAT_VERSION = 1
HEADER = "meshcast_graphs"
MESH_ARRAYS = ("positions", "areas", "faces", "boundary")  # the last two where a mesh has them


class StoredGraphs(NamedTuple):
    """The mesh where data live, and the graphs of a network on it; None where only a mesh was stored."""

    mesh: Mesh
    graphs: ModelGraphs | None = None


def save(path: str | Path, mesh: Mesh, graphs: ModelGraphs | None = None) -> None:
    """Write a mesh and its graphs to one safetensors file, whole or not at all."""
    from safetensors.torch import save as to_bytes

    arrays, metadata = pack(mesh, graphs)
    if not Path(path).parent.is_dir():
        raise MeshcastError(f"Cannot write {path}: there is no such folder. Choose a folder you may write to.")
    with atomic_file(path) as temporary:
        temporary.write_bytes(to_bytes(arrays, metadata={HEADER: json.dumps(metadata)}))


def load(path: str | Path) -> StoredGraphs:
    """Return what `save` wrote, executing nothing; raise MeshcastError where the file is absent, cut or another."""
    from safetensors import SafetensorError, safe_open

    if not Path(path).is_file():
        raise MeshcastError(f"There is no graph file {path}. Write one with `meshcast graph`.")
    try:
        with safe_open(path, framework="pt") as file:
            header = (file.metadata() or {}).get(HEADER)
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118, no mapping
    except (SafetensorError, OSError) as error:
        raise MeshcastError(f"{path} is no graph file, or a truncated one: {error}.") from error
    if header is None:
        raise MeshcastError(f"{path} holds arrays, but no Meshcast graphs. Write some with `meshcast graph`.")
    try:
        metadata = json.loads(header)
    except ValueError as error:
        raise MeshcastError(f"{path} has a header that is not JSON: {error}.") from error
    return unpack(arrays, metadata)


def pack(mesh: Mesh, graphs: ModelGraphs | None = None) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Return mesh and graphs as arrays named `graphs.*`, beside others in a file of any arrays, and JSON metadata."""
    arrays: dict[str, Tensor] = {}
    metadata: dict[str, Any] = {"version": FORMAT_VERSION, "meshes": {}, "graphs": {}}
    for name, nodes in (graphs.meshes(mesh) if graphs else {"data": mesh}).items():
        for array in MESH_ARRAYS:
            if (values := getattr(nodes, array)) is not None:
                arrays[f"graphs.{name}.{array}"] = torch.tensor(values)  # a copy: no two names share memory
        metadata["meshes"][name] = {**vars(nodes.domain), "shape": list(nodes.shape), "levels": list(nodes.levels)}
    for name, graph in (graphs.named() if graphs else {}).items():
        arrays[f"graphs.{name}.edge_index"] = graph.edge_index.cpu().clone().contiguous()
        arrays[f"graphs.{name}.edge_features"] = graph.edge_features.cpu().clone().contiguous()
        metadata["graphs"][name] = {
            "num_senders": graph.num_senders,
            "num_receivers": graph.num_receivers,
            "feature_names": list(graph.feature_names),
        }
    return arrays, metadata


def unpack(arrays: Mapping[str, Tensor], metadata: Mapping[str, Any]) -> StoredGraphs:
    """Return what `pack` packed, bit for bit."""
    if metadata.get("version") != FORMAT_VERSION:
        raise MeshcastError(
            f"These graphs are of format {metadata.get('version')}, but this Meshcast reads {FORMAT_VERSION}. "
            "Build them again, or upgrade Meshcast."
        )
    try:
        meshes = {
            name: Mesh(
                arrays[f"graphs.{name}.positions"].numpy(),
                arrays[f"graphs.{name}.areas"].numpy(),
                tuple(about["shape"]),
                Domain(about["kind"], about["size"]),
                levels=tuple(about["levels"]),
                **{key: arrays[full].numpy() for key in MESH_ARRAYS[2:] if (full := f"graphs.{name}.{key}") in arrays},
            )
            for name, about in metadata["meshes"].items()
        }
        graphs = {
            name: Graph(
                arrays[f"graphs.{name}.edge_index"],
                arrays[f"graphs.{name}.edge_features"],
                about["num_senders"],
                about["num_receivers"],
                tuple(about["feature_names"]),
            )
            for name, about in metadata["graphs"].items()
        }
        for name, graph in graphs.items():
            sizes = tuple(meshes[end].num_nodes for end in ends(meshes)[name])
            if (graph.num_senders, graph.num_receivers) != sizes:
                raise MeshcastError(
                    f"The {name} leads from {graph.num_senders} nodes to {graph.num_receivers}, "
                    f"but its meshes have {sizes[0]} and {sizes[1]}."
                )
        return StoredGraphs(meshes["data"], ModelGraphs(mesh=meshes.get("hidden"), **graphs) if graphs else None)
    except KeyError as error:
        raise MeshcastError(f"The stored graphs are not complete: {error} is missing or unknown.") from error
    except (TypeError, AttributeError, IndexError) as error:
        raise MeshcastError(f"The stored graphs are not as Meshcast writes them: {error}.") from error


def to_heterodata(mesh: Mesh, graphs: ModelGraphs) -> HeteroData:
    """Return the graphs as PyG's HeteroData with the names and units of anemoi-graphs 0.9.8.

    Nodes `data` and `hidden`: `x` (latitude, longitude) [radians] float32, `area_weight` [node, 1] relative to the
    largest; a ring lies on the equator. Edges `(source, to, target)`: `edge_index` int32, `edge_length` [edge, 1] and
    `edge_dirs` [edge, 2] over their standard deviation, as anemoi's EdgeLength and EdgeDirection with norm unit-std.
    """
    from torch_geometric.data import HeteroData

    data, meshes = HeteroData(), graphs.meshes(mesh)
    for name, one in meshes.items():
        nodes = data[name]
        nodes.x = torch.tensor(np.radians(np.stack(to_latlon(_on_sphere(one)), axis=1)), dtype=torch.float32)
        nodes.node_type = "MeshcastNodes"
        nodes.area_weight = torch.tensor(one.areas / one.areas.max(), dtype=torch.float32)[:, None]
        nodes.domain_kind, nodes.domain_size, nodes.shape = one.domain.kind, one.domain.size, one.shape
        if one.faces is not None:
            nodes.face, nodes.levels = torch.tensor(one.faces.T), one.levels
        if one.boundary is not None:
            nodes.boundary = torch.tensor(one.boundary)
    for name, graph in graphs.named().items():
        source, target = ends(meshes)[name]
        edges = data[source, "to", target]
        edges.edge_index = graph.edge_index.to("cpu", torch.int32)
        edges.edge_length = _unit_std(arc_lengths(meshes[source], meshes[target], graph.edge_index)[:, None])
        edges.edge_dirs = _unit_std(_anemoi_directions(meshes[source], meshes[target], graph.edge_index))
        edges.edge_type = "MeshcastEdges"
    return data


def from_heterodata(data: HeteroData) -> StoredGraphs:
    """Return mesh and graphs of a HeteroData, ours or one that anemoi-graphs built.

    Coordinates come to float32, known meshes are known again, and edge features are computed anew.
    """
    if "data" not in data.node_types:
        raise MeshcastError(f"Graphs need nodes named 'data', but these are {data.node_types}.")
    meshes = {name: _mesh_from(data[name], name) for name in ("data", "hidden") if name in data.node_types}
    graphs = {}
    for name, (source, target) in ends(meshes).items():
        if (source, "to", target) in data.edge_types:
            senders, receivers = meshes[source], meshes[target]
            edge_index = data[source, "to", target].edge_index.to("cpu", torch.int64)
            features, names = edge_features(senders, receivers, edge_index)
            graphs[name] = Graph.sorted(edge_index, features, senders.num_nodes, receivers.num_nodes, names)
        elif name == "processor":
            raise MeshcastError(f"Graphs need edges {(source, 'to', target)}, but there are only {data.edge_types}.")
    return StoredGraphs(meshes["data"], ModelGraphs(mesh=meshes.get("hidden"), **graphs))


def _mesh_from(nodes: Any, name: str) -> Mesh:
    if "x" not in nodes or nodes.x.ndim != 2 or nodes.x.shape[1] != 2:
        raise MeshcastError(f"The nodes {name!r} need x of shape [node, 2], latitude and longitude in radians.")
    latitude, longitude = np.degrees(nodes.x.cpu().numpy().astype(np.float64)).T
    latitude = np.clip(latitude, -90.0, 90.0)  # π / 2 in float32 lies beyond the pole
    areas = nodes.area_weight.cpu().numpy() if "area_weight" in nodes else None
    kind, size = getattr(nodes, "domain_kind", None), float(getattr(nodes, "domain_size", EARTH_RADIUS))
    mesh = mesh_at(latitude, longitude, kind, size, areas)
    if "face" in nodes:
        mesh = replace(mesh, faces=nodes.face.cpu().numpy().T.astype(np.int64), levels=tuple(nodes.levels))
    if "boundary" in nodes:
        mesh = replace(mesh, boundary=nodes.boundary.cpu().numpy())
    return mesh


def _on_sphere(mesh: Mesh) -> Array:
    return np.pad(mesh.positions, ((0, 0), (0, 3 - mesh.positions.shape[1])))  # a ring becomes the equator


def _anemoi_directions(senders: Mesh, receivers: Mesh, edge_index: Tensor) -> Array:
    """Return unit vectors [edge, 2] from receiver to sender, in the receiver's tangent plane, as anemoi-graphs 0.9.8.

    It rotates the receiver to the north pole along its meridian and reads off the sender's (x, y) there, which is the
    direction (east, north) turned by the receiver's longitude and a quarter; on the south pole, about the x axis.
    """
    source, target = (row.cpu().numpy() for row in edge_index)
    origin = _on_sphere(receivers)[target]
    east, north = tangent_displacement(origin, _on_sphere(senders)[source])
    turn = 1j * np.exp(1j * np.arctan2(origin[:, 1], origin[:, 0])) * (east + 1j * north)
    length = np.abs(turn)
    turn = np.divide(turn, length, out=np.zeros_like(turn), where=length > 1e-12)  # nodes on one pole have no direction
    return np.stack([turn.real, turn.imag], axis=1)


def _unit_std(values: Array) -> Tensor:
    tensor = torch.from_numpy(values)
    std = float(tensor.std()) if tensor.numel() > 1 else 0.0
    # Equal lengths have a std of rounding errors only; anemoi too leaves those as they are.
    return (tensor / std if std > 1e-12 else tensor).to(torch.float32)
