"""What is stored comes back."""

import json
import pickle
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from graphs.edges.build import (
    GraphConfig,
    MultiMeshEdges,
    NearestEdges,
    RadiusEdges,
    build_graphs,
    connected,
    default_graphs,
)
from graphs.edges.connect import nearest
from graphs.edges.summary import describe, summary
from graphs.errors import MeshcastError
from graphs.graph import Graph, ModelGraphs
from graphs.mesh import Mesh
from graphs.meshes.icosphere import IcosphereMesh, icosphere
from graphs.meshes.latlon import latlon
from graphs.meshes.points import points
from graphs.meshes.ring import ring
from graphs.storage import from_heterodata, load, pack, save, to_heterodata, unpack


def scattered(num_nodes: int = 60) -> Mesh:
    z, angle = np.random.default_rng(1).uniform((-1, 0), (1, 360), size=(num_nodes, 2)).T
    return points(np.degrees(np.arcsin(z)), angle)


MESHES = {
    "ring": ring(16, 2.0),
    "global": latlon(np.linspace(90, -90, 7), np.arange(0, 360, 30.0)),
    "limited": latlon(np.arange(58, 50, -0.5), np.arange(-10, 2, 0.5)),
    "points": scattered(),
}
each_mesh = pytest.mark.parametrize("mesh", MESHES.values(), ids=MESHES.keys())


def between(grid: Mesh, hidden: Mesh) -> ModelGraphs:
    return ModelGraphs(
        processor=build_graphs(GraphConfig(NearestEdges(neighbours=4)), hidden).processor,
        encoder=connected(grid, hidden, nearest(grid, hidden, 3), "the encoder"),
        decoder=connected(hidden, grid, nearest(hidden, grid, 3), "the decoder"),
        mesh=hidden,
    )


def assert_equal_graphs(a: Graph, b: Graph, tolerance: float = 0.0) -> None:
    assert torch.equal(a.edge_index, b.edge_index)
    assert (a.num_senders, a.num_receivers, a.feature_names) == (b.num_senders, b.num_receivers, b.feature_names)
    assert float((a.edge_features - b.edge_features).abs().max()) <= tolerance


@each_mesh
def test_files_come_back_bit_for_bit(mesh: Mesh, tmp_path: Path) -> None:
    graphs = default_graphs(mesh)
    save(tmp_path / "graphs.safetensors", mesh, graphs)
    stored = load(tmp_path / "graphs.safetensors")
    assert np.array_equal(stored.mesh.positions, mesh.positions)
    assert np.array_equal(stored.mesh.areas, mesh.areas)
    assert (stored.mesh.shape, stored.mesh.domain) == (mesh.shape, mesh.domain)
    assert stored.graphs is not None
    assert stored.graphs.mesh is None
    assert_equal_graphs(stored.graphs.processor, graphs.processor)
    assert [file.name for file in tmp_path.iterdir()] == ["graphs.safetensors"]


def test_two_meshes_and_three_graphs_come_back(tmp_path: Path) -> None:
    grid, hidden = MESHES["global"], MESHES["points"]
    graphs = between(grid, hidden)
    save(tmp_path / "g", grid, graphs)
    stored = load(tmp_path / "g")
    assert stored.graphs is not None
    assert stored.graphs.mesh is not None
    assert stored.graphs.mesh.same_nodes(hidden)
    for name, graph in graphs.named().items():
        assert_equal_graphs(stored.graphs.named()[name], graph)


def test_a_mesh_alone_with_faces_and_levels_comes_back(tmp_path: Path) -> None:
    plain = scattered(4)
    mesh = Mesh(plain.positions, plain.areas, (4,), plain.domain, np.array([[0, 1, 2], [1, 2, 3]]), (3, 4))
    save(tmp_path / "m", mesh)
    stored = load(tmp_path / "m")
    assert stored.graphs is None
    assert stored.mesh.levels == (3, 4)
    assert stored.mesh.faces is not None
    assert stored.mesh.faces.tolist() == [[0, 1, 2], [1, 2, 3]]


