"""What it takes to split a graph over processes: halos, bytes on the way, memory, processor time.

    python benchmarks/sharding.py                                                        # level 6
    python benchmarks/sharding.py --parts updates --level 8 --batch 1 --processes 2 --updates 1 --no-whole

Prints JSON and asserts nothing. An update is what `meshcast train` takes of it: windows read, loss, gradients, mean of
gradients, optimiser; data are computed as they are read, so that none lie in memory. Memory is the peak of a process
from after the imports on, from opening the data to the last update, building of graphs included.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
import torch.multiprocessing as multiprocessing
from numpy.typing import NDArray
from torch.utils.data import default_collate

import training.optimisation.gradient_descent  # noqa: F401  (Lightning belongs to what is imported beforehand)
from emulator.fields import Fields
from emulator.foundation.freed_memory import keep_freed_memory
from emulator.foundation.time_step import TimeStep
from emulator.networks.gnn import GNNConfig, ProcessorConfig
from graphs.edges.build import build_graphs, default_config
from graphs.meshes.icosphere import icosphere
from graphs.partition import partition
from training.experiment import DataConfig, DataPart, ExperimentConfig, TaskConfig, TrainingConfig, ValidationConfig
from training.optimisation.module import EmulatorModule
from training.preparation.prepared import PreparedData, prepare
from training.runs.fit import untrained_on_threads


class ComputedFields(Fields):
    """Moving waves h, u and v on an icosphere, computed when they are read."""

    variables, units = ("h", "u", "v"), ("m", "m s-1", "m s-1")
    time_step, ensemble_axis, ensemble_size = TimeStep.parse("1h"), "member", 1
    trajectories, attributes, missing = (0,), {}, frozenset()

    def __init__(self, level: int, year: int, times: int) -> None:
        self.mesh, self.source = icosphere(level), f"waves of {year}"
        first = np.datetime64(f"{year}-01-01", "s").astype(np.int64)
        self.times = first + 3600 * np.arange(times)

    def _read(self, times: NDArray[np.int64], rows: NDArray[np.int64], columns: list[int]) -> NDArray[np.floating]:
        x, y, z = self.mesh.positions.astype(np.float32).T
        values = np.empty((len(times), 1, self.mesh.num_nodes, 3), dtype=np.float32)
        for row, angle in zip(values[:, 0], 0.3 * times, strict=True):
            wave = np.cos(angle) * x + np.sin(angle) * y
            row[:, 0], row[:, 1], row[:, 2] = 10.0 + wave, wave * z, np.sin(angle) * z - wave
        return values[..., columns]


class ComputedData(PreparedData):
    def __init__(self, level: int) -> None:
        super().__init__()
        self.level = level
        self._opened: dict[str, Fields] = {}

    def fields(self, split: DataPart, keep_in_memory: bool = True) -> Fields:
        year = str(split.source)
        return self._opened.setdefault(year, ComputedFields(self.level, int(year), 8))


def experiment(options: argparse.Namespace, shards: int) -> ExperimentConfig:
    size = ProcessorConfig(num_layers=options.layers, latent_size=options.width, hidden_size=options.width)
    return ExperimentConfig(
        name="sharding",
        data=DataConfig(DataPart("2020"), DataPart("2021")),
        task=TaskConfig(prognostic=("h", "u", "v"), partners={"u": "v", "v": "u"}),
        emulator=GNNConfig(processor=size),
        training=TrainingConfig(batch_size=options.batch, shards=shards, devices=shards, accelerator="cpu"),
        validation=ValidationConfig(steps=1, cases=1),
    )


def updates(options: argparse.Namespace, shards: int) -> dict[str, Any]:
    """Return the peak memory of this process [bytes] and its processor time for each update [s]."""
    torch.set_num_threads(1)
    before = _memory("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # the peak so far is that of the process that this one was forked of
    received, all_to_all = [], dist.all_to_all_single

    def counted(output: torch.Tensor, *others: Any, **named: Any) -> Any:
        received.append(output.numel() * output.element_size())
        return all_to_all(output, *others, **named)

    dist.all_to_all_single = counted
    config = experiment(options, shards)
    with untrained_on_threads(prepare(config, ComputedData(options.level))) as untrained:
        module = EmulatorModule(
            untrained.emulator, untrained.windows, untrained.starts, config.training, config.validation
        )
        keep_freed_memory()  # as a training does, once its network is built
        weights = list(module.emulator.parameters())
        optimiser = torch.optim.AdamW(weights)
        built, seconds, losses, in_forward = _memory("VmHWM") - before, [], [], 0
        for update in range(options.updates):
            begun = time.process_time()
            samples = [(update, sample % len(untrained.windows)) for sample in range(options.batch)]
            batch = default_collate([untrained.windows[sample] for sample in samples])
            received.clear()
            with module.emulator.over_all_nodes():
                loss = module.loss(batch)
            in_forward = sum(received)
            optimiser.zero_grad()
            loss.backward()
            if shards > 1:
                for weight in weights:
                    dist.all_reduce(weight.grad)
                    weight.grad /= shards  # type: ignore[operator]
            optimiser.step()
            losses.append(float(loss.detach()))
            seconds.append(time.process_time() - begun)
    return {
        "peak": _memory("VmHWM") - before,
        "built": built,
        "seconds": seconds,
        "losses": losses,
        "received": in_forward,
        "exchanged": sum(received),
    }


def _memory(name: str) -> int:
    """Return a figure of this process's memory [bytes] as Linux knows it: VmRSS, or VmHWM, the highest."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(1024 * int(line.split()[1]) for line in lines if line.startswith(f"{name}:"))


