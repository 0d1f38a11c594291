"""Message passing of other models: the functions of their papers, and what every processor is asked."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch_geometric.nn import MessagePassing

from emulator.foundation.configuration import load
from emulator.networks.gnn import EncodeProcessDecode, GNNConfig, ProcessorConfig
from emulator.networks.layers import edge_blocks
from emulator.networks.layers.edge_blocks import EdgeBlocks
from emulator.networks.processors.graph_transformer import AnemoiGraphTransformerConfig, TransformerRound
from emulator.networks.processors.interaction import AnemoiGraphConvolutionConfig, GraphCastConfig
from emulator.networks.processors.pyg import LAYERS, PyGConfig
from emulator.networks.processors.rounds import ConcatenationMLP, RoundsConfig
from graphs.edges.build import GraphConfig, MultiMeshEdges, build_graphs, default_graphs
from graphs.errors import MeshcastError
from graphs.graph import Graph, ModelGraphs
from graphs.meshes.icosphere import IcosphereMesh, icosphere
from graphs.meshes.latlon import latlon
from graphs.meshes.ring import ring
from tests.emulator.networks.questions import (
    MESHES,
    QUESTIONS,
    a_checkpoint_says_the_same,
    left_after_fitting,
)

SIZES: dict[str, Any] = {"num_layers": 2, "latent_size": 8, "hidden_size": 12}
OWN: dict[str, RoundsConfig] = {
    "graphcast": GraphCastConfig(**SIZES),
    "anemoi_graph_convolution": AnemoiGraphConvolutionConfig(**SIZES),
    "anemoi_graph_transformer": AnemoiGraphTransformerConfig(**SIZES),
    "anemoi_graph_transformer with norms": AnemoiGraphTransformerConfig(qk_norm=True, num_heads=2, **SIZES),
}
LIBRARY: dict[str, RoundsConfig] = {name: PyGConfig(layer=name, **SIZES) for name in LAYERS}  # type: ignore[arg-type]
ALL = OWN | LIBRARY
GRID = latlon(np.linspace(90, -90, 7), np.arange(12) * 30.0)
ON_MESH = GraphConfig(MultiMeshEdges(), IcosphereMesh(level=1))
SPHERE = default_graphs(icosphere(1))


def network_on(graphs: ModelGraphs, config: RoundsConfig, zero: bool = False) -> EncodeProcessDecode:
    torch.manual_seed(0)
    network = EncodeProcessDecode(3, 2, graphs, config)
    if not zero:
        nn.init.normal_(network.decoder[-1].weight)
    return network


@pytest.fixture(params=ALL)
def config(request: pytest.FixtureRequest) -> RoundsConfig:
    return ALL[request.param]


# The functions of their papers ----------------------------------------------------------------------------------------


class TextbookRound(MessagePassing):
    """GraphCast's round as it is written down: a concatenation on every edge and at every node."""

    def __init__(self, message: Callable[..., Tensor], update: Callable[..., Tensor]) -> None:
        super().__init__(aggr="sum", node_dim=-2)
        self.message_mlp, self.node_mlp = message, update

    def forward(self, latent: Tensor, state: Tensor, edge_index: Tensor) -> tuple[Tensor, Tensor]:
        received = self.propagate(edge_index, x=latent, state=state)
        return latent + self.node_mlp(torch.cat([latent, received], dim=-1)), state + self.sent

    def message(self, x_j: Tensor, x_i: Tensor, state: Tensor) -> Tensor:
        self.sent = self.message_mlp(torch.cat([state, x_j, x_i], dim=-1))
        return self.sent


def textbook(part: ConcatenationMLP) -> nn.Sequential:
    """The MLP as torch's own layers, with the same weights."""
    layers: list[nn.Module] = []
    for layer in part.linears:
        layers += [layer, nn.SiLU()]
    return nn.Sequential(*layers[:-1], part.norm)