def test_graphs_can_be_packed_among_other_arrays() -> None:
    mesh = MESHES["ring"]
    graphs = default_graphs(mesh)
    arrays, metadata = pack(mesh, graphs)
    assert all(name.startswith("graphs.") for name in arrays)
    stored = unpack({**arrays, "weights": torch.zeros(3)}, json.loads(json.dumps(metadata)))
    assert stored.graphs is not None
    assert_equal_graphs(stored.graphs.processor, graphs.processor)
    with pytest.raises(MeshcastError, match="format 99"):
        unpack(arrays, metadata | {"version": 99})
    with pytest.raises(MeshcastError, match=r"not complete: 'graphs.data.areas'"):
        unpack({name: array for name, array in arrays.items() if "areas" not in name}, metadata)


def test_files_that_are_no_graphs_are_refused_and_not_executed(tmp_path: Path) -> None:
    ran = tmp_path / "ran"

    class Payload:
        def __reduce__(self):  # type: ignore[no-untyped-def]
            return Path.touch, (ran,)

    (tmp_path / "pickle").write_bytes(pickle.dumps(Payload()))
    with pytest.raises(MeshcastError, match="no graph file, or a truncated one"):
        load(tmp_path / "pickle")
    assert not ran.exists()

    save(tmp_path / "whole", MESHES["ring"])
    (tmp_path / "half").write_bytes((tmp_path / "whole").read_bytes()[:-20])
    with pytest.raises(MeshcastError, match="no graph file, or a truncated one"):
        load(tmp_path / "half")
    with pytest.raises(MeshcastError, match="There is no graph file"):
        load(tmp_path / "absent")
    save_file({"weights": torch.zeros(3)}, tmp_path / "other")
    with pytest.raises(MeshcastError, match="holds arrays, but no Meshcast graphs"):
        load(tmp_path / "other")
    with pytest.raises(MeshcastError, match="Cannot write"):
        save(tmp_path / "absent" / "g", MESHES["ring"])


@each_mesh
def test_heterodata_come_back_to_float32(mesh: Mesh) -> None:
    graphs = default_graphs(mesh)
    data = to_heterodata(mesh, graphs)
    data.validate()
    stored = from_heterodata(data)
    assert stored.mesh.same_nodes(mesh, tolerance=1e-6)
    assert (stored.mesh.shape, stored.mesh.domain) == (mesh.shape, mesh.domain)
    assert stored.mesh.areas == pytest.approx(mesh.areas, rel=1e-4)
    assert stored.graphs is not None
    assert_equal_graphs(stored.graphs.processor, graphs.processor, tolerance=1e-4)


def test_heterodata_are_named_and_typed_as_anemoi_does() -> None:
    grid, hidden = MESHES["global"], MESHES["points"]
    graphs = between(grid, hidden)
    data = to_heterodata(grid, graphs)
    assert data.node_types == ["data", "hidden"]
    assert set(data.edge_types) == {("data", "to", "hidden"), ("hidden", "to", "hidden"), ("hidden", "to", "data")}
    nodes, edges = data["data"], data["data", "to", "hidden"]
    assert (nodes.x.dtype, tuple(nodes.x.shape)) == (torch.float32, (84, 2))
    assert nodes.x[12].tolist() == pytest.approx(np.radians([60.0, 0.0]).tolist())
    assert tuple(nodes.area_weight.shape) == (84, 1)
    assert float(nodes.area_weight.max()) == 1
    assert (edges.edge_index.dtype, edges.edge_index[0].max() < 84) == (torch.int32, True)
    assert torch.equal(edges.edge_index.long(), graphs.encoder.edge_index)  # type: ignore[union-attr]
    assert tuple(edges.edge_length.shape) == (180, 1)
    assert tuple(edges.edge_dirs.shape) == (180, 2)
    assert float(edges.edge_length.std()) == pytest.approx(1, rel=1e-5)
    assert float(edges.edge_dirs.std()) == pytest.approx(1, rel=1e-5)
    stored = from_heterodata(data)
    assert stored.graphs is not None
    assert stored.graphs.mesh is not None
    assert stored.graphs.mesh.same_nodes(hidden, 1e-6)
    with pytest.raises(MeshcastError, match="give the hidden one too"):
        replace(graphs, mesh=None)


