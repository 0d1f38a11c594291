"""Time the fused message operator against the sparse products that it replaces, on one core.

    python benchmarks/engine.py [--rounds 5] [--cases level3 level5 ...] [--precision bf16 float32]

Each case is a graph network of six layers, as shallow water has, on one level of icosphere: a forward pass without
gradients, and a training step, which is a forward pass, the gradient of a mean square, and AdamW on every weight. Both
engines run in turn in one process; printed are medians of CPU time with the least and the largest, as JSON. The sparse
products are the whole engine of the versions before this operator.
"""

from __future__ import annotations

import argparse
import json
import platform
import resource
import statistics
import time
from collections.abc import Callable
from typing import Any

import torch

from emulator.foundation.freed_memory import keep_freed_memory
from emulator.networks.gnn import EncodeProcessDecode, ProcessorConfig
from emulator.networks.message_kernel.library import FALLBACK, message_library, using
from graphs.edges.build import GraphConfig, MultiMeshEdges, build_graphs
from graphs.meshes.icosphere import icosphere

CASES = {  # level, batch, width, layers
    "level3": (3, 8, 64, 6),
    "level5": (5, 2, 64, 6),
    "level5-wide": (5, 1, 128, 6),
    "level5-one": (5, 1, 64, 6),
    "level6": (6, 1, 64, 6),
    "level7": (7, 1, 64, 6),
    "level7-wide": (7, 1, 128, 8),
    "level3-one": (3, 1, 64, 6),
    "level3-members": (3, 50, 64, 6),
    "level4-one": (4, 1, 64, 6),
    "level4-members": (4, 50, 64, 6),
}
WINDS = [(1, 2)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--cases", nargs="+", default=["level3", "level5", "level5-wide"], choices=list(CASES))
    parser.add_argument("--precision", nargs="+", default=["bf16", "float32"], choices=["bf16", "float32"])
    parser.add_argument("--only-fused", action="store_true", help="leave the sparse products out, as on large meshes")
    parser.add_argument("--forward-only", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(1)
    keep_freed_memory()  # as training and forecasts do
    library = message_library()
    engines = {"fused": library.name if library else FALLBACK}
    if not options.only_fused:
        engines["sparse"] = FALLBACK
    rows = [
        row
        for case in options.cases
        for row in measured(case, options.precision, engines, options.rounds, options.forward_only)
    ]
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    machine = {"processor": platform.processor() or platform.machine(), "torch": torch.__version__, "threads": 1}
    print(
        json.dumps({"machine": machine, "engines": engines, "peak_gigabytes": round(peak, 2), "rows": rows}, indent=1)
    )


def measured(case: str, precisions: list[str], engines: dict[str, str], rounds: int, forward_only: bool) -> list[Any]:
    level, batch, width, layers = CASES[case]
    torch.manual_seed(0)
    mesh = icosphere(level)
    graphs = build_graphs(GraphConfig(MultiMeshEdges()), mesh)
    config = ProcessorConfig(num_layers=layers, latent_size=width, hidden_size=width)
    network = EncodeProcessDecode(8, 3, graphs, config, winds=WINDS, grid=mesh)
    torch.nn.init.normal_(network.decoder[-1].weight, std=0.1)
    optimiser = torch.optim.AdamW(network.parameters(), lr=1e-5, fused=True)
    features = torch.randn(batch, graphs.processor.num_receivers, 8)

    def forward(low: bool) -> None:
        with torch.no_grad(), torch.autocast("cpu", torch.bfloat16, enabled=low):
            network(features)

    def training(low: bool) -> None:
        with torch.autocast("cpu", torch.bfloat16, enabled=low):
            output = network(features)
        optimiser.zero_grad()
        output.float().square().mean().backward()
        optimiser.step()

    works: dict[str, Callable[[bool], None]] = {"forward": forward}
    if not forward_only:
        works["training"] = training
    rows = []
    for precision in precisions:
        for name, work in works.items():
            seconds: dict[str, list[float]] = {engine: [] for engine in engines}
            for turn in range(rounds + 1):
                for engine, library in engines.items():
                    with using(library):
                        begun = time.process_time()
                        work(precision == "bf16")
                        spent = time.process_time() - begun
                    if turn:  # the first warms up
                        seconds[engine].append(spent)
            medians = {engine: statistics.median(each) for engine, each in seconds.items()}
            row: dict[str, Any] = {"case": case, "precision": precision, "work": name, "nodes": features.shape[1]}
            row |= {"batch": batch, "width": width}
            for engine, each in seconds.items():
                row[engine] = {
                    "milliseconds": round(1000 * medians[engine], 2),
                    "spread": [round(1000 * min(each), 2), round(1000 * max(each), 2)],
                }
            if "sparse" in medians:
                row["times_faster"] = round(medians["sparse"] / medians["fused"], 2)
            rows.append(row)
    return rows


if __name__ == "__main__":
    main()
