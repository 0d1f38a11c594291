"""What the shards of a graph hear of each other before a layer: one exchange, which goes on while they compute."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
import torch.distributed as dist
from torch import Tensor, nn

from emulator.foundation.shard_group import ShardGroup
from emulator.networks.layers.constants import constant
from graphs.partition import Halo, Index


class HaloExchange(nn.Module):
    """Sends the rows of a shard's own nodes to those shards that hear them, and brings the rows of its halo.

    `start` begins it and `Leaving.arrived` ends it; what is computed between the two goes on meanwhile. The gradient
    runs the other way: it is sent where the rows were waited for, and added to the senders' where they were sent.

    near: the places of own nodes whose rows are wanted beside the halo's. interior: own nodes that come first.
    """

    def __init__(self, halo: Halo, near: Index, interior: int, group: ShardGroup) -> None:
        super().__init__()
        self.group, self.received, self.sent, self.interior = group, list(halo.received), list(halo.sent), interior
        self.sending, self.near = constant(halo.sending), constant(near)

    def start(self, senders: Tensor) -> Leaving:
        """Return what a layer reads of its senders [own node, batch, channel], the halo still on its way."""
        journey = _Journey()
        every, interior, rim, near, halo = _Start.apply(senders, self, journey)
        return Leaving(every, interior, rim, near, halo, self, journey)


class Leaving(NamedTuple):
    """What a layer reads of the rows of its own nodes, with the gradient of all of it gathered in one place.

    senders: all rows; interior, rim: the first and the other ones; near: those that are wanted beside the halo.
    """

    senders: Tensor
    interior: Tensor
    rim: Tensor
    near: Tensor
    halo: Tensor
    exchange: HaloExchange
    journey: _Journey

    def arrived(self) -> Tensor:
        """Return the halo's rows [halo, batch, channel] once they are here."""
        return _Wait.apply(self.halo, self.exchange, self.journey)


class _Journey:
    """One exchange that has begun: its buffers live as long as it takes."""

    def begin(self, rows: Tensor, counts: list[int], into: list[int], group: dist.ProcessGroup) -> Tensor:
        """Send `counts` rows to each shard, and return where `into` rows of each come in."""
        self.rows, self.arrived = rows, rows.new_empty(sum(into), *rows.shape[1:])
        self.work = dist.all_to_all_single(self.arrived, rows, into, counts, group=group, async_op=True)
        return self.arrived

    def end(self) -> Tensor:
        self.work.wait()
        arrived = self.arrived
        del self.work, self.rows, self.arrived
        return arrived


class _Start(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, senders: Tensor, exchange: HaloExchange, journey: _Journey) -> tuple[Tensor, ...]:
        ctx.shape, ctx.exchange, ctx.journey = senders.shape, exchange, journey
        ctx.set_materialize_grads(False)
        rows = senders.index_select(0, exchange.sending)
        halo = journey.begin(rows, exchange.sent, exchange.received, exchange.group.processes)
        near, first = senders.index_select(0, exchange.near), exchange.interior
        return senders.view_as(senders), senders[:first], senders[first:], near, halo

    @staticmethod
    def backward(
        ctx: Any, senders: Tensor | None, interior: Tensor | None, rim: Tensor | None, near: Tensor | None, _: Tensor
    ) -> tuple[Tensor, None, None]:
        exchange, rows = ctx.exchange, ctx.journey.end()
        total = rows.new_zeros(ctx.shape) if senders is None else senders.clone()
        for part, gradient in ((total[: exchange.interior], interior), (total[exchange.interior :], rim)):
            if gradient is not None:
                part += gradient
        if near is not None:
            total.index_add_(0, exchange.near, near)
        return total.index_add_(0, exchange.sending, rows), None, None


class _Wait(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, rows: Tensor, exchange: HaloExchange, journey: _Journey) -> Tensor:
        ctx.exchange, ctx.journey = exchange, journey
        journey.end()
        return rows.view_as(rows)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        exchange = ctx.exchange
        ctx.journey.begin(gradient.contiguous(), exchange.received, exchange.sent, exchange.group.processes)
        return gradient, None, None  # what `_Start` adds to its senders arrives with the journey
