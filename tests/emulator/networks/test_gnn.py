"""Networks: symmetries first, then gradients, then whether they can learn."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from emulator.networks import gnn
from emulator.networks.gnn import EncodeProcessDecode, ProcessorConfig
from emulator.networks.layers.angular_kernels import AngularKernelLayer
from emulator.networks.layers.processors import InteractionLayer, PositionKernelLayer, ProductKernelLayer
from graphs.edges.build import (
    GraphConfig,
    HopEdges,
    MultiMeshEdges,
    NearestEdges,
    TriangleEdges,
    build_graphs,
    default_graphs,
)
from graphs.errors import MeshcastError
from graphs.graph import Graph, ModelGraphs
from graphs.mesh import Mesh
from graphs.meshes.icosphere import IcosphereMesh, icosphere
from graphs.meshes.latlon import latlon
from graphs.meshes.points import points
from graphs.meshes.ring import ring
from tests.emulator.networks.questions import left_after_fitting


def scattered(num: int = 60) -> Mesh:
    rng = np.random.default_rng(0)
    return points(rng.uniform(-60, 60, num), rng.uniform(0, 360, num))


# Every processor, on a graph it is made for, with the layer it should choose there.
CASES = {
    "kernel by position on a ring": ("kernel", ring(24), PositionKernelLayer),
    "products by position on a ring": ("product", ring(24), ProductKernelLayer),
    "kernel by position on a grid": (
        "kernel",
        latlon(np.linspace(58, 50, 6), np.linspace(-8, 2, 8)),
        PositionKernelLayer,
    ),
    "angular kernel on scattered points": ("kernel", scattered(), AngularKernelLayer),
    "interaction on scattered points": ("interaction", scattered(), InteractionLayer),
}


def processor(kind: str, **sizes: int) -> ProcessorConfig:
    if kind == "product":
        return ProcessorConfig(activation="product", **sizes)
    return ProcessorConfig(kind, **sizes)  # type: ignore[arg-type]


def network_on(graphs: ModelGraphs, kind: str, inputs: int = 3, outputs: int = 2) -> EncodeProcessDecode:
    """A small network whose decoder is not zero."""
    torch.manual_seed(0)
    config = processor(kind, num_layers=2, latent_size=8, hidden_size=8, num_harmonics=1)
    network = EncodeProcessDecode(inputs, outputs, graphs, config)
    torch.nn.init.normal_(network.decoder[-1].weight)
    torch.nn.init.normal_(network.decoder[-1].bias)
    return network


@pytest.fixture(params=CASES, ids=list(CASES))
def case(request: pytest.FixtureRequest) -> tuple[str, Mesh, type]:
    return CASES[request.param]


def test_the_graph_decides_the_layer(case: tuple[str, Mesh, type]) -> None:
    kind, mesh, layer = case
    assert isinstance(network_on(default_graphs(mesh), kind).processor[0], layer)


def test_relabelled_nodes_give_relabelled_output(case: tuple[str, Mesh, type]) -> None:
    kind, mesh, _ = case
    graph = default_graphs(mesh).processor
    order = torch.randperm(mesh.num_nodes, generator=torch.Generator().manual_seed(1))
    place = torch.argsort(order)  # of each old node in the new order
    relabelled = Graph.sorted(
        place[graph.edge_index], graph.edge_features, mesh.num_nodes, mesh.num_nodes, graph.feature_names
    )
    features = torch.randn(2, mesh.num_nodes, 3)
    out = network_on(ModelGraphs(graph), kind)(features)
    out_relabelled = network_on(ModelGraphs(relabelled), kind)(features[:, order])
    torch.testing.assert_close(out_relabelled, out[:, order], rtol=1e-4, atol=1e-5)


def test_swapped_senders_and_receivers_give_another_network() -> None:
    """So that the test above could fail: one-sided edges tell upwind from downwind."""
    graph = default_graphs(ring(24)).processor
    upwind = graph.edge_features[:, graph.feature_names.index("displacement")] < 0
    one_sided = Graph(graph.edge_index[:, upwind], graph.edge_features[upwind], 24, 24, graph.feature_names)
    swapped = Graph.sorted(one_sided.edge_index.flip(0), one_sided.edge_features, 24, 24, graph.feature_names)
    features = torch.randn(1, 24, 3)
    out, other = (network_on(ModelGraphs(g), "kernel")(features) for g in (one_sided, swapped))
    assert not torch.allclose(out, other, atol=1e-2)


@pytest.mark.parametrize("kind", ["kernel", "interaction"])
def test_a_shifted_field_on_the_ring_gives_the_shifted_output(kind: str) -> None:
    network = network_on(default_graphs(ring(24)), kind)
    features = torch.randn(2, 24, 3)
    for shift in (1, 7):
        torch.testing.assert_close(
            network(features.roll(shift, dims=1)), network(features).roll(shift, dims=1), rtol=1e-4, atol=1e-5
        )


def test_information_travels_one_edge_a_layer_and_no_further(case: tuple[str, Mesh, type]) -> None:
    kind, mesh, _ = case
    graph = default_graphs(mesh).processor
    adjacent = torch.eye(mesh.num_nodes)
    adjacent[graph.receivers, graph.senders] = 1.0
    reached = (adjacent @ adjacent)[:, 5] > 0  # from node 5, over two edges
    features = torch.randn(1, mesh.num_nodes, 3)
    poked = features.clone()
    poked[0, 5] += 1.0
    network = network_on(ModelGraphs(graph), kind)
    changed = (network(poked) != network(features)).any(dim=-1)[0]
    assert torch.equal(changed, reached)
    assert 1 < reached.sum() < mesh.num_nodes


def test_a_zero_decoder_gives_nothing_and_learns_first(case: tuple[str, Mesh, type]) -> None:
    kind, mesh, _ = case
    config = processor(kind, num_layers=1, latent_size=4, hidden_size=4)
    network = EncodeProcessDecode(3, 2, default_graphs(mesh), config)
    out = network(torch.randn(2, mesh.num_nodes, 3))
    assert torch.equal(out, torch.zeros_like(out))
    (out - 1.0).square().mean().backward()
    assert network.decoder[-1].weight.grad.abs().max() > 0


def test_gradients_reach_every_parameter(case: tuple[str, Mesh, type]) -> None:
    kind, mesh, _ = case
    network = network_on(default_graphs(mesh), kind)
    network(torch.randn(2, mesh.num_nodes, 3)).square().sum().backward()
    silent = [name for name, weight in network.named_parameters() if weight.grad is None or not weight.grad.any()]
    assert silent == []


def test_a_tiny_case_overfits(case: tuple[str, Mesh, type]) -> None:
    kind, mesh, _ = case
    torch.manual_seed(0)
    config = processor(kind, num_layers=2, latent_size=16, hidden_size=16)
    network = EncodeProcessDecode(3, 2, default_graphs(mesh), config)
    features, target = torch.randn(1, mesh.num_nodes, 3), torch.randn(1, mesh.num_nodes, 2)
    assert left_after_fitting(network, features, target, updates=150) < 0.05


def test_mixed_precision_gives_nearly_the_same_and_its_gradients(case: tuple[str, Mesh, type]) -> None:
    kind, mesh, _ = case
    network = network_on(default_graphs(mesh), kind)
    features = torch.randn(2, mesh.num_nodes, 3)
    exact = network(features)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        mixed = network(features)
    mixed.float().square().sum().backward()
    assert (mixed.float() - exact).abs().max() < 0.05 * exact.abs().max()
    assert all(torch.isfinite(weight.grad).all() for weight in network.parameters())


# A grid and a mesh of its own -----------------------------------------------------------------------------------------

GRID = latlon(np.linspace(90, -90, 7), np.arange(12) * 30.0)
ON_MESH = GraphConfig(MultiMeshEdges(), IcosphereMesh(level=1))
WINDS = ((1, 2),)


def network_over_mesh(graphs: ModelGraphs, kind: str, zero: bool = False) -> EncodeProcessDecode:
    torch.manual_seed(0)
    config = ProcessorConfig(kind, num_layers=2, latent_size=16, hidden_size=16)  # type: ignore[arg-type]
    network = EncodeProcessDecode(3, 2, graphs, config, WINDS)
    if not zero:
        torch.nn.init.normal_(network.decoder[-1].weight)
    return network


@pytest.mark.parametrize("kind", ["kernel", "interaction"])
def test_gradients_reach_every_parameter_by_way_of_the_mesh(kind: str) -> None:
    network = network_over_mesh(build_graphs(ON_MESH, GRID), kind)
    network(torch.randn(2, GRID.num_nodes, 3)).square().sum().backward()
    silent = [name for name, weight in network.named_parameters() if weight.grad is None or not weight.grad.any()]
    assert silent == []


@pytest.mark.parametrize("kind", ["kernel", "interaction"])
def test_a_relabelled_grid_over_the_mesh_gives_relabelled_output(kind: str) -> None:
    rng = np.random.default_rng(0)
    grid = scattered(80)
    order = rng.permutation(grid.num_nodes)
    relabelled = points(grid.latitudes[order], grid.longitudes[order], whole_sphere=True, areas=grid.areas[order])
    grid = points(grid.latitudes, grid.longitudes, whole_sphere=True, areas=grid.areas)
    features = torch.randn(2, grid.num_nodes, 3)
    out, out_relabelled = (
        network_over_mesh(build_graphs(ON_MESH, mesh), kind)(values)
        for mesh, values in ((grid, features), (relabelled, features[:, order]))
    )
    torch.testing.assert_close(out_relabelled, out[:, order], rtol=1e-4, atol=1e-4)
    assert not torch.allclose(out_relabelled, out, atol=1e-1)


@pytest.mark.parametrize("where", ["on the mesh of the data", "in flux form", "over a mesh of its own"])
def test_the_order_of_nodes_in_memory_is_nobodys_business(where: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Many nodes are renumbered; outputs, gradients, weights and the graphs that are kept stay as they were."""
    grid, conserved = (GRID, ()) if where == "over a mesh of its own" else (icosphere(2), (0,))
    graphs = build_graphs(ON_MESH if grid is GRID else GraphConfig(MultiMeshEdges()), grid)
    features = torch.randn(2, grid.num_nodes, 3)
    outputs, gradients, networks = [], [], []
    for least in (1, 10**9):
        monkeypatch.setattr(gnn, "MANY_NUMBERS", least)
        torch.manual_seed(0)
        config = ProcessorConfig(num_layers=2, latent_size=16, hidden_size=16)
        network = EncodeProcessDecode(3, 2, graphs, config, WINDS, conserved if where == "in flux form" else (), grid)
        torch.nn.init.normal_(network.decoder[-1].weight)
        if network.fluxes is not None:
            torch.nn.init.normal_(network.fluxes.out.weight)
        outputs.append(network(features))
        outputs[-1].square().sum().backward()
        gradients.append([weight.grad for weight in network.parameters()])
        networks.append(network)
    assert (networks[0].order is not None, networks[1].order is None) == (True, True)
    assert networks[0].state_dict().keys() == networks[1].state_dict().keys()
    assert torch.equal(networks[0].graphs.processor.edge_index, graphs.processor.edge_index)
    torch.testing.assert_close(*outputs, rtol=1e-4, atol=1e-4)
    for one, other in zip(*gradients, strict=True):
        assert (one - other).abs().max() <= 1e-4 * other.abs().max()


