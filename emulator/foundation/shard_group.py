"""The processes that share one graph: who they are, sums over all of its nodes, and fields put together of their parts.

A world of processes is a grid of `torch.distributed`'s DeviceMesh, data-parallel groups by shards: the processes of one
graph have adjacent ranks.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, Self

import torch
import torch.distributed as dist
from torch import Tensor

from graphs.errors import MeshcastError
from graphs.partition import Division, Shard

_current: ContextVar[ShardGroup | None] = ContextVar("shard_group", default=None)
_groups: dict[int, tuple[dist.ProcessGroup, dist.ProcessGroup]] = {}  # by shards: the world then, and this group


@dataclass(frozen=True)
class ShardGroup:
    """The processes of one graph, as one of them sees them.

    shard: of this process. The processes are asked for when first needed: an emulator is built before they have met.
    """

    shard: Shard

    @property
    def processes(self) -> dist.ProcessGroup:
        """Return the group. Raises MeshcastError where the processes have not met, or are too few."""
        count = self.shard.count
        if not dist.is_available() or not dist.is_initialized():
            raise MeshcastError(
                f"A graph over {count} processes needs {count} of them, but this one is alone. Start them with "
                f"torchrun --nproc-per-node {count}, or in a training with training.devices."
            )
        world = dist.group.WORLD
        assert world is not None
        if count not in _groups or _groups[count][0] is not world:
            rank, ranks = dist.get_rank(), dist.get_world_size()
            if ranks % count or rank % count != self.shard.number:
                raise MeshcastError(
                    f"{ranks} processes cannot share graphs by {count}, with {self.shard} in process {rank}. Start a "
                    "multiple of the shards, and number the processes of one graph one after another."
                )
            _groups[count] = world, _group_of(ranks // count, count)
        return _groups[count][1]

    def total(self, values: Tensor) -> Tensor:
        """Return the sum over the shards of values that each has for its own nodes. It has a gradient."""
        return _Total.apply(values, self.processes)

    def before(self, values: Tensor) -> Tensor:
        """Return the sum of the values of all shards before this one; without a gradient."""
        found = [torch.empty_like(values) for _ in range(self.shard.count)]
        dist.all_gather(found, values.detach().contiguous(), group=self.processes)
        return torch.stack([torch.zeros_like(values), *found[: self.shard.number]]).sum(0)

    def whole(self, values: Tensor, division: Division, axis: int) -> Tensor:
        """Return the values of all nodes, in the order of the whole mesh, of those of each shard; without a gradient.

        values: along `axis` the nodes of this shard, in its order.
        """
        values = values.detach().movedim(axis, 0).contiguous()
        padded = values.new_zeros(max(division.sizes), *values.shape[1:])
        padded[: len(values)] = values
        gathered = [torch.empty_like(padded) for _ in division.sizes]
        dist.all_gather(gathered, padded, group=self.processes)
        found = [each[:size] for each, size in zip(gathered, division.sizes, strict=True)]
        whole = values.new_empty(len(division.order), *values.shape[1:])
        whole[torch.from_numpy(division.order).to(values.device)] = torch.cat(found)
        return whole.movedim(0, axis)

    @contextmanager
    def holding(self) -> Iterator[None]:
        """Have means over nodes within the block be those over the nodes of all shards; see `total_over_nodes`."""
        token = _current.set(self)
        try:
            yield
        finally:
            _current.reset(token)

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        return self


def joined(count: int) -> ShardGroup:
    """Return the processes that torchrun has started, as shards of one graph, once they have met.

    Raises MeshcastError where they are not `count`.
    """
    started = int(os.environ.get("WORLD_SIZE") or 1)
    if started != count or "RANK" not in os.environ:
        raise MeshcastError(
            f"A graph over {count} processes needs {count} of them, but {started} were started. Start the command with "
            f"torchrun --nproc-per-node {count} -m meshcast in place of meshcast."
        )
    if not dist.is_initialized():
        dist.init_process_group("gloo")
    return ShardGroup(Shard(dist.get_rank(), count))


def nodes_are_shared() -> bool:
    """Return whether this is a block of `ShardGroup.holding`."""
    return _current.get() is not None


def total_over_nodes(values: Tensor) -> Tensor:
    """Return sums over nodes as they are, or summed over all shards within a block of `ShardGroup.holding`."""
    group = _current.get()
    return values if group is None else group.total(values)


def _group_of(graphs: int, count: int) -> dist.ProcessGroup:
    from torch.distributed.device_mesh import init_device_mesh

    device = "cuda" if "nccl" in str(dist.get_backend()) else "cpu"
    group = init_device_mesh(device, (graphs, count), mesh_dim_names=("data", "shard"))["shard"].get_group()
    # A group of its own also where it is the world: gradients are averaged there while a halo is on its way.
    return dist.new_group() if group is dist.group.WORLD else group


class _Total(torch.autograd.Function):
    """Every process has the total, so that the gradient of its part is the sum of what all make of the total."""

    @staticmethod
    def forward(ctx: Any, values: Tensor, group: dist.ProcessGroup) -> Tensor:
        ctx.group = group
        total = values.clone(memory_format=torch.contiguous_format)
        dist.all_reduce(total, group=group)
        return total

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        total = gradient.clone(memory_format=torch.contiguous_format)
        dist.all_reduce(total, group=ctx.group)
        return total, None
