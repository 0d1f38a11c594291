"""Angular kernels: sums over octaves and directions, by sparse products."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch

from emulator.networks.layers.angular_kernels import AngularKernelLayer, AngularKernels
from graphs.edges.build import GraphConfig, MultiMeshEdges, build_graphs
from graphs.errors import MeshcastError
from graphs.graph import Graph
from graphs.meshes.icosphere import icosphere
from tests.emulator.networks.questions import turned


def multi_mesh(level: int = 2) -> Graph:
    return build_graphs(GraphConfig(MultiMeshEdges()), icosphere(level)).processor


def test_the_octaves_of_a_multi_mesh_are_its_levels() -> None:
    kernels = AngularKernels(multi_mesh(3))
    assert [len(part.receivers) for part in kernels.octaves] == [12, 42, 162, 642]
    assert all(part.leading for part in kernels.octaves)


def test_the_sparse_products_are_the_sums_over_edges() -> None:
    graph = multi_mesh(1)
    kernels = AngularKernels(graph, num_harmonics=1, num_vectors=2)
    generator = torch.Generator().manual_seed(0)
    senders = torch.randn(3, graph.num_senders, 7, dtype=torch.float64, generator=generator)
    columns = {name: graph.edge_features[:, k] for k, name in enumerate(graph.feature_names)}
    length, angle = columns["length"], torch.atan2(columns["displacement_north"], columns["displacement_east"])
    finest = length < 0.7  # of level 0's edges, which are twice as long
    sent = turned(senders.index_select(1, graph.senders), graph, 2)  # [batch, edge, channel]
    for number, chosen in ((0, ~finest), (1, finest)):
        received = kernels.received(kernels.octaves[number], senders.transpose(0, 1).contiguous())
        relative = length[chosen] / length[chosen].mean()
        for k, weight in enumerate(
            (torch.ones_like(relative), relative * angle[chosen].cos(), relative * angle[chosen].sin())
        ):
            reached = len(kernels.octaves[number].receivers)
            weight = weight * (reached / weight.square().sum()).sqrt()
            expected = torch.zeros(3, graph.num_receivers, 7, dtype=torch.float64)
            expected.index_add_(1, graph.receivers[chosen], sent[:, chosen] * weight[:, None])
            got = received[k].view(reached, 3, 7).transpose(0, 1)
            torch.testing.assert_close(got, expected[:, :reached])


def test_gradients_are_those_of_finite_differences() -> None:
    graph = multi_mesh(0)
    kernels = AngularKernels(graph, num_vectors=1)
    layer = AngularKernelLayer(4, kernels, 3).double()
    x = torch.randn(2, 12, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0), requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: layer(kernels, x, x), x)


def test_a_uniform_wind_in_space_is_heard_alike_whatever_the_frames() -> None:
    # Near a pole the frames turn by up to 180 degrees between neighbours; a vector carried along must not.
    graph = multi_mesh(3)
    mesh = icosphere(3)
    kernels = AngularKernels(graph, num_harmonics=0, num_vectors=1)
    longitude = np.radians(mesh.longitudes)
    wind = torch.from_numpy(np.stack([-np.sin(longitude), -np.cos(longitude)], axis=1))  # along x, seen at the pole
    polar = np.flatnonzero(mesh.latitudes > 80)
    received = kernels.received(kernels.octaves[3], wind[:, None])[0].view(-1, 2)
    own = wind[polar] * received[polar].norm(dim=1, keepdim=True)
    assert (received[polar] - own).norm(dim=1).max() < 0.05 * own.norm(dim=1).max()


def test_a_layer_works_in_mixed_precision_and_after_a_copy() -> None:
    kernels = AngularKernels(multi_mesh())
    layer = AngularKernelLayer(8, kernels, 8)
    x = torch.randn(2, 162, 8, generator=torch.Generator().manual_seed(0))
    full = layer(kernels, x, x)
    copied_kernels, copied = copy.deepcopy((kernels, layer))
    assert torch.equal(copied(copied_kernels, x, x), full)
    with torch.autocast("cpu", torch.bfloat16):
        mixed = layer(kernels, x, x)
    assert 0 < (mixed - full).abs().max() < 0.05 * full.abs().max()


def test_edges_without_directions_are_refused() -> None:
    graph = Graph(torch.tensor([[1], [0]]), torch.ones(1, 1, dtype=torch.float64), 2, 2, ("length",))
    with pytest.raises(MeshcastError, match="displacement_east"):
        AngularKernels(graph)