@pytest.mark.parametrize("kind", ["kernel", "interaction"])
def test_the_far_side_hears_by_way_of_the_mesh(kind: str) -> None:
    """Over edges of up to 63 degrees, where two rounds among the grid's neighbours end at 30 degrees north."""
    network = network_over_mesh(build_graphs(ON_MESH, GRID), kind)
    features = torch.randn(1, GRID.num_nodes, 3)
    poked = features.clone()
    poked[0, GRID.latitudes > 80] += 1.0
    changed = (network(poked) != network(features)).any(dim=-1)[0]
    assert changed[GRID.latitudes < 20].any()


@pytest.mark.parametrize("kind", ["kernel", "interaction"])
def test_a_tiny_case_overfits_over_the_mesh(kind: str) -> None:
    network = network_over_mesh(build_graphs(ON_MESH, GRID), kind, zero=True)
    features, target = torch.randn(1, GRID.num_nodes, 3), torch.randn(1, GRID.num_nodes, 2)
    assert not network(features).any()
    assert left_after_fitting(network, features, target, updates=200) < 0.05


def test_a_grid_of_any_size_and_any_links_share_one_network() -> None:
    """Weights belong to the mesh's geometry, not to the number of nodes."""
    first = network_over_mesh(build_graphs(ON_MESH, GRID), "kernel")
    finer = latlon(np.linspace(88, -88, 23), np.arange(30) * 12.0)
    links = replace(ON_MESH, encoder=NearestEdges(neighbours=4), decoder=TriangleEdges())
    second = network_over_mesh(build_graphs(links, finer), "kernel")
    second.load_state_dict(first.state_dict())
    assert second(torch.randn(1, finer.num_nodes, 3)).shape == (1, finer.num_nodes, 2)


