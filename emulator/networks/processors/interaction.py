"""Interaction networks with a state on every edge: GraphCast's, and Anemoi's graph convolution."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Literal

from torch import Tensor, nn

from emulator.networks.layers.constants import without_autocast
from emulator.networks.layers.edge_blocks import EdgeBlock, EdgeBlocks, by_blocks
from emulator.networks.layers.matrix_product import linear
from emulator.networks.layers.recomputation import RoundByRound
from emulator.networks.processors.rounds import (
    Activation,
    ConcatenationMLP,
    RoundsConfig,
    by_node,
    computing_dtype,
    mlp_after_first,
)


@dataclass(frozen=True, kw_only=True)
class GraphCastConfig(RoundsConfig):
    """The interaction network of GraphCast, with a state on every edge (Lam et al. 2023, doi:10.1126/science.adi2336).

        m_e = LN(MLP(s_e, h_j, h_i)),   h_i <- h_i + LN(MLP(h_i, Σ_e m_e)),   s_e <- s_e + m_e

    The state s_e of an edge starts as LN(MLP(its features)). Each MLP has one layer of `hidden_size` between, and SiLU.
    The same function as a concatenation on every edge, computed faster.
    """

    kind: Literal["graphcast"] = "graphcast"

    def in_words(self) -> str:
        return "messages as in GraphCast, with a state on every edge [@lam2023]"

    def rounds(self, edges: EdgeBlocks, num_layers: int, two_meshes: bool) -> InteractionRounds:
        hidden = [self.hidden_size]
        return InteractionRounds(edges, num_layers, self.latent_size, hidden, hidden, nn.functional.silu)


@dataclass(frozen=True, kw_only=True)
class AnemoiGraphConvolutionConfig(RoundsConfig):
    """The graph convolution of Anemoi (GNNProcessor of anemoi-models 0.19): an interaction network with edge state.

        s_e <- s_e + LN(MLP(h_i, h_j, s_e)),   h_i <- h_i + LN(MLP(h_i, Σ_e s_e))

    What is added at a node is the edges' new state. Each MLP has two layers between, and GELU: those of edges as wide
    as a latent, those of nodes, and of the edges' first state, `hidden_size`.
    """

    kind: Literal["anemoi_graph_convolution"] = "anemoi_graph_convolution"

    def in_words(self) -> str:
        return "messages as in Anemoi's graph convolution [@lang2024]"

    def rounds(self, edges: EdgeBlocks, num_layers: int, two_meshes: bool) -> InteractionRounds:
        of_edges, of_nodes = [self.latent_size] * 2, [self.hidden_size] * 2
        gelu = nn.functional.gelu
        return InteractionRounds(edges, num_layers, self.latent_size, of_edges, of_nodes, gelu, sums_states=True)


class InteractionRounds(RoundByRound):
    """Rounds of messages with a state on every edge, which begins as an MLP of the edge's features.

    edge_hidden, node_hidden: layers between in the MLPs of edges and of nodes; the edges' first state has the latter.
    sums_states: whether nodes receive the sum of the edges' new states, not of what these change by.
    """

    def __init__(
        self,
        edges: EdgeBlocks,
        num_layers: int,
        latent_size: int,
        edge_hidden: list[int],
        node_hidden: list[int],
        activation: Activation,
        sums_states: bool = False,
    ) -> None:
        super().__init__()
        self.embedding = ConcatenationMLP([edges.features.shape[1]], node_hidden, latent_size, activation)
        self.rounds = nn.ModuleList(
            InteractionRound(latent_size, edge_hidden, node_hidden, activation, sums_states) for _ in range(num_layers)
        )

    def forward(self, edges: EdgeBlocks, senders: Tensor, receivers: Tensor) -> Tensor:
        """Return [batch, receiver, latent]."""
        sent = received = by_node(receivers)
        if senders is not receivers:
            sent = by_node(senders)
        state: Tensor | None = self.embedding(edges.features.to(received.dtype))[:, None]  # [edge, 1, latent]
        for number, one in enumerate(self.rounds, start=1):
            received, state = self.in_round(one, edges, state, sent, received, number < len(self.rounds))
            sent = received
        return received.transpose(0, 1)


class InteractionRound(nn.Module):
    """One round of messages: the new state of edges, and the nodes that receive it."""

    def __init__(
        self,
        latent_size: int,
        edge_hidden: list[int],
        node_hidden: list[int],
        activation: Activation,
        sums_states: bool = False,
    ) -> None:
        super().__init__()
        self.sums_states, self.activation = sums_states, activation
        self.numbers = max(latent_size, *edge_hidden)
        self.message = ConcatenationMLP([latent_size] * 3, edge_hidden, latent_size, activation)
        self.update = ConcatenationMLP([latent_size] * 2, node_hidden, latent_size, activation)

    def forward(
        self, edges: EdgeBlocks, state: Tensor, senders: Tensor, receivers: Tensor, keep_state: bool
    ) -> tuple[Tensor, Tensor | None]:
        """Return [receiver, batch, latent] and, where it is kept, the new state [edge, batch, latent].

        state: [edge, batch or 1, latent]. senders, receivers: [node, batch, latent].
        """
        dtype = computing_dtype(receivers)
        bias, *first = (weight.to(dtype) for weight in self.message.first())
        of_edge, of_sender, of_receiver = first
        rest = [weight.to(dtype) for weight in self.message.rest()]
        with without_autocast(receivers):
            sent = linear(senders.to(dtype), of_sender)
            heard = linear(receivers.to(dtype), of_receiver, bias)
            blocks = edges.of(self.numbers * receivers.shape[1])
            function = partial(self._messages, keep_state)
            received, new = by_blocks(function, blocks, state.to(dtype), sent, heard, of_edge, *rest)
        return receivers + self.update(receivers, received), new

    def _messages(
        self,
        keep_state: bool,
        block: EdgeBlock,
        state: Tensor,
        sent: Tensor,
        heard: Tensor,
        of_edge: Tensor,
        *rest: Tensor,
    ) -> tuple[Tensor, Tensor | None]:
        hidden = linear(state, of_edge) + sent
        hidden += block.at_receivers(heard)
        message = mlp_after_first(hidden, rest, self.activation)
        new = state + message if keep_state or self.sums_states else None
        received = block.sum(block.weighted(new if self.sums_states else message))  # type: ignore[arg-type]
        return received, new if keep_state else None
