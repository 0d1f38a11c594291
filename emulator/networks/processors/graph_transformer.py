"""Anemoi's graph transformer: attention of a node to its neighbours, with the features of edges in keys and values."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from emulator.networks.layers.constants import without_autocast
from emulator.networks.layers.edge_blocks import EdgeBlock, EdgeBlocks, by_blocks
from emulator.networks.layers.matrix_product import linear
from emulator.networks.layers.recomputation import RoundByRound
from emulator.networks.processors.rounds import RoundsConfig, by_node, computing_dtype
from graphs.errors import MeshcastError


@dataclass(frozen=True, kw_only=True)
class AnemoiGraphTransformerConfig(RoundsConfig):
    """The graph transformer of Anemoi (GraphTransformerProcessor of anemoi-models 0.19; after Shi et al. 2021,
    arXiv:2009.03509).

        a_e = softmax_e(q_i · (k_j + E x_e) / √d),   o_i = Σ_e a_e (v_j + E x_e),   from the norm n_i of h_i,
        h_i <- h_i + P(o_i + S n_i),   h_i <- h_i + MLP(LN(h_i))

    The softmax is over the edges that reach a node, in each head. Anemoi's `hidden_size` is four times `latent_size`.
    num_heads: of attention, a divisor of `latent_size`.
    qk_norm: whether queries and keys have a norm of their own in each head.
    """

    kind: Literal["anemoi_graph_transformer"] = "anemoi_graph_transformer"
    num_heads: int = 4
    qk_norm: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.num_heads < 1:
            raise MeshcastError(f"processor.num_heads must be at least 1, but is {self.num_heads}.")
        if self.latent_size % self.num_heads:
            raise MeshcastError(
                f"processor.latent_size must be a multiple of processor.num_heads, but {self.latent_size} is none of "
                f"{self.num_heads}."
            )

    def in_words(self) -> str:
        return f"attention as in Anemoi's graph transformer, of {self.num_heads} heads [@lang2024; @shi2021]"

    @property
    def width_unit(self) -> int:
        return self.num_heads

    def rounds(self, edges: EdgeBlocks, num_layers: int, two_meshes: bool) -> nn.Module:
        features = edges.features.shape[1]
        return TransformerRounds(TransformerRound(self, features, two_meshes) for _ in range(num_layers))


class TransformerRounds(RoundByRound, nn.ModuleList):
    """Rounds of attention one after another."""

    def forward(self, edges: EdgeBlocks, senders: Tensor, receivers: Tensor) -> Tensor:
        """Return [batch, receiver, latent]."""
        received = by_node(receivers)
        sent = by_node(senders) if senders is not receivers else received
        for one in self:
            sent = received = self.in_round(one, edges, sent, received)
        return received.transpose(0, 1)


class TransformerRound(nn.Module):
    """One round of attention and an MLP of each node.

    two_meshes: whether senders have a norm of their own.
    """

    def __init__(self, config: AnemoiGraphTransformerConfig, num_edge_features: int, two_meshes: bool = False) -> None:
        super().__init__()
        latent, self.num_heads = config.latent_size, config.num_heads
        self.norm = nn.LayerNorm(latent)
        self.norm_senders = nn.LayerNorm(latent) if two_meshes else None
        self.query, self.key, self.value, self.own = (nn.Linear(latent, latent) for _ in range(4))
        self.edge = nn.Linear(num_edge_features, latent)
        self.query_norm, self.key_norm = (
            nn.LayerNorm(latent // self.num_heads, bias=False) if config.qk_norm else None for _ in range(2)
        )
        self.projection = nn.Linear(latent, latent)
        self.update_norm = nn.LayerNorm(latent)
        self.update = nn.ModuleList([nn.Linear(latent, config.hidden_size), nn.Linear(config.hidden_size, latent)])

    def forward(self, edges: EdgeBlocks, senders: Tensor, receivers: Tensor) -> Tensor:
        """Return [receiver, batch, latent] from [node, batch, latent] both."""
        dtype = computing_dtype(receivers)
        normed = self.norm(receivers).to(dtype)
        of_senders = normed if self.norm_senders is None else self.norm_senders(senders).to(dtype)
        query, key = self._in_heads(_apply(self.query, normed), self.query_norm), _apply(self.key, of_senders)
        sent = torch.cat([self._in_heads(key, self.key_norm), _apply(self.value, of_senders)], dim=-1)
        known = edges.features.to(dtype)[:, None]  # [edge, 1, feature]
        weights = self.edge.weight.to(dtype), self.edge.bias.to(dtype)
        blocks = edges.of(receivers.shape[1] * receivers.shape[2])
        attended, _ = by_blocks(self._attention, blocks, known, sent, query, *weights)
        latent = receivers + _apply(self.projection, attended + _apply(self.own, normed))
        inner, outer = self.update
        return latent + _apply(outer, nn.functional.gelu(_apply(inner, self.update_norm(latent).to(dtype))))

    def _attention(
        self, block: EdgeBlock, known: Tensor, sent: Tensor, query: Tensor, *of_edge: Tensor
    ) -> tuple[Tensor, None]:
        edge = linear(known, *of_edge)
        key, value = sent.chunk(2, dim=-1)
        products = (block.at_receivers(query) * (key + edge)).unflatten(-1, (self.num_heads, -1))
        logits = products.sum(dim=-1) / products.shape[-1] ** 0.5  # [edge, batch, head]
        shares = block.softmax(logits)[..., None]
        return block.sum(((value + edge).unflatten(-1, (self.num_heads, -1)) * shares).flatten(-2)), None

    def _in_heads(self, values: Tensor, norm: nn.LayerNorm | None) -> Tensor:
        """Return values [node, batch, latent] normed within each head, where a norm is given."""
        if norm is None:
            return values
        return norm(values.unflatten(-1, (self.num_heads, -1))).to(values.dtype).flatten(-2)


def _apply(layer: nn.Module, values: Tensor) -> Tensor:
    """Return a linear layer of values, in their precision."""
    assert isinstance(layer, nn.Linear)
    with without_autocast(values):
        return linear(values, layer.weight.to(values.dtype), layer.bias.to(values.dtype))