@pytest.mark.parametrize("low", [False, True], ids=["single precision", "bfloat16"])
def test_a_forecast_takes_some_samples_at_a_time_and_gives_each_the_same(
    low: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    mesh = icosphere(2)
    network = network_on(build_graphs(GraphConfig(MultiMeshEdges()), mesh), "kernel")
    features = torch.randn(7, mesh.num_nodes, 3, generator=torch.Generator().manual_seed(0))
    taken: list[int] = []
    encoder = network.encoder.forward
    monkeypatch.setattr(network.encoder, "forward", lambda x: (taken.append(x.shape[1]), encoder(x))[1])
    outputs = []
    for samples in (7, 3, 0):  # none fits: one at a time
        monkeypatch.setitem(gnn.CACHED_NUMBERS, low, samples * mesh.num_nodes * 8)
        with torch.no_grad(), torch.autocast("cpu", torch.bfloat16, enabled=low):
            outputs.append(network(features))
    assert taken == [7, 3, 3, 1, *[1] * 7]
    assert torch.equal(outputs[1], outputs[0]) and torch.equal(outputs[2], outputs[0])
    with torch.autocast("cpu", torch.bfloat16, enabled=low):
        network(features)
    assert taken[-1] == 7, "training takes a batch whole"


def test_edge_features_are_as_precise_as_the_network() -> None:
    graphs = build_graphs(ON_MESH, GRID)
    network = network_over_mesh(graphs, "kernel").double()
    for name, graph in graphs.named().items():
        kept = getattr(network, f"{name}_graph").graph
        assert torch.equal(kept.edge_features, graph.edge_features)
    assert network(torch.randn(1, GRID.num_nodes, 3, dtype=torch.float64)).dtype == torch.float64


def test_few_scattered_points_share_a_basis_rather_than_one_map_each() -> None:
    mesh = scattered(12)
    network = network_on(build_graphs(GraphConfig(NearestEdges(neighbours=4)), mesh), "kernel")
    assert isinstance(network.processor[0], AngularKernelLayer)


def test_moved_and_copied_networks_keep_their_graph() -> None:
    network = network_on(default_graphs(scattered()), "kernel")
    features = torch.randn(1, 60, 3, dtype=torch.float64)
    single = network(features.float())
    torch.testing.assert_close(network.double()(features).float(), single, rtol=1e-4, atol=1e-4)
    assert network.processor_graph.graph.edge_features.dtype == torch.float64


def test_products_give_advection_of_the_field_by_itself_exactly() -> None:
    """u (u(x + 1) - u(x - 1)) / 2 in one layer, a factor small beside its limit; any other activation approximates."""
    network = EncodeProcessDecode(1, 1, default_graphs(ring(24)), ProcessorConfig(
        num_layers=1, latent_size=2, hidden_size=1, activation="product"
    ))  # fmt: skip
    for weight in network.parameters():
        torch.nn.init.zeros_(weight)
    layer, table = network.processor[0], network.table
    with torch.no_grad():
        network.encoder.weight[0] = 1.0  # u, and room for what is made of it
        layer.own.weight[0, 0] = 1.0
        for position, senders in enumerate(table.T):
            side = (int(senders[5]) - 5) % 24
            layer.neighbours.weight[1, 2 * position] = {1: 0.5e-3, 23: -0.5e-3}.get(side, 0.0)
        layer.out.weight[1, 0] = 1e3
        fields = torch.randn(2, 24, 1)
        latent = network._processed(network.encoder(fields))
    expected = fields * (fields.roll(-1, 1) - fields.roll(1, 1)) / 2
    torch.testing.assert_close(latent[..., 1:], expected, rtol=1e-5, atol=1e-6)


def test_products_of_large_weights_stay_finite() -> None:
    """A polynomial of degree 256 would not."""
    config = ProcessorConfig(num_layers=8, latent_size=8, hidden_size=8, activation="product")
    network = EncodeProcessDecode(1, 1, default_graphs(ring(24)), config)
    with torch.no_grad():
        for weight in network.parameters():
            torch.nn.init.normal_(weight, std=1.0)
        assert torch.isfinite(network(100 * torch.randn(2, 24, 1))).all()


@pytest.mark.parametrize(("hops", "convolution"), [((1, 2, 3), True), ((1, 3), True), ((1, 9), False)])
def test_a_convolution_of_the_ring_is_what_neighbours_give_one_by_one(hops: tuple[int, ...], convolution: bool) -> None:
    graphs = build_graphs(GraphConfig(HopEdges(hops=hops)), ring(24))
    network = network_on(graphs, "product")
    features = torch.randn(2, 24, 3)
    assert all((layer.slots is not None) == convolution for layer in network.processor)
    outputs, gradients = [], []
    for one_by_one in (False, True):
        for layer in network.processor:
            layer.slots = None if one_by_one else layer.slots
        network.zero_grad()
        outputs.append(network(features))
        outputs[-1].square().sum().backward()
        gradients.append([weight.grad.clone() for weight in network.processor.parameters()])
    torch.testing.assert_close(*outputs, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(*gradients, rtol=1e-4, atol=1e-4)


def test_products_are_refused_where_edges_all_differ() -> None:
    config = ProcessorConfig(activation="product")
    for graphs in (default_graphs(scattered()), build_graphs(ON_MESH, GRID)):
        with pytest.raises(MeshcastError, match=r"activation: product needs edges of few relative positions"):
            EncodeProcessDecode(3, 2, graphs, config)
    with pytest.raises(MeshcastError, match=r"product needs processor.kind: kernel, but it is interaction"):
        ProcessorConfig("interaction", activation="product")


def test_sizes_below_one_are_refused_by_name() -> None:
    for name in ("num_layers", "latent_size", "hidden_size", "num_harmonics"):
        with pytest.raises(MeshcastError, match=f"processor.{name} must be at least 1, but is 0"):
            replace(ProcessorConfig(), **{name: 0})
