"""Edges in blocks: the same as all edges at once, whatever the size of a block."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from emulator.networks.layers import edge_blocks
from emulator.networks.layers.edge_blocks import EdgeBlock, EdgeBlocks, by_blocks
from graphs.graph import Graph


def uneven_graph(weights: bool = False) -> Graph:
    """Thirty senders, twenty receivers, of which the first hears nobody and the sixth forty edges."""
    generator = torch.Generator().manual_seed(0)
    receivers = torch.cat([torch.randint(1, 20, (60,), generator=generator), torch.full((40,), 5)])
    edges = torch.stack([torch.randint(0, 30, (100,), generator=generator), receivers])
    features = torch.rand(100, 2, generator=generator, dtype=torch.float64)
    return Graph.sorted(edges, features, 30, 20, ("length", "weight" if weights else "other"))


def function(block: EdgeBlock, edges: Tensor, sent: Tensor, heard: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    """Something of all that a block offers, none of it linear."""
    on_edges = torch.sin(edges + sent @ weight) * block.at_receivers(heard)
    shares = block.softmax(on_edges)
    return block.sum(block.weighted(on_edges) + shares * sent), on_edges + edges


def at_once(graph: Graph, edges: Tensor, senders: Tensor, receivers: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    """The same by loops over receivers."""
    sent, counts = senders[graph.senders], torch.ones(graph.num_edges, dtype=edges.dtype)
    if "weight" in graph.feature_names:
        counts = graph.edge_features[:, 1].to(edges.dtype)
    on_edges = torch.sin(edges + sent @ weight) * receivers[graph.receivers]
    rows = []
    for receiver in range(graph.num_receivers):
        mine = graph.receivers == receiver
        count = counts[mine, None, None]
        shares = count * on_edges[mine].exp()
        shares = shares / shares.sum(0) if mine.any() else shares
        rows.append((count * on_edges[mine] + shares * sent[mine]).sum(0))
    return torch.stack(rows), on_edges + edges


def inputs(graph: Graph, batch_of_edges: int = 3) -> list[Tensor]:
    generator = torch.Generator().manual_seed(1)
    shapes = ((graph.num_edges, batch_of_edges, 4), (graph.num_senders, 3, 4), (graph.num_receivers, 3, 4), (4, 4))
    return [torch.randn(shape, generator=generator, dtype=torch.float64).requires_grad_() for shape in shapes]


@pytest.mark.parametrize("numbers", [1, 120, 400, 10**6])
@pytest.mark.parametrize("weights", [False, True])
@pytest.mark.parametrize("batch_of_edges", [3, 1])
@pytest.mark.parametrize("kept", [True, False])
def test_blocks_of_any_size_give_what_all_edges_at_once_do(
    numbers: int, weights: bool, batch_of_edges: int, kept: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(edge_blocks, "NUMBERS", numbers)
    monkeypatch.setattr(edge_blocks, "MOST_KEPT", 10**9 if kept else 0)
    graph, outcomes = uneven_graph(weights), []
    blocks = EdgeBlocks(graph).of(12)
    assert (len(blocks) == 1) == (numbers == 10**6)
    for answer in (lambda *given: by_blocks(function, blocks, *given), lambda *given: at_once(graph, *given)):
        given = inputs(graph, batch_of_edges)
        nodes, edges = answer(*given)
        assert edges is not None
        (nodes.square().sum() + edges.pow(3).sum()).backward()
        outcomes.append([nodes.detach(), edges.detach(), *(values.grad for values in given)])
    for first, second in zip(*outcomes, strict=True):
        torch.testing.assert_close(first, second, rtol=1e-9, atol=1e-10)


def test_gradients_are_those_of_differences(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(edge_blocks, "NUMBERS", 200)
    graph = uneven_graph(weights=True)
    blocks = EdgeBlocks(graph).of(12)
    assert torch.autograd.gradcheck(lambda *given: by_blocks(function, blocks, *given), inputs(graph), fast_mode=True)


def test_only_what_is_used_and_wanted_has_a_gradient() -> None:
    graph = uneven_graph()
    edges, senders, receivers, weight = inputs(graph)
    nodes, _ = by_blocks(function, EdgeBlocks(graph).of(12), edges.detach(), senders, receivers.detach(), weight)
    nodes.sum().backward()
    assert edges.grad is None and receivers.grad is None
    assert senders.grad.any() and weight.grad.any()


@pytest.mark.parametrize("kept", [True, False])
def test_one_can_go_back_twice(kept: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(edge_blocks, "MOST_KEPT", 10**9 if kept else 0)
    graph = uneven_graph()
    given = inputs(graph)
    nodes, edges = by_blocks(function, EdgeBlocks(graph).of(12), *given)
    assert edges is not None
    first, second = (torch.autograd.grad(nodes.sum() + edges.sum(), given, retain_graph=True) for _ in range(2))
    assert all(torch.equal(*pair) for pair in zip(first, second, strict=True))


def test_what_is_run_again_is_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    graph, kept = uneven_graph(), []
    for most in (10**9, 0):
        monkeypatch.setattr(edge_blocks, "MOST_KEPT", most)
        numbers: list[int] = []
        with torch.autograd.graph.saved_tensors_hooks(
            lambda values, numbers=numbers: numbers.append(values.numel()) or values, lambda values: values
        ):
            by_blocks(function, EdgeBlocks(graph).of(12), *inputs(graph))
        kept.append(sum(numbers))
    assert kept[1] == sum(values.numel() for values in inputs(graph)) < kept[0]


def test_a_softmax_of_large_numbers_is_finite() -> None:
    graph = uneven_graph()
    (block,) = EdgeBlocks(graph).of(1)
    values = torch.full((graph.num_edges, 1, 1), 1e4, dtype=torch.float64)
    values[::2] = -1e4
    total = block.sum(block.softmax(values))[:, 0, 0]
    torch.testing.assert_close(total, (graph.in_degrees > 0).double())


def test_blocks_move_with_their_module() -> None:
    edges = EdgeBlocks(uneven_graph(weights=True))
    assert edges.of(4)[0].weights.dtype == torch.float64  # type: ignore[union-attr]
    assert edges.float().of(4)[0].weights.dtype == torch.float32  # type: ignore[union-attr]
    assert edges.to("meta").of(4)[0].senders.is_meta
    assert edges.state_dict() == {}
