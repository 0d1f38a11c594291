"""Anemoi's blocks: ours against those of anemoi-models itself, with the same weights, where it is installed."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from emulator.networks.layers.edge_blocks import EdgeBlocks
from emulator.networks.processors.graph_transformer import AnemoiGraphTransformerConfig
from emulator.networks.processors.interaction import AnemoiGraphConvolutionConfig
from emulator.networks.processors.rounds import ConcatenationMLP
from graphs.edges.build import default_graphs
from graphs.meshes.icosphere import icosphere

processors = pytest.importorskip(
    "anemoi.models.layers.processor",
    reason="anemoi-models is not installed; it is no dependency: install it without its own (pip install --no-deps "
    "anemoi-models anemoi-utils anemoi-graphs hydra-core omegaconf einops antlr4-python3-runtime==4.9.*)",
)
pytestmark = pytest.mark.slow

GRAPH = default_graphs(icosphere(2)).processor
FEATURES = GRAPH.edge_features.shape[1]


def answers(theirs: nn.Module, ours: nn.Module, latent: int) -> None:
    """Hold values and the gradient of the nodes together, in double precision."""
    from anemoi.models.distributed.shapes import GraphShardInfo

    theirs, ours, edges = theirs.double(), ours.double(), EdgeBlocks(GRAPH)
    nodes = torch.randn(GRAPH.num_receivers, latent, dtype=torch.float64)
    found = []
    for answer in (
        lambda x: theirs(
            x,
            1,
            GraphShardInfo(nodes=[len(x)], edges=[GRAPH.num_edges]),
            GRAPH.edge_features,
            GRAPH.edge_index,
        ),
        lambda x: ours(edges, x[None], x[None])[0],
    ):
        given = nodes.clone().requires_grad_()
        out = answer(given)
        out.square().sum().backward()
        found.append((out.detach(), given.grad))
    for first, second in zip(*found, strict=True):
        torch.testing.assert_close(first, second, rtol=1e-9, atol=1e-10)


def take(ours: ConcatenationMLP, theirs: Any, order: tuple[int, ...] | None = None) -> None:
    """Give an MLP of ours the weights of one of theirs, whose inputs stand in another order."""
    linears = [layer for layer in theirs.mlp if isinstance(layer, nn.Linear)]
    with torch.no_grad():
        for mine, other in zip(ours.linears, linears, strict=True):
            mine.load_state_dict(other.state_dict())
        if order is not None:
            parts = linears[0].weight.chunk(len(order), dim=1)
            ours.linears[0].weight.copy_(torch.cat([parts[number] for number in order], dim=1))
    ours.norm.load_state_dict(theirs.layer_norm.state_dict())


@pytest.mark.parametrize("ratio", [1, 3])
def test_the_graph_convolution_is_theirs(ratio: int) -> None:
    torch.manual_seed(0)
    config = AnemoiGraphConvolutionConfig(num_layers=3, latent_size=16, hidden_size=16 * ratio)
    theirs = processors.GNNProcessor(
        num_channels=16,
        num_layers=3,
        num_chunks=1,
        mlp_extra_layers=0,
        edge_dim=FEATURES,
        mlp_hidden_ratio=float(ratio),
        layer_kernels=None,
    )
    ours: Any = config.processor(EdgeBlocks(GRAPH))
    take(ours.embedding, theirs.proc[0].emb_edges)
    for mine, other in zip(ours.rounds, theirs.proc, strict=True):
        take(mine.message, other.conv.edge_mlp, order=(2, 1, 0))  # theirs: receiver, sender, edge
        take(mine.update, other.node_mlp)
    answers(theirs, ours, 16)


@pytest.mark.parametrize("qk_norm", [False, True])
def test_the_graph_transformer_is_theirs(qk_norm: bool) -> None:
    torch.manual_seed(0)
    config = AnemoiGraphTransformerConfig(num_layers=3, latent_size=16, hidden_size=64, num_heads=4, qk_norm=qk_norm)
    theirs = processors.GraphTransformerProcessor(
        num_layers=3,
        num_channels=16,
        num_chunks=1,
        num_heads=4,
        mlp_hidden_ratio=4.0,
        edge_dim=FEATURES,
        qk_norm=qk_norm,
        layer_kernels=None,
        graph_attention_backend="pyg",
    )
    for weight in theirs.parameters():  # norms that begin at one and zero too
        nn.init.normal_(weight, std=0.3)
    ours: Any = config.processor(EdgeBlocks(GRAPH))
    for mine, other in zip(ours, theirs.proc, strict=True):
        names = {
            "norm": "layer_norm_attention",
            "query": "lin_query",
            "key": "lin_key",
            "value": "lin_value",
            "own": "lin_self",
            "edge": "lin_edge",
            "projection": "projection",
            "update_norm": "layer_norm_mlp_dst",
            **({"query_norm": "q_norm", "key_norm": "k_norm"} if qk_norm else {}),
        }
        for name, theirs_name in names.items():
            getattr(mine, name).load_state_dict(getattr(other, theirs_name).state_dict())
        for layer, theirs_layer in zip(mine.update, other.node_dst_mlp.mlp[::2], strict=True):
            layer.load_state_dict(theirs_layer.state_dict())
    answers(theirs, ours, 16)
