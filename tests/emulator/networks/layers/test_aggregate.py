"""Sums at receivers: both backends agree, and gradients do not depend on the order in which threads finish."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from emulator.networks.gnn import EncodeProcessDecode, ProcessorConfig
from emulator.networks.layers import aggregate
from emulator.networks.layers.aggregate import at_receivers, at_senders, sum_by_receiver
from graphs.edges.build import GraphConfig, NearestEdges, build_graphs
from graphs.graph import Graph
from graphs.meshes.points import points

needs_scatter = pytest.mark.skipif(aggregate.segment_csr is None, reason="torch_scatter is not compiled here")


def uneven_graph() -> Graph:
    """Five senders, four receivers, of which the third hears nobody and the last hears everybody."""
    edge_index = torch.tensor([[0, 3, 1, 0, 1, 2, 3, 4], [0, 0, 1, 3, 3, 3, 3, 3]])
    return Graph(edge_index, torch.zeros(8, 0, dtype=torch.float64), num_senders=5, num_receivers=4)


@pytest.mark.parametrize("backend", [pytest.param("torch_scatter", marks=needs_scatter), "torch"])
def test_each_receiver_gets_the_sum_of_its_messages_and_a_lonely_one_zero(
    backend: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(aggregate, "backend_on", lambda device: backend)
    total = sum_by_receiver(torch.arange(1.0, 9.0)[:, None], uneven_graph())
    assert total[:, 0].tolist() == [3.0, 3.0, 0.0, 30.0]


@needs_scatter
def test_torch_scatter_is_used_only_where_it_was_compiled_for_the_device(monkeypatch: pytest.MonkeyPatch) -> None:
    assert aggregate.backend_on(torch.device("cpu")) == "torch_scatter"
    for compiled, expected in ((True, "torch_scatter"), (False, "torch")):
        monkeypatch.setattr(aggregate, "_compiled_for_cuda", lambda compiled=compiled: compiled)
        assert aggregate.backend_on(torch.device("cuda")) == expected
    monkeypatch.setattr(aggregate, "segment_csr", None)
    assert aggregate.backend_on(torch.device("cpu")) == "torch"


def test_an_edge_carries_its_senders_and_its_receivers_features() -> None:
    graph = uneven_graph()
    senders, receivers = torch.arange(5.0)[:, None], 10 * torch.arange(4.0)[:, None]
    assert at_senders(senders, graph)[:, 0].tolist() == [0, 3, 1, 0, 1, 2, 3, 4]
    assert at_receivers(receivers, graph)[:, 0].tolist() == [0, 0, 10, 30, 30, 30, 30, 30]


@needs_scatter
@pytest.mark.parametrize("leading", [(), (3,), (2, 3)])
def test_both_backends_give_equal_sums_and_gradients(leading: tuple[int, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    graph = uneven_graph()
    generator = torch.Generator().manual_seed(1)
    messages = torch.randn(*leading, graph.num_edges, 6, generator=generator)
    weight = torch.randn(*leading, graph.num_receivers, 6, generator=generator)
    sums, gradients = [], []
    for backend in ("torch_scatter", "torch"):
        given = messages.clone().requires_grad_()
        monkeypatch.setattr(aggregate, "backend_on", lambda device, backend=backend: backend)
        total = sum_by_receiver(given, graph)
        (total * weight).sum().backward()
        sums.append(total.detach())
        gradients.append(given.grad)
    assert torch.equal(*sums)
    assert torch.equal(*gradients)


@needs_scatter
@pytest.mark.parametrize("kind", ["kernel", "interaction"])
def test_a_network_gives_the_same_without_torch_scatter(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    mesh = points(rng.uniform(-60, 60, 50), rng.uniform(0, 360, 50))
    graphs = build_graphs(GraphConfig(NearestEdges(neighbours=5)), mesh)
    torch.manual_seed(0)
    network = EncodeProcessDecode(2, 1, graphs, ProcessorConfig(kind, num_layers=2, latent_size=8, hidden_size=8))
    torch.nn.init.normal_(network.decoder[-1].weight)
    features = torch.randn(3, 50, 2)

    def outcome() -> list[torch.Tensor]:
        network.zero_grad()
        out = network(features)
        out.square().sum().backward()
        return [out.detach(), *(weight.grad.clone() for weight in network.parameters())]

    compiled = outcome()
    # As on a machine where torch_scatter could not be imported.
    monkeypatch.setattr(aggregate, "segment_csr", None)
    for first, second in zip(compiled, outcome(), strict=True):
        torch.testing.assert_close(first, second, rtol=1e-5, atol=1e-5)


def test_gradients_of_the_gather_are_the_same_in_every_call() -> None:
    rng = torch.Generator().manual_seed(0)
    edges = torch.randint(0, 1000, (2, 40_000), generator=rng)
    graph = Graph.sorted(edges, torch.zeros(40_000, 0, dtype=torch.float64), 1000, 1000)
    features = torch.randn(1000, 32, generator=rng)
    weight = torch.randn(40_000, 32, generator=rng)
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        gradients = []
        for _ in range(12):
            given = features.clone().requires_grad_()
            (at_senders(given, graph) * weight).sum().backward()
            gradients.append(given.grad)
    finally:
        torch.set_num_threads(threads)
    assert all(torch.equal(gradient, gradients[0]) for gradient in gradients[1:])
