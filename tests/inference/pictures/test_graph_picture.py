"""Pictures of graphs show the edges that there are: who sends to whom, from how far."""

from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from graphs.edges.build import build_graphs, default_config
from graphs.meshes.icosphere import icosphere
from graphs.meshes.ring import ring
from inference.pictures.graph_picture import _arcs, _draw_globe, _draw_link, _draw_world, draw_graphs
from inference.pictures.map_projection import HALF_WIDTH

MESH = icosphere(2)
GRAPH = build_graphs(default_config(MESH), MESH).processor


def test_the_receiver_on_the_map_has_all_its_senders() -> None:
    axes = Figure().subplots()
    _draw_world(axes, GRAPH, MESH)
    senders, receiver = (np.asarray(points.get_offsets()) for points in axes.collections[2:])
    assert axes.get_title() == f"{len(senders)} edges reach the node shown"
    assert len(senders) in np.unique(GRAPH.in_degrees.numpy()) and len(receiver) == 1


def test_a_link_from_near_by_has_true_distances_in_kilometres() -> None:
    axes = Figure().subplots()
    _draw_link(axes, GRAPH, MESH, MESH, MESH, ("processor", "node", "node"))
    lines = axes.collections[2]
    starts, ends = np.stack(lines.get_segments()).swapaxes(0, 1)
    lengths = np.linalg.norm(np.diff(MESH.positions[GRAPH.edge_index.numpy()], axis=0)[0], axis=1)
    arcs = 2 * np.arcsin(lengths / 2) * MESH.domain.size / 1e3
    assert (ends == 0).all() and (axes.get_xlabel(), axes.get_ylabel()) == ("east [km]", "north [km]")
    assert arcs.min() * 0.999 <= np.hypot(*starts.T).min() <= np.hypot(*starts.T).max() <= arcs.max() * 1.001


def test_the_globe_shows_the_edges_of_its_near_side() -> None:
    axes = Figure().subplots()
    _draw_globe(axes, GRAPH, MESH)
    segments = np.concatenate([lines.get_segments() for lines in axes.collections[:-1]])
    assert 0.3 < len(segments) / (GRAPH.num_edges / 2) < 0.5 and np.hypot(*segments.T).max() <= 1.0 + 1e-9
    assert axes.get_title() == f"processor: {GRAPH.num_edges:,} edges"


def test_an_arc_over_the_date_line_is_cut_there() -> None:
    start, end = (np.array([[np.cos(a), np.sin(a), 0.0]]) for a in np.radians([170.0, -160.0]))
    pieces = _arcs(start, end, 40)
    assert len(pieces) == 2 and max(np.ptp(piece[:, 0]) for piece in pieces) < 0.2 * HALF_WIDTH


@pytest.mark.parametrize("mesh", [ring(12), MESH], ids=["ring", "sphere"])
def test_a_picture_is_written(mesh: object, tmp_path: Path) -> None:
    graphs = build_graphs(default_config(mesh), mesh)  # type: ignore[arg-type]
    draw_graphs(graphs, mesh, tmp_path / "graph.png")  # type: ignore[arg-type]
    with Image.open(tmp_path / "graph.png") as image:
        assert image.format == "PNG" and np.asarray(image.convert("L")).std() > 5, "an empty picture"
