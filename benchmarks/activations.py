"""What activation checkpointing saves and costs: the peak of memory and processor seconds of an update.

    python benchmarks/activations.py shallow-water --unroll 1 4 8 --precision 32-true bf16-mixed
    python benchmarks/activations.py shallow-water emulator.processor.kind=graphcast

Each case in a process of its own, forked from one that has read the data: the peak above what it began with, and the
median of a few updates' forward and backward passes. Prints JSON.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import time
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from torch.utils.data import DataLoader

from emulator.foundation.configuration import load
from emulator.foundation.freed_memory import keep_freed_memory
from emulator.foundation.low_precision import products_in
from graphs.available_memory import held_memory, peak_memory
from meshcast.commands.configs import config_path
from training.experiment import ExperimentConfig
from training.optimisation.module import EmulatorModule
from training.preparation.first_guess import initial_network
from training.preparation.prepared import Prepared, prepare, windows_of

WAYS = ("none", "layers", "steps", "both")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("experiment")
    parser.add_argument("overrides", nargs="*", default=[])
    parser.add_argument("--unroll", type=int, nargs="+", default=[1, 4, 8])
    parser.add_argument("--precision", nargs="+", default=["32-true"])
    parser.add_argument("--updates", type=int, default=5)
    given = parser.parse_args()
    config = load(ExperimentConfig, config_path(Path(given.experiment)), given.overrides)
    prepared = prepare(replace(config, training=replace(config.training, unroll=max(given.unroll), curriculum=())))
    cases = [case for case in product(given.precision, given.unroll, WAYS) if case[1] > 1 or case[2] in WAYS[:2]]
    found = [in_fork(prepared, *case, given.updates) for case in cases]
    print(json.dumps({"experiment": " ".join([given.experiment, *given.overrides]), "cases": found}, indent=2))


def in_fork(prepared: Prepared, precision: str, unroll: int, way: str, updates: int) -> dict[str, Any]:
    """Return what an update takes, measured in a process of its own."""
    context = multiprocessing.get_context("fork")
    receiver, sender = context.Pipe(duplex=False)
    training = replace(prepared.config.training, unroll=unroll, checkpoint_activations=way, precision=precision)
    config = replace(prepared.config, training=training)
    process = context.Process(target=lambda: sender.send(measured(replace(prepared, config=config), updates)))
    process.start()
    result = receiver.recv()
    process.join()
    return {"precision": precision, "unroll": unroll, "checkpoint_activations": way, **result}


def measured(prepared: Prepared, updates: int) -> dict[str, float]:
    """Return the processor seconds of an update and the megabytes at its peak, above those before the first."""
    config = prepared.config
    keep_freed_memory()
    windows, starts = windows_of(prepared)
    emulator, _ = initial_network(prepared, windows)
    module = EmulatorModule(emulator, windows, starts, config.training, config.validation)
    batch = next(iter(DataLoader(windows, batch_size=config.training.batch_size)))
    precision = "bfloat16" if config.training.precision.startswith("bf16") else "float32"
    before, seconds = held_memory(), []
    for _ in range(updates):
        begun = time.process_time()
        with products_in(precision, "cpu"):  # type: ignore[arg-type]
            loss = module.loss(batch)
        loss.backward()
        module.zero_grad()
        seconds.append(time.process_time() - begun)
    return {"seconds": round(float(np.median(seconds[1:])), 3), "megabytes": round((peak_memory() - before) / 1e6)}


if __name__ == "__main__":
    main()