def in_processes(count: int, function: Callable[[], Any]) -> list[Any]:
    """Return what a function finds in each of so many processes, forked from this one."""
    fork = multiprocessing.get_context("fork")
    with tempfile.TemporaryDirectory() as folder:
        pipes = [fork.Pipe(duplex=False) for _ in range(count)]

        def run(rank: int) -> None:
            os.environ |= {"RANK": str(rank), "WORLD_SIZE": str(count)}
            if count > 1:
                dist.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=count)
            pipes[rank][1].send(function())

        processes = [fork.Process(target=run, args=(rank,)) for rank in range(count)]
        for process in processes:
            process.start()
        for _, writing in pipes:
            writing.close()
        found = [reading.recv() for reading, _ in pipes]
        for process in processes:
            process.join()
    return found


def halos(levels: list[int], counts: list[int]) -> list[dict[str, Any]]:
    """Return the nodes that shards hear of each other, on multi-meshes."""
    rows = []
    for level in levels:
        mesh = icosphere(level)
        graphs = build_graphs(default_config(mesh), mesh)
        for count in counts:
            cut = partition(graphs, mesh, count, rounds=6)
            found = [cut.edges("processor", graphs.processor, shard).halo for shard in range(count)]
            shares = [len(halo.nodes) / size for halo, size in zip(found, cut.grid.sizes, strict=True)]
            rows.append(
                {
                    "level": level,
                    "nodes": mesh.num_nodes,
                    "processes": count,
                    "own nodes": list(cut.grid.sizes),
                    "remote senders": [len(halo.nodes) for halo in found],
                    "largest share of own": round(max(shares), 4),
                    "share at the rim": round(1 - sum(cut.grid.interiors) / mesh.num_nodes, 4),
                }
            )
    return rows


def trained(options: argparse.Namespace) -> dict[str, Any]:
    """Return memory, bytes and processor time of updates with the whole graph and over several processes."""
    whole = in_processes(1, lambda: updates(options, 1))[0] if options.whole else None
    mesh = icosphere(options.level)
    graphs = build_graphs(default_config(mesh), mesh)
    rows = []
    for count in options.processes:
        found = in_processes(count, lambda count=count: updates(options, count))
        cut = partition(graphs, mesh, count, options.layers)
        senders = [len(cut.edges("processor", graphs.processor, shard).halo.nodes) for shard in range(count)]
        each = 4 * options.width * options.batch * options.layers
        row: dict[str, Any] = {
            "processes": count,
            "peak of each [MB]": [round(one["peak"] / 1e6) for one in found],
            "of that before the first update [MB]": [round(one["built"] / 1e6) for one in found],
            "all together [GB]": round(sum(one["peak"] for one in found) / 1e9, 2),
            "bytes received in a forward pass": [one["received"] for one in found],
            "times distinct remote senders": [
                round(one["received"] / (each * count), 4) for one, count in zip(found, senders, strict=True)
            ],
            "processor seconds an update": [round(float(np.median(one["seconds"])), 3) for one in found],
            "last loss": found[0]["losses"][-1],
        }
        if whole is not None:
            row["peak / whole"] = round(max(one["peak"] for one in found) / whole["peak"], 3)
            seconds = sum(float(np.median(one["seconds"])) for one in found)
            row["processor time / whole"] = round(seconds / float(np.median(whole["seconds"])), 3)
        rows.append(row)
    result: dict[str, Any] = {name: getattr(options, name) for name in ("level", "batch", "width", "layers", "updates")}
    if whole is not None:
        result["whole"] = {
            "peak [MB]": round(whole["peak"] / 1e6),
            "before the first update [MB]": round(whole["built"] / 1e6),
            "processor seconds an update": round(float(np.median(whole["seconds"])), 3),
            "last loss": whole["losses"][-1],
        }
    return {**result, "split": rows}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parts", nargs="+", choices=("halos", "updates"), default=["halos", "updates"])
    parser.add_argument("--levels", nargs="+", type=int, default=[4, 5, 6, 7], help="of the halos")
    parser.add_argument("--level", type=int, default=6, help="of the updates")
    parser.add_argument("--processes", nargs="+", type=int, default=[2, 4])
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--width", type=int, default=64)
    parser.add_argument("--layers", type=int, default=6)
    parser.add_argument("--updates", type=int, default=3)
    parser.add_argument("--whole", action=argparse.BooleanOptionalAction, default=True)
    options = parser.parse_args()
    found: dict[str, Any] = {"machine": {"processor": platform.processor() or platform.machine(), "threads": 1}}
    if "halos" in options.parts:
        found["halos"] = halos(options.levels, options.processes)
    if "updates" in options.parts:
        found["updates"] = trained(options)
    print(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