@pytest.mark.parametrize(("numbers", "kept"), [(2_000, 0), (2_000, 10**9), (2**18, 0)])
def test_graphcast_is_the_textbook_interaction_network(
    numbers: int, kept: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(edge_blocks, "NUMBERS", numbers)
    monkeypatch.setattr(edge_blocks, "MOST_KEPT", kept)
    torch.manual_seed(0)
    graph = default_graphs(icosphere(2)).processor
    edges, features = EdgeBlocks(graph), graph.edge_features.float()
    ours: Any = GraphCastConfig(num_layers=3, latent_size=16, hidden_size=24).processor(edges)
    rounds = [TextbookRound(textbook(one.message), textbook(one.update)) for one in ours.rounds]

    def written_down(latent: Tensor) -> Tensor:
        state = textbook(ours.embedding)(features).expand(len(latent), -1, -1)
        for one in rounds:
            latent, state = one(latent, state, graph.edge_index)
        return latent

    latent, outcomes = torch.randn(3, graph.num_receivers, 16), []
    for answer in (lambda x: ours(edges, x, x), written_down):
        ours.zero_grad()
        given = latent.clone().requires_grad_()
        out = answer(given)
        (out * torch.linspace(-1, 1, 16)).sum().backward()
        gradients = [given.grad, *(weight.grad.clone() for weight in ours.parameters())]
        outcomes.append([out.detach(), *(gradient / gradient.abs().max() for gradient in gradients)])
    for first, second in zip(*outcomes, strict=True):
        torch.testing.assert_close(first, second, rtol=0, atol=1e-5)


def test_the_graph_transformer_attends_as_its_paper_says() -> None:
    torch.manual_seed(0)
    graph = build_graphs(ON_MESH, GRID).encoder
    assert graph is not None
    plain = Graph(graph.edge_index, graph.edge_features[:, :5], graph.num_senders, graph.num_receivers)
    layer = TransformerRound(AnemoiGraphTransformerConfig(latent_size=6, num_heads=2), 5, two_meshes=True).double()
    assert layer.norm_senders is not None
    for norm in (layer.norm, layer.norm_senders, layer.update_norm):
        nn.init.normal_(norm.weight)
    nodes = [torch.randn(count, 1, 6, dtype=torch.float64) for count in (plain.num_senders, plain.num_receivers)]
    found = layer(EdgeBlocks(plain), *nodes)[:, 0]
    senders, receivers = (values[:, 0] for values in nodes)
    keys, values = (part(layer.norm_senders(senders)) for part in (layer.key, layer.value))
    normed = layer.norm(receivers)
    for number in (0, 7, 41):
        mine = plain.receivers == number
        known = layer.edge(plain.edge_features[mine])
        heads = []
        for head in (slice(0, 3), slice(3, 6)):
            query = layer.query(normed[number])[head]
            logits = (keys[plain.senders[mine]] + known)[:, head] @ query / 3**0.5
            heads.append(logits.softmax(0) @ (values[plain.senders[mine]] + known)[:, head])
        latent = receivers[number] + layer.projection(torch.cat(heads) + layer.own(normed[number]))
        inner, outer = layer.update
        expected = latent + outer(nn.functional.gelu(inner(layer.update_norm(latent))))
        torch.testing.assert_close(found[number], expected)


@pytest.mark.parametrize("name", [*OWN, "GraphConv"])
def test_an_edge_of_weight_two_counts_as_two_edges_and_one_of_weight_zero_as_none(name: str) -> None:
    graph = default_graphs(icosphere(1)).processor
    counts = torch.arange(graph.num_edges) % 3
    names = (*graph.feature_names, "weight")

    def weighted(weights: Tensor, copies: Tensor) -> Graph:
        chosen = torch.arange(graph.num_edges).repeat_interleave(copies)
        known = torch.cat([graph.edge_features, weights[:, None].double()], dim=1)[chosen]
        return Graph(graph.edge_index[:, chosen], known, graph.num_senders, graph.num_receivers, names)

    torch.manual_seed(0)
    by_weight, by_copies = EdgeBlocks(weighted(counts, torch.ones_like(counts))), EdgeBlocks(weighted(counts, counts))
    assert by_copies.weights is not None
    by_copies.weights = torch.ones_like(by_copies.weights)
    for edges in (by_weight, by_copies):  # the same features, so that weights alone differ
        edges.features = torch.cat([edges.features[:, :-1], torch.ones(len(edges.features), 1)], dim=1)
    layer = ALL[name].processor(by_weight).double()
    latent = torch.randn(2, graph.num_receivers, 8, dtype=torch.float64)
    torch.testing.assert_close(layer(by_weight, latent, latent), layer(by_copies, latent, latent))


# What every processor is asked ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [*OWN, "GATv2Conv", "GCNConv"])
@pytest.mark.parametrize("mesh", MESHES)
def test_it_answers_as_every_network_does(name: str, mesh: str, tmp_path: Path) -> None:
    network = GNNConfig(processor=ALL[name])
    for question in QUESTIONS:
        question(network, MESHES[mesh]())
    a_checkpoint_says_the_same(network, MESHES[mesh](), tmp_path)


@pytest.mark.parametrize("name", LIBRARY)
def test_a_checkpoint_of_each_layer_says_the_same(name: str, tmp_path: Path) -> None:
    options = {"heads": 2} if "heads" in LAYERS[name].options else {}
    processor = replace(ALL[name], options=options)  # type: ignore[call-arg]
    a_checkpoint_says_the_same(GNNConfig(processor=processor), MESHES["icosphere"](), tmp_path)
    a_checkpoint_says_the_same(GNNConfig(graph=ON_MESH, processor=processor), MESHES["globe"](), tmp_path)


@pytest.mark.parametrize("graphs", [SPHERE, default_graphs(ring(16)), build_graphs(ON_MESH, GRID)], ids=str)
def test_gradients_reach_every_weight_and_samples_stand_alone(config: RoundsConfig, graphs: ModelGraphs) -> None:
    network = network_on(graphs, config)
    count = (graphs.encoder or graphs.processor).num_senders
    features = torch.randn(3, count, 3)
    out = network(features)
    assert out.shape == (3, count, 2) and out.std() > 1e-3
    out.square().sum().backward()
    silent = [name for name, weight in network.named_parameters() if weight.grad is None or not weight.grad.any()]
    assert silent == []
    torch.testing.assert_close(network(features[[2, 0]]), out[[2, 0]], rtol=1e-4, atol=1e-5)
    with torch.no_grad():
        torch.testing.assert_close(network(features), out, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("graphs", [SPHERE, build_graphs(ON_MESH, GRID)], ids=["sphere", "mesh"])
def test_gradients_are_those_of_differences(config: RoundsConfig, graphs: ModelGraphs) -> None:
    """Along one direction, in double precision, of inputs and of all weights."""
    network = network_on(graphs, config).double()
    generator = torch.Generator().manual_seed(2)
    features = torch.randn(1, (graphs.encoder or graphs.processor).num_senders, 3, dtype=torch.float64)
    given = [features.requires_grad_(), *network.parameters()]
    directions = [torch.randn(values.shape, generator=generator, dtype=torch.float64) for values in given]
    weight = torch.randn(network(features).shape, generator=generator, dtype=torch.float64)

    def value(step: float) -> float:
        with torch.no_grad():
            for values, direction in zip(given, directions, strict=True):
                values += step * direction
            result = float((network(features) * weight).sum())
            for values, direction in zip(given, directions, strict=True):
                values -= step * direction
        return result

    (network(features) * weight).sum().backward()
    slope = sum(float((values.grad * direction).sum()) for values, direction in zip(given, directions, strict=True))
    assert (value(1e-6) - value(-1e-6)) / 2e-6 == pytest.approx(slope, rel=1e-4)


def test_repeated_updates_are_equal_to_the_last_bit(config: RoundsConfig) -> None:
    network, features = network_on(build_graphs(ON_MESH, GRID), config), torch.randn(3, GRID.num_nodes, 3)
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        found = []
        for _ in range(4):
            network.zero_grad()
            out = network(features)
            out.square().sum().backward()
            found.append([out.detach(), *(weight.grad.clone() for weight in network.parameters())])
    finally:
        torch.set_num_threads(threads)
    assert all(torch.equal(*pair) for other in found[1:] for pair in zip(other, found[0], strict=True))


def test_a_copied_network_says_the_same(config: RoundsConfig) -> None:
    """As averaged weights and other processes hold one."""
    network, features = network_on(build_graphs(ON_MESH, GRID), config), torch.randn(1, GRID.num_nodes, 3)
    out = network(features)
    for other in (copy.deepcopy(network), pickle.loads(pickle.dumps(network))):
        assert torch.equal(other(features), out)


def test_a_short_training_lowers_the_loss(config: RoundsConfig) -> None:
    graphs = build_graphs(ON_MESH, GRID)
    network = network_on(graphs, config, zero=True)
    features, target = torch.randn(1, GRID.num_nodes, 3), torch.randn(1, GRID.num_nodes, 2)
    assert not network(features).any()
    assert left_after_fitting(network, features, target, updates=60) < 0.6


def test_mixed_precision_gives_nearly_the_same_and_its_gradients(config: RoundsConfig) -> None:
    network = network_on(build_graphs(ON_MESH, GRID), config)
    features = torch.randn(2, GRID.num_nodes, 3)
    exact = network(features)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        mixed = network(features)
    mixed.float().square().sum().backward()
    assert (mixed.float() - exact).abs().max() < 0.05 * exact.abs().max()
    assert all(torch.isfinite(weight.grad).all() for weight in network.parameters())


def test_information_travels_one_edge_a_layer_and_no_further(config: RoundsConfig) -> None:
    """A Chebyshev polynomial of three terms reaches two edges."""
    graph, mesh = default_graphs(icosphere(3)).processor, icosphere(3)
    reach = sum((2 if isinstance(config, PyGConfig) and config.layer == "ChebConv" else 1) for _ in range(2))
    reached = torch.zeros(mesh.num_nodes)
    reached[-1] = 1.0
    for _ in range(reach):
        reached = reached.index_add(0, graph.receivers, reached[graph.senders])
    features = torch.randn(1, mesh.num_nodes, 3)
    poked = features.clone()
    poked[0, -1] += 1.0
    network = network_on(ModelGraphs(graph), config)
    changed = (network(poked) - network(features)).abs().amax(dim=-1)[0] > 1e-6
    assert not changed[reached == 0].any()
    assert 1 < changed.sum() < mesh.num_nodes


# Configurations -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("section", "message"),
    [
        ({"kind": "graphcst"}, r"processor.kind: got 'graphcst', .*did you mean graphcast\?"),
        ({"kind": "graphcast", "num_harmonics": 2}, "num_harmonics: unknown key"),
        ({"kind": "graphcast", "latent_size": 0}, "processor.latent_size must be at least 1, but is 0"),
        ({"kind": "anemoi_graph_convolution", "num_layers": 1001}, "processor.num_layers must be at most 1,000"),
        (
            {"kind": "anemoi_graph_transformer", "num_heads": 3},
            "multiple of processor.num_heads, but 32 is none of 3",
        ),
        ({"kind": "anemoi_graph_transformer", "num_heads": 0}, "processor.num_heads must be at least 1, but is 0"),
        ({"kind": "pyg"}, "processor.layer: missing"),
        (
            {"kind": "pyg", "layer": "GATConv"},
            r"got 'GATConv', expected 'GATv2Conv', .*; did you mean GATv2Conv",
        ),
        (
            {"kind": "pyg", "layer": "GATv2Conv", "options": {"head": 2}},
            r"be heads, .*'head'. Did you mean heads\?",
        ),
        ({"kind": "pyg", "layer": "GATv2Conv", "options": {"heads": 5}}, "a multiple of the 5 heads or towers"),
        (
            {"kind": "pyg", "layer": "ChebConv", "options": {"K": 0}},
            "K of ChebConv must be a whole number from 1 to 100",
        ),
        (
            {"kind": "pyg", "layer": "ChebConv", "options": {"normalization": "l2"}},
            "one of sym, rw, but is 'l2'",
        ),
        ({"kind": "pyg", "layer": "CFConv", "options": {"cutoff": 1}}, "must be a number above 1, in longest edges"),
        ({"kind": "pyg", "layer": "SAGEConv", "options": {"project": 1}}, "must be true or false, but is 1"),
        ({"kind": "pyg", "layer": "GINEConv", "options": {"eps": 1e999}}, "must be a number, but is inf"),
        ({"kind": "pyg", "layer": "ResGatedGraphConv", "options": {"K": 1}}, "may be none, but one is 'K'"),
        ({"kind": [1]}, "processor.kind: got "),
    ],
    ids=str,
)
def test_what_cannot_be_is_refused_in_a_clear_message(section: dict[str, Any], message: str) -> None:
    with pytest.raises(MeshcastError, match=message):
        load(GNNConfig, {"kind": "gnn", "processor": section})


def test_a_layer_that_is_not_known_is_refused_in_python_too() -> None:
    with pytest.raises(MeshcastError, match=r"one of GATv2Conv, .*, but is 'SageConv'. Did you mean SAGEConv\?"):
        PyGConfig(layer="SageConv")  # type: ignore[arg-type]


def test_a_section_without_a_kind_is_ours_as_before() -> None:
    read = load(GNNConfig, {"kind": "gnn", "processor": {"num_layers": 2}}, ["processor.latent_size=8"])
    assert read.processor == ProcessorConfig(num_layers=2, latent_size=8)
    pyg = load(GNNConfig, {"kind": "gnn", "processor": {"kind": "pyg", "layer": "PNAConv", "options": {"towers": 2}}})
    assert pyg.processor == PyGConfig(layer="PNAConv", options={"towers": 2})


def test_a_budget_of_parameters_keeps_widths_a_multiple_of_heads() -> None:
    for processor, unit in (
        (OWN["anemoi_graph_transformer"], 4),
        (LIBRARY["TransformerConv"], 4),
        (OWN["graphcast"], 1),
    ):
        network = GNNConfig(processor=processor)
        assert network.width_unit == unit
        wider = network.with_width(16).processor
        assert (wider.latent_size, wider.hidden_size, type(wider)) == (16, 24, type(processor))
