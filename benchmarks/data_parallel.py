"""What two processes of one thread gain over one, on a level of the icosphere, as JSON.

    python benchmarks/data_parallel.py --level 5 --batch 2 --rounds 12

Updates of four kinds take turns in the same two processes, which wait for each other before each:

whole: one process alone, the other idle, with the batches of both.
alone: one process alone, with its own batch.
pair: both, gradients averaged by DistributedDataParallel over Gloo.
apart: both at once, each for itself, so that they compete for the machine as the pair does, and exchange nothing.

Throughput of the pair is compared with `whole` (strong scaling: the same samples an update) and weakly with `alone`, by
the clock and by processor time; against `apart`, what the exchange alone costs. On two hyperthreads of one core each of
two processes is slower than one alone, whatever they exchange: there `apart` is what to compare with.
"""

from __future__ import annotations

import argparse
import json
import os
import socket
import tempfile
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from statistics import median
from time import perf_counter, process_time
from typing import Any

import torch
import torch.distributed as distributed
import torch.multiprocessing as processes
from performance import RIVALS, Bench
from torch.nn.parallel import DistributedDataParallel

from emulator.neural import NeuralEmulator
from emulator.state import State
from training.optimisation.optimiser import optimiser_of
from training.runs.energy_counters import processor_name

KINDS = ("whole", "alone", "pair", "apart")


class Update(torch.nn.Module):
    """A step of an emulator as DistributedDataParallel calls it: the mean square of what the step changes."""

    def __init__(self, emulator: NeuralEmulator) -> None:
        super().__init__()
        self.emulator = emulator

    def forward(self, state: State, forcing: torch.Tensor) -> torch.Tensor:
        return (self.emulator.step(state, forcing)[0].now - state.now).square().mean()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--level", type=int, default=5)
    parser.add_argument("--width", type=int, default=64)
    parser.add_argument("--batch", type=int, default=2, help="samples a process")
    parser.add_argument("--rounds", type=int, default=12, help="of each kind")
    options = parser.parse_args()
    with socket.socket() as place:
        place.bind(("127.0.0.1", 0))
        port = place.getsockname()[1]
    with tempfile.TemporaryDirectory() as folder:
        processes.start_processes(measure, (options, port, folder), nprocs=2, start_method="fork")
        laps = [json.loads(Path(folder, f"{rank}.json").read_text()) for rank in range(2)]
    print(json.dumps(report(options, laps), indent=1))


def measure(rank: int, options: argparse.Namespace, port: int, folder: str) -> None:
    """Write the seconds of each update, by the clock and of the processor, by kind."""
    torch.set_num_threads(1)
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    distributed.init_process_group("gloo", rank=rank, world_size=2)
    bench = Bench("cpu", (options.level,), (options.width,), RIVALS, 0.0, 0.0)
    emulator = bench._emulator(RIVALS[0], options.level, options.width)
    update = Update(emulator)
    parallel, optimiser = DistributedDataParallel(update), optimiser_of("muon", emulator, 1e-3, 1e-4)
    own, both = (bench._state(emulator, batch) for batch in (options.batch, 2 * options.batch))

    def take(kind: str) -> None:
        optimiser.zero_grad()
        with nullcontext() if kind == "pair" else parallel.no_sync():
            (parallel if kind == "pair" else update)(*(both if kind == "whole" else own)).backward()
        optimiser.step()

    laps: dict[str, list[list[float]]] = {kind: [] for kind in KINDS}
    for number in range(-1, options.rounds):
        for kind in KINDS:
            distributed.barrier()
            if rank == 0 or kind in ("pair", "apart"):
                lap = timed(lambda kind=kind: take(kind))  # type: ignore[misc]
                if number >= 0:
                    laps[kind].append(lap)
    Path(folder, f"{rank}.json").write_text(json.dumps(laps))
    distributed.barrier()


def timed(work: Callable[[], None]) -> list[float]:
    """Return the seconds of some work by the clock and of this process's processor."""
    begun = perf_counter(), process_time()
    work()
    return [perf_counter() - begun[0], process_time() - begun[1]]


def report(options: argparse.Namespace, laps: list[dict[str, list[list[float]]]]) -> dict[str, Any]:
    """Return seconds of an update in one process by kind, medians over rounds, and what follows from them."""
    rows = []
    for column, measured in enumerate(("by the clock", "by processor time")):
        medians = {kind: [median(lap[column] for lap in rank[kind]) for rank in laps if rank[kind]] for kind in KINDS}
        seconds = {kind: sum(found) / len(found) for kind, found in medians.items()}
        pair = seconds["pair"]
        gains = {
            "two against one": seconds["whole"] / pair,
            "two against one beside another": 2 * seconds["apart"] / pair,
            "weak scaling": seconds["alone"] / pair,
            "exchange": 1 - seconds["apart"] / pair,
        }
        rows.append({"measured": measured, **seconds, **gains})
    settings = {name: getattr(options, name) for name in ("level", "width", "batch", "rounds")}
    machine = f"{processor_name()}, {os.cpu_count()} hyperthreads, load {os.getloadavg()[0]:.1f}"
    return {"machine": machine, "torch": torch.__version__, **settings, "rows": rows}


if __name__ == "__main__":
    main()
