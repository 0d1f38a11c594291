"""Winds through a network: the same wind, whatever frame a node reads it in."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from emulator.networks.layers.aggregate import at_senders, edge_weights, sum_by_receiver
from emulator.networks.layers.angular_kernels import AngularKernelLayer, AngularKernels
from emulator.networks.layers.processors import InteractionLayer, NodeEmbedding
from graphs.edges.build import GraphConfig, MultiMeshEdges, build_graphs
from graphs.geometry import tangent_frames
from graphs.graph import Graph
from graphs.mesh import Mesh
from graphs.meshes.icosphere import IcosphereMesh
from graphs.meshes.latlon import latlon
from tests.emulator.networks.questions import turned

GRID = latlon(np.linspace(90, -90, 37), np.arange(72) * 5.0)
GRAPHS = build_graphs(GraphConfig(MultiMeshEdges(), IcosphereMesh(level=3)), GRID)


def solid_body_wind(mesh: Mesh) -> NDArray[np.float64]:
    """[node, 2] eastward and northward wind of a rotation about an axis on the equator, which blows over the poles."""
    wind = np.cross(np.array([np.cos(0.3), np.sin(0.3), 0.0]), mesh.positions)
    return np.stack([np.sum(wind * unit, axis=1) for unit in tangent_frames(mesh.positions)], axis=1)


def carried(values: NDArray[np.float64], graph: Graph, num_vectors: int) -> NDArray[np.float64]:
    """The weighted mean of what each receiver hears."""
    sent = turned(at_senders(torch.from_numpy(values), graph), graph, num_vectors)
    weights = edge_weights(graph, torch.float64)
    assert weights is not None
    return sum_by_receiver(sent * weights, graph).numpy()


@pytest.mark.parametrize("way", ["encoder", "decoder"])
def test_a_solid_rotation_stays_one_on_the_way_even_over_the_poles(way: str) -> None:
    assert GRAPHS.mesh is not None
    senders, receivers = (GRID, GRAPHS.mesh) if way == "encoder" else (GRAPHS.mesh, GRID)
    graph = GRAPHS.named()[way]
    truth = solid_body_wind(receivers)
    error, unturned = (
        np.linalg.norm(carried(solid_body_wind(senders), graph, num_vectors) - truth, axis=1) for num_vectors in (1, 0)
    )
    polar = np.abs(receivers.latitudes) > 80
    assert error.max() < 0.04  # of a wind of at most 1, between nodes 8 degrees apart
    assert error[polar].max() < 0.01 and unturned[polar].max() > 0.2  # what turning is for


def test_what_is_heard_is_a_mean_over_area_whatever_the_number_of_senders() -> None:
    one = carried(np.ones((GRID.num_nodes, 1)), GRAPHS.named()["encoder"], 0)
    np.testing.assert_allclose(one, 1.0, rtol=1e-12)
    assert GRAPHS.encoder is not None
    assert GRAPHS.encoder.in_degrees.max() > 10 * GRAPHS.encoder.in_degrees.min()


@pytest.mark.parametrize("kind", ["kernel", "interaction"])
def test_a_layer_hears_the_same_wind_from_senders_with_other_frames(kind: str) -> None:
    """Every sender's frame turns by an angle of its own, the edges know, and what arrives is the same."""
    graph = GRAPHS.named()["encoder"]
    angle = torch.linspace(0, 6, graph.num_senders, dtype=torch.float64)
    cosine, sine = torch.cos(angle), torch.sin(angle)
    senders = torch.randn(1, graph.num_senders, 8, dtype=torch.float64)
    u, v, rest = senders.split([2, 2, 4], dim=-1)
    c, s = cosine[:, None], sine[:, None]
    in_other_frames = torch.cat([c * u + s * v, c * v - s * u, rest], dim=-1)  # axes turn on, components back
    features = graph.edge_features.clone()
    columns = [graph.feature_names.index(f"rotation_{name}") for name in ("cos", "sin")]
    before, (c, s) = features[:, columns].T, (cosine[graph.senders], sine[graph.senders])
    features[:, columns] = torch.stack([before[0] * c - before[1] * s, before[1] * c + before[0] * s], dim=1)
    other = Graph(graph.edge_index, features, graph.num_senders, graph.num_receivers, graph.feature_names)
    edges, other_edges = graph, other
    if kind == "kernel":
        edges, other_edges = AngularKernels(graph, 1, 2), AngularKernels(other, 1, 2)
        layer = AngularKernelLayer(8, edges, 8).double()
    else:
        layer = InteractionLayer(8, 6, 8, 2).double()
        layer.from_edge.weight.data[:, columns] = 0.0  # the angle is to matter by turning alone
    receivers = torch.randn(1, graph.num_receivers, 8, dtype=torch.float64)
    expected = layer(edges, senders, receivers)
    torch.testing.assert_close(layer(other_edges, in_other_frames, receivers), expected, rtol=0, atol=1e-12)
    assert (layer(edges, in_other_frames, receivers) - expected).abs().max() > 1e-2


def test_the_embedding_of_a_turned_wind_is_turned_and_still_air_gives_no_vector() -> None:
    torch.manual_seed(0)
    embed = NodeEmbedding(5, 10, [(0, 1), (3, 4)], 3)
    features = torch.randn(1, 7, 5)
    c, s = np.cos(0.7), np.sin(0.7)
    other = features.clone()
    for u, v in ((0, 1), (3, 4)):
        other[..., u], other[..., v] = (
            c * features[..., u] - s * features[..., v],
            s * features[..., u] + c * features[..., v],
        )
    (u, v), (u2, v2) = (embed(x)[..., :6].split(3, dim=-1) for x in (features, other))
    torch.testing.assert_close(torch.stack([u2, v2]), torch.stack([c * u - s * v, s * u + c * v]))
    still = features.clone()
    still[..., [0, 1, 3, 4]] = 0.0
    assert not embed(still)[..., :6].any()
    assert embed(still)[..., 6:].any()