def test_edge_directions_are_what_a_rotation_to_the_pole_shows() -> None:
    mesh = MESHES["points"]
    graph = default_graphs(mesh).processor
    found = to_heterodata(mesh, ModelGraphs(graph))["data", "to", "data"].edge_dirs.numpy()
    for edge in range(0, graph.num_edges, 37):
        sender, receiver = (mesh.positions[int(graph.edge_index[row, edge])] for row in (0, 1))
        azimuth, colatitude = np.arctan2(receiver[1], receiver[0]), np.arccos(receiver[2])
        about_z = np.array([[np.cos(azimuth), np.sin(azimuth), 0], [-np.sin(azimuth), np.cos(azimuth), 0], [0, 0, 1]])
        about_y = np.array(
            [[np.cos(colatitude), 0, -np.sin(colatitude)], [0, 1, 0], [np.sin(colatitude), 0, np.cos(colatitude)]]
        )
        rotation = about_z.T @ about_y @ about_z
        assert rotation @ receiver == pytest.approx([0, 0, 1], abs=1e-12)
        x, y, _ = rotation @ sender
        direction = found[edge] / np.linalg.norm(found[edge])
        assert direction == pytest.approx(np.array([x, y]) / np.hypot(x, y), abs=1e-5)


def test_foreign_heterodata_are_read_without_our_extra_attributes() -> None:
    from torch_geometric.data import HeteroData

    mesh = MESHES["global"]
    data = HeteroData()
    data["data"].x = torch.tensor(np.radians(np.stack([mesh.latitudes, mesh.longitudes], 1)), dtype=torch.float32)
    with pytest.raises(MeshcastError, match="need edges"):
        from_heterodata(data)
    data["data", "to", "data"].edge_index = torch.tensor([[5, 0, 1], [1, 1, 0]], dtype=torch.int32)
    stored = from_heterodata(data)
    assert stored.mesh.shape == (7, 12)
    assert stored.graphs is not None
    assert stored.graphs.processor.edge_index.tolist() == [[1, 0, 5], [0, 1, 1]]
    data["data"].x = torch.zeros(84, 3)
    with pytest.raises(MeshcastError, match=r"'data' need x of shape \[node, 2\]"):
        from_heterodata(data)
    with pytest.raises(MeshcastError, match="nodes named 'data'"):
        from_heterodata(HeteroData())


def test_a_ring_that_is_none_is_refused() -> None:
    data = to_heterodata(MESHES["ring"], default_graphs(MESHES["ring"]))
    data["data"].x[3, 1] += 0.1
    with pytest.raises(MeshcastError, match="not evenly spaced"):
        from_heterodata(data)


def test_a_summary_counts_degrees_and_measures_lengths() -> None:
    content = summary(default_graphs(ring(16, 2.0)), ring(16, 2.0))["graphs"]["processor"]
    assert content["num_edges"] == 16 * 8 - 16 * 2  # hops 1, 2, 4; 8 is half way around
    assert content["in_degree"] == {"min": 6, "mean": 6.0, "max": 6}
    assert content["length"]["min"] == pytest.approx(0.125)
    assert content["length"]["max"] == pytest.approx(0.5)
    assert content["relative_positions"] == 6
    assert content["bytes"] == 96 * (2 + 2) * 8


def test_a_description_speaks_of_every_graph_in_kilometres() -> None:
    grid, hidden = MESHES["global"], MESHES["points"]
    text = describe(between(grid, hidden), grid)
    for part in (
        "data mesh: global mesh of 7 x 12",
        "hidden mesh",
        "encoder: 180 edges, 84 senders to 60",
        "decoder:",
        "km",
    ):
        assert part in text
    limited = MESHES["limited"]
    graph = build_graphs(GraphConfig(RadiusEdges(distance=60e3)), limited)
    assert summary(graph, limited)["graphs"]["processor"]["length"]["max"] <= 60e3


def test_the_mesh_where_messages_pass_is_stored_with_its_graphs(tmp_path) -> None:
    grid = latlon(np.linspace(80, -80, 9), np.arange(12) * 30.0)
    graphs = build_graphs(GraphConfig(MultiMeshEdges(), IcosphereMesh(level=1)), grid)
    save(tmp_path / "graphs.safetensors", grid, graphs)
    stored = load(tmp_path / "graphs.safetensors")
    assert stored.graphs is not None
    converted = from_heterodata(to_heterodata(grid, graphs)).graphs
    assert converted is not None
    for found in (stored.graphs.mesh, converted.mesh):
        assert found is not None
        assert found.levels == (12, 42)
        assert np.array_equal(found.faces, icosphere(1).faces)
    assert torch.equal(stored.graphs.named()["decoder"].edge_features, graphs.named()["decoder"].edge_features)
