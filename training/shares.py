"""Keys of a training that say on what processes it runs, and how they share the samples of an update."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal, Self

from graphs.errors import MeshcastError

BATCH_SIZE = 20  # of a process, where none is given


@dataclass(frozen=True)
class SharesConfig:
    """The processes of a training and their shares of an update (docs/cluster.md).

    batch_size: samples a process and batch.
    accumulate: batches of a process whose gradients are averaged into one update.
    global_batch_size: samples an update, of all processes and accumulated batches; in place of `batch_size`, which
        is left away or null. Runs that share it take the same samples in each update, on however many processes.
    devices, num_nodes, accelerator, strategy, precision: as Lightning's Trainer takes them.
    shards: processes over which each graph is split, a divisor of all: the others take further samples. A sample's
        result is that of the whole graph; see docs/cluster.md.
    backend: by which processes speak to each other: by default NCCL between GPUs, Gloo between CPUs.
    """

    batch_size: int | None = BATCH_SIZE
    accumulate: int = 1
    global_batch_size: int | None = None
    devices: int = 1
    num_nodes: int = 1
    accelerator: str = "auto"
    strategy: str = "auto"
    backend: Literal["auto", "gloo", "nccl"] = "auto"
    precision: str = "32-true"
    shards: int = 1

    def refuse_bad_shares(self) -> None:
        """Raise MeshcastError where the samples of an update do not divide among what shares them."""
        for name in ("batch_size", "accumulate", "global_batch_size", "devices", "num_nodes", "shards"):
            if (value := getattr(self, name)) is not None and value < 1:
                raise MeshcastError(f"training.{name} must be at least 1, but is {value}.")
        if self.processes % self.shards:
            raise MeshcastError(
                f"training.shards={self.shards} processes share a graph, but training.devices times training.num_nodes "
                f"are {self.processes}. Start a multiple of the shards."
            )
        if (samples := self.global_batch_size) is None:
            return
        if self.batch_size not in (BATCH_SIZE, None):
            raise MeshcastError(
                f"training.global_batch_size is {samples}, but training.batch_size, which follows from it, is given "
                f"too: {self.batch_size}. Remove one of the two; training.batch_size=null does on the command line."
            )
        if samples % (batches := self.graphs * self.accumulate):
            fitting = sorted({max(samples // batches, 1) * batches, (samples // batches + 1) * batches})
            raise MeshcastError(
                f"training.global_batch_size of {samples} does not divide among {batches} batches: training.devices of "
                f"{self.devices} x training.num_nodes of {self.num_nodes} x training.accumulate of {self.accumulate}"
                f"{f' / training.shards of {self.shards}' if self.shards > 1 else ''}. "
                f"Set it to {' or '.join(map(str, fitting))}."
            )

    @property
    def processes(self) -> int:
        """Return the processes that share each update."""
        return self.devices * self.num_nodes

    @property
    def graphs(self) -> int:
        """Return the graphs that are computed at once, each by one process or its shards, of samples of their own."""
        return self.processes // self.shards

    @property
    def graphs_in_words(self) -> str:
        """Return what takes samples of its own at once: so many processes, or groups of those that share a graph."""
        one = "process" if self.shards == 1 else f"group of {self.shards} processes"
        several = "processes" if self.shards == 1 else f"groups of {self.shards} processes"
        return f"{self.graphs} {one if self.graphs == 1 else several}"

    @property
    def process_batch(self) -> int:
        """Return the samples a process and batch."""
        if self.global_batch_size is None:
            return self.batch_size or BATCH_SIZE
        return self.global_batch_size // (self.graphs * self.accumulate)

    @property
    def samples_per_update(self) -> int:
        """Return the samples an update, of all processes and accumulated batches."""
        return self.process_batch * self.graphs * self.accumulate

    def on_one_process(self) -> Self:
        """Return the training with the batches that one of its processes takes, on that process alone."""
        batch = self.process_batch
        return replace(self, batch_size=batch, global_batch_size=None, devices=1, num_nodes=1, strategy="auto")
