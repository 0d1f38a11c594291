"""What the shards of a graph hear of each other before a layer: one exchange, which goes on while they compute."""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from emulator.foundation.shard_group import ShardGroup
from emulator.networks.layers.constants import constant
from graphs.partition import Halo


class HaloExchange(nn.Module):
    """Sends the rows of a shard's own nodes to those shards that hear them, and brings the rows of its halo.

    `start` begins it and `Arriving.wait` ends it; what is computed between the two goes on meanwhile. The gradient runs
    the other way: it is sent where the rows were waited for, and added to the senders' where they were sent.
    """

    def __init__(self, halo: Halo, group: ShardGroup) -> None:
        super().__init__()
        self.group, self.received, self.sent = group, list(halo.received), list(halo.sent)
        self.sending = constant(halo.sending)

    def start(self, senders: Tensor) -> Arriving:
        """Return the rows [halo, batch, channel] on their way; senders [own node, batch, channel]."""
        journey = _Journey()
        return Arriving(_Start.apply(senders, self, journey), self, journey)


class Arriving:
    """Rows on their way."""

    def __init__(self, rows: Tensor, exchange: HaloExchange, journey: _Journey) -> None:
        self._rows, self._exchange, self._journey = rows, exchange, journey

    def wait(self) -> Tensor:
        """Return the rows [halo, batch, channel] once they are here."""
        return _Wait.apply(self._rows, self._exchange, self._journey)


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
    def forward(ctx: Any, senders: Tensor, exchange: HaloExchange, journey: _Journey) -> Tensor:
        ctx.shape, ctx.exchange, ctx.journey = senders.shape, exchange, journey
        rows = senders.index_select(0, exchange.sending)
        return journey.begin(rows, exchange.sent, exchange.received, exchange.group.processes)

    @staticmethod
    def backward(ctx: Any, on_its_way: Tensor) -> tuple[Tensor, None, None]:
        arrived = ctx.journey.end()
        return arrived.new_zeros(ctx.shape).index_add_(0, ctx.exchange.sending, arrived), None, None


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
