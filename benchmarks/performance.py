"""What layers, networks, graphs and reading cost on this machine, as JSON and as a page.

    make bench
    python benchmarks/performance.py --quick --output performance.json
    python benchmarks/performance.py --sections models --levels 5 --widths 128 --names 'kernel messages'

Each row of the result is a median, with the quartiles, of runs that take turns with those of its rivals in one process:
processor time on a CPU, one thread, and the clock's on a GPU. Combinations of nodes, batch and width beyond
`--most-work` are left out. Sections that are not run stay as the output has them, where machine and versions are the
same; `--page` writes a page of the results of all devices that lie beside it.
"""

from __future__ import annotations

import argparse
import ctypes
import gc
import itertools
import json
import math
import os
import platform
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from statistics import median, quantiles
from time import perf_counter, process_time
from typing import Any

import numpy as np
import torch
from performance_page import ON_CPU, write_page
from torch import Tensor, nn

from emulator.build import build_network, package_versions
from emulator.data.datasets.create import create_dataset
from emulator.data.sources import open_fields
from emulator.foundation.freed_memory import keep_freed_memory
from emulator.foundation.low_precision import Precision, fast_in_bfloat16
from emulator.foundation.time_step import TimeStep
from emulator.networks.config import NetworkConfig
from emulator.networks.gnn import GNNConfig, ProcessorConfig
from emulator.networks.processors.graph_transformer import AnemoiGraphTransformerConfig
from emulator.networks.processors.interaction import AnemoiGraphConvolutionConfig, GraphCastConfig
from emulator.networks.processors.pyg import PyGConfig
from emulator.networks.unet import UNetConfig
from emulator.neural import NeuralEmulator, in_precision
from emulator.parameter_budget import with_parameters
from emulator.state import State
from emulator.task import Task, Variable
from graphs.atomic_file import write_text
from graphs.edges.build import GraphConfig, MultiMeshEdges
from graphs.errors import MeshcastError
from graphs.meshes.grids import GaussianGrid, build_grid
from graphs.meshes.icosphere import icosphere
from training.optimisation.optimiser import optimiser_of

HERE = Path(__file__).resolve().parent
RESULTS = HERE.parent / "results" / "performance"
SECTIONS = ("layers", "models", "nodes", "members", "graphs", "reading")
Key = tuple[str, ...]  # of a run: who, in what precision, and what it does
Run = Callable[[], object]
Runs = dict[Key, Run]
PRECISIONS: tuple[Precision, ...] = ("float32", "bfloat16")
BATCH = {3: 8, 4: 4, 5: 2}  # of a training step by level, beyond which it is one
MEMBERS = (1, 16, 50)
NUM_LAYERS = 6
MOST_ROUNDS, FEWEST_ROUNDS = 15, 3
FLOW = Task(
    (
        Variable("h", "prognostic", "m"),
        Variable("u", "prognostic", "m s-1", partner="v"),
        Variable("v", "prognostic", "m s-1", partner="u"),
        Variable("sin_latitude", "static"),
        Variable("cos_latitude", "static"),
    ),
    TimeStep.parse("3h"),
)


@dataclass(frozen=True)
class Rival:
    """A network to time.

    config: by level of the icosphere, width and number of layers.
    work: in units of the default's for as many nodes and features; what takes more is timed at fewer sizes.
    layer: whether one layer of messages is timed alone as well.
    equal_weights: of a width at which it has most nearly the weights that the default has at level 3, in
        place of the width given; the default has more at each next level, whose edges are of one more length.
    """

    name: str
    config: Callable[[int, int, int], NetworkConfig]
    work: float = 16.0
    layer: bool = True
    equal_weights: bool = False


def _graph_network(processor_config: Callable[..., Any], **settings: Any) -> Callable[[int, int, int], NetworkConfig]:
    def config(level: int, width: int, num_layers: int) -> NetworkConfig:
        processor = processor_config(num_layers=num_layers, latent_size=width, hidden_size=width, **settings)
        return GNNConfig(graph=GraphConfig(MultiMeshEdges()), processor=processor)

    return config


def _unet(level: int, width: int, num_layers: int) -> NetworkConfig:
    return UNetConfig(num_levels=2, grid=GaussianGrid(number=3 * 2 ** (level - 1)))


RIVALS = (  # the first is the default; a network of any other kind is one more line
    Rival("kernel messages", _graph_network(ProcessorConfig), work=1.0),
    Rival("interaction layers", _graph_network(ProcessorConfig, kind="interaction")),
    Rival("GraphCast", _graph_network(GraphCastConfig)),
    Rival("Anemoi's graph convolution", _graph_network(AnemoiGraphConvolutionConfig)),
    Rival("Anemoi's graph transformer", _graph_network(AnemoiGraphTransformerConfig)),
    Rival("GATv2Conv of PyTorch Geometric", _graph_network(PyGConfig, layer="GATv2Conv"), work=32.0),
    Rival("U-Net", _unet, work=4.0, layer=False, equal_weights=True),
)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a minute or two: level 3, 50 times less work")
    parser.add_argument(
        "--sections", nargs="+", choices=SECTIONS, help="all by default, on a GPU what it has a part in"
    )
    parser.add_argument("--levels", type=int, nargs="+", default=[3, 4, 5, 6, 7], help="of the icosphere")
    parser.add_argument("--widths", type=int, nargs="+", default=[64, 128, 256])
    parser.add_argument("--names", nargs="+", choices=[rival.name for rival in RIVALS], help="time these alone")
    parser.add_argument("--most-work", type=float, help="nodes * batch * width² of the default's runs at most")
    parser.add_argument("--seconds", type=float, help="for the runs of a group of rivals, three each at least")
    parser.add_argument("--device", default="cpu", help="cpu, cuda")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--output", type=Path, help="JSON; standard output where not given")
    parser.add_argument("--page", type=Path, help="write this page from the results of all devices")
    given = parser.parse_args(arguments)

    torch.set_num_threads(given.threads)
    keep_freed_memory()
    bench = Bench(
        device=given.device,
        levels=[3] if given.quick else given.levels,
        widths=[64] if given.quick else given.widths,
        rivals=[rival for rival in RIVALS if given.names is None or rival.name in given.names],
        most_work=given.most_work or (3.4e8 if given.quick else 1.4e9),
        seconds=given.seconds or (2.0 if given.quick else 8.0),
    )
    result = kept_from(given.output, about(given.device, given.threads, given.quick))
    sections = given.sections or [one for one in SECTIONS if given.device == "cpu" or one not in ON_CPU]
    for section in sections:
        begun = perf_counter()
        result[section] = getattr(bench, section)()
        print(f"{section}: {perf_counter() - begun:.0f} s", file=sys.stderr)
        if given.output is not None:
            given.output.parent.mkdir(parents=True, exist_ok=True)
            write_text(given.output, json.dumps(result, indent=1) + "\n")
    if given.output is None:
        print(json.dumps(result, indent=1))
    if given.page is not None:
        folder = (given.output or RESULTS / "cpu.json").parent
        write_page(given.page, {path.stem: json.loads(path.read_text()) for path in sorted(folder.glob("*.json"))})


def kept_from(output: Path | None, about: dict[str, Any]) -> dict[str, Any]:
    """Return a result to fill: with the sections of an earlier run into the same file, where they hold for the same."""
    earlier = json.loads(output.read_text()) if output is not None and output.exists() else {}
    return earlier if earlier.get("about") == about else {"about": about}


def about(device: str, threads: int, quick: bool) -> dict[str, Any]:
    """What the figures hold for."""
    processor = platform.processor() or platform.machine()
    described = Path("/proc/cpuinfo")
    if described.exists():
        names = [line.split(":", 1)[1].strip() for line in described.read_text().splitlines() if "model name" in line]
        processor = names[0] if names else processor
    return {
        "device": torch.cuda.get_device_name(device) if device.startswith("cuda") else processor,
        "fast_in_bfloat16": fast_in_bfloat16(device),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "threads": threads,
        "quick": quick,
        "clock": "wall" if device.startswith("cuda") else "processor",
        "versions": package_versions(),
    }


@dataclass
class Bench:
    """All sections, each a list of rows."""

    device: str
    levels: Sequence[int]
    widths: Sequence[int]
    rivals: Sequence[Rival]
    most_work: float
    seconds: float

    def layers(self) -> list[dict[str, Any]]:
        """The first layer of messages of each network alone: forward, and a training step's forward and backward."""
        rows = []
        for level, width, batch in self._sizes():
            runs: Runs = {}
            facts: dict[Key, dict[str, Any]] = {}
            for rival in (rival for rival in self._rivals(level, width, batch) if rival.layer):
                emulator = self._emulator(rival, level, width, num_layers=1)
                for precision in PRECISIONS:
                    layer = handed(emulator.network, self._forecast_run(emulator, precision, batch))
                    key = rival.name, precision
                    runs[*key, "forward"], runs[*key, "training"] = self._layer_runs(layer, precision)
                    facts[*key, "training"] = {"saved_mb": self._saved_mb(layer, precision)}
            rows += self._rows(runs, facts, level, width, batch)
        return rows

    def models(self) -> list[dict[str, Any]]:
        """Whole networks: a step of an emulator, and an update, optimiser included."""
        rows = []
        for level, width, batch in self._sizes():
            emulators = {one.name: self._emulator(one, level, width) for one in self._rivals(level, width, batch)}
            runs: Runs = {}
            for name, emulator in emulators.items():
                runs |= self._model_runs(name, emulator, batch)
            facts = {key: {"weights": _num_weights(emulators[key[0]])} for key in runs}
            rows += self._rows(runs, facts, level, width, batch, peaks=True)
        return rows

    def nodes(self) -> list[dict[str, Any]]:
        """The default network, batch 1, width 64, at all levels in turn: how time and memory grow with the nodes."""
        runs: Runs = {}
        for level in self.levels:
            if icosphere(level).num_nodes * 64**2 <= self.most_work:
                runs |= self._model_runs(str(level), self._emulator(RIVALS[0], level, 64), 1)
        found = [
            {
                "level": int(level),
                "nodes": icosphere(int(level)).num_nodes,
                "precision": precision,
                "pass": what,
                **times,
                "peak_mb": self._peak_mb(runs[level, precision, what]),
            }
            for (level, precision, what), times in self._timed(runs).items()
        ]
        return [*found, *slopes(found)]

    def members(self) -> list[dict[str, Any]]:
        """A step of a forecast with 1, 16 and 50 members, a member's share of it."""
        rows = []
        for level in self.levels:
            runs: Runs = {}
            emulators = {one.name: self._emulator(one, level, 64) for one in self._rivals(level, 64, 1)}
            for count in MEMBERS:
                for rival in self._rivals(level, 64, max(1, count / 2)):
                    for precision in PRECISIONS:
                        run = self._forecast_run(emulators[rival.name], precision, 1, count)
                        runs[rival.name, precision, str(count)] = run
            for (name, precision, count), times in self._timed(runs).items():
                each = {key: value / int(count) if key != "rounds" else value for key, value in times.items()}
                at = {"name": name, "weights": _num_weights(emulators[name]), "level": level, "members": int(count)}
                rows.append({**at, "precision": precision, **each})
        return rows

    def graphs(self) -> list[dict[str, Any]]:
        """The multi-mesh of each level, and a grid linked to it, each in a process of its own."""
        rows = []
        for part, levels in (("multi_mesh", self.levels), ("grid_to_mesh_and_back", [max(3, max(self.levels) - 1)])):
            for level in levels:
                spacing = 90 / 2**level  # of a grid somewhat finer than the mesh
                command = [sys.executable, str(HERE / "graph_building.py"), "--only", part, "--repeat", "3"]
                command += ["--level", str(level), "--spacing", str(spacing)]
                done = subprocess.run(command, check=True, capture_output=True, text=True)
                rows.append({"part": part, "level": level, **json.loads(done.stdout)})
        return rows

    def reading(self) -> list[dict[str, Any]]:
        """A dataset of 50 variables on the N32 grid: windows of two frames read at random, and what writing took."""
        import xarray as xr

        mesh, frames, names = build_grid(GaussianGrid(number=32)), 24, [f"v{number:02d}" for number in range(50)]
        rng, start, shape = np.random.default_rng(0), np.datetime64("2000-01-01", "ns"), (frames, 1, mesh.num_nodes)
        times = start + np.timedelta64(6, "h") * np.arange(frames)
        fields = xr.Dataset({}, {"time": times, "number": [0]})
        for name in names:  # of some twelve bits each, as packed in GRIB
            values = (np.round(rng.standard_normal(shape) * 512) / 512).astype(np.float32)
            fields[name] = ("time", "number", "cell"), values, {"units": "1"}
        size = 4.0 * len(names) * math.prod(shape)
        wanted = {"all 50 variables": names, "5 of 50 variables": names[::10]}
        firsts = itertools.cycle(rng.integers(0, frames - 2, 1_000).tolist())
        with tempfile.TemporaryDirectory() as folder:
            path, step = Path(folder) / "many.zarr", TimeStep.parse("6h")
            begun = process_time()
            create_dataset(path, fields, mesh=mesh, time_step=step, ensemble_axis="member", attributes={})
            written = process_time() - begun
            opened = open_fields(str(path))

            def window(chosen: Sequence[str]) -> object:
                first = next(firsts)
                return opened.read(slice(first, first + 2), chosen, 0)

            runs = {(what,): partial(window, chosen) for what, chosen in wanted.items()}
            found = self._timed(runs, processor=True)
        rows = []
        for (what,), taken in found.items():
            rate = 8.0 * len(wanted[what]) * mesh.num_nodes / 1e3 / taken["ms"]
            rows.append({"what": f"a window of two frames, {what}", **taken, "mb_a_second": rate})
        rows.append({"what": f"writing {size / 1e6:.0f} MB", "ms": 1e3 * written, "mb_a_second": size / 1e6 / written})
        return rows

    # What is built and run -------------------------------------------------------------------------------------------

    def _rivals(self, level: int, width: int, batch: float) -> list[Rival]:
        work = icosphere(level).num_nodes * batch * width**2
        return [rival for rival in self.rivals if work * rival.work <= self.most_work]

    def _sizes(self) -> Iterator[tuple[int, int, int]]:
        """Yield level, width and batch of a training step, those within `most_work`."""
        for level in self.levels:
            for width in self.widths:
                batch = BATCH.get(level, 1)
                if self._rivals(level, width, batch):
                    yield level, width, batch

    def _emulator(self, rival: Rival, level: int, width: int, num_layers: int = NUM_LAYERS) -> NeuralEmulator:
        mesh = icosphere(level)
        torch.manual_seed(0)
        config = rival.config(level, width, num_layers)
        if rival.equal_weights:
            config = equal_weights(config, RIVALS[0].config(level, width, num_layers))
        emulator = build_network(config, FLOW, mesh, len(FLOW.static))
        for weight in emulator.parameters():  # a layer of zeros is no work
            if not weight.any():
                nn.init.normal_(weight, std=0.02)
        return emulator.to(self.device)

    def _state(self, emulator: NeuralEmulator, batch: int, members: int = 1) -> tuple[State, Tensor]:
        shape = batch, members, 1, emulator.mesh.num_nodes, 3
        values = torch.randn(shape, generator=torch.Generator().manual_seed(0)).to(self.device)
        forcing = torch.zeros(batch, 2, emulator.mesh.num_nodes, 0, device=self.device)
        return State(values, np.zeros(batch, dtype=np.int64)), forcing

    def _forecast_run(self, emulator: NeuralEmulator, precision: Precision, batch: int, members: int = 1) -> Run:
        low, (state, forcing) = in_precision(emulator, precision), self._state(emulator, batch, members)

        @torch.no_grad()
        def step() -> object:
            return low.step(state, forcing)

        return step

    def _training_run(self, emulator: NeuralEmulator, precision: Precision, batch: int) -> Run:
        optimiser, (state, forcing) = optimiser_of("muon", emulator, 1e-3, 1e-4), self._state(emulator, batch)

        def update() -> None:
            optimiser.zero_grad()
            with self._autocast(precision):
                loss = (emulator.step(state, forcing)[0].now - state.now).square().mean()
            loss.backward()
            optimiser.step()

        return update

    def _model_runs(self, name: str, emulator: NeuralEmulator, batch: int) -> Runs:
        runs: Runs = {}
        for precision in PRECISIONS:
            runs[name, precision, "forward"] = self._forecast_run(emulator, precision, batch)
            runs[name, precision, "training"] = self._training_run(emulator, precision, batch)
        return runs

    def _layer_runs(self, layer: Layer, precision: Precision) -> tuple[Run, Run]:
        learned = [value.detach().clone().requires_grad_() if _is_float(value) else value for value in layer.inputs]

        @torch.no_grad()
        def forward() -> object:
            with self._autocast(precision):
                return layer.call(*layer.inputs)

        def training() -> None:
            layer.module.zero_grad()
            for value in learned:
                if isinstance(value, Tensor):
                    value.grad = None
            with self._autocast(precision):
                output = layer.call(*learned)
            output.backward(torch.ones_like(output))

        return forward, training

    def _autocast(self, precision: Precision) -> Any:
        if precision == "float32":
            return nullcontext()
        return torch.autocast(torch.device(self.device).type, dtype=torch.bfloat16)

    # What is measured ------------------------------------------------------------------------------------------------

    def _rows(
        self, runs: Runs, facts: Mapping[Key, dict[str, Any]], level: int, width: int, batch: int, peaks: bool = False
    ) -> list[dict[str, Any]]:
        at = {"level": level, "nodes": icosphere(level).num_nodes, "width": width, "batch": batch}
        rows = []
        for key, times in self._timed(runs).items():
            name, precision, what = key
            peak = {"peak_mb": self._peak_mb(runs[key])} if peaks and what == "training" else {}
            rows.append(
                {"name": name, **at, "precision": precision, "pass": what, **facts.get(key, {}), **times, **peak}
            )
        return rows

    def _timed(self, runs: Runs, processor: bool = False) -> dict[Key, dict[str, float]]:
        """Return the median and the quartiles of each run's milliseconds, all runs taking turns."""
        taken: dict[Key, list[float]] = {key: [] for key in runs}
        begun = perf_counter()
        for run in runs.values():  # the first is slow: memory is allocated, kernels are chosen
            run()
        rounds = int(self.seconds / max(perf_counter() - begun, 1e-9))
        for _ in range(min(max(rounds, FEWEST_ROUNDS), MOST_ROUNDS)):
            for key, run in runs.items():
                taken[key].append(self._milliseconds(run, processor))
        return {key: _spread(times) for key, times in taken.items()}

    def _milliseconds(self, run: Run, processor: bool) -> float:
        on_gpu = self.device.startswith("cuda") and not processor
        clock = perf_counter if on_gpu else process_time
        if on_gpu:
            torch.cuda.synchronize()
        begun = clock()
        run()
        if on_gpu:
            torch.cuda.synchronize()
        return 1e3 * (clock() - begun)

    def _peak_mb(self, run: Run) -> float | None:
        """Return the memory that a run takes at its peak beyond what was taken before; None where nobody tells."""
        gc.collect()
        if self.device.startswith("cuda"):
            torch.cuda.reset_peak_memory_stats()
            before = torch.cuda.memory_allocated()
            run()
            return round((torch.cuda.max_memory_allocated() - before) / 1e6, 1)
        forget = Path("/proc/self/clear_refs")
        if not forget.exists():
            return None
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
        if trim is not None:
            trim(0)  # freed blocks that are kept would hide what is taken anew
        forget.write_text("5")  # the peak starts again from here
        before = _resident("VmRSS")
        run()
        return round(_resident("VmHWM") - before, 1)

    def _saved_mb(self, layer: Layer, precision: Precision) -> float:
        """Return the megabytes of activations that a layer keeps for its gradient, weights and constants aside."""
        own = {tensor.untyped_storage().data_ptr() for tensor in [*layer.module.parameters(), *layer.module.buffers()]}
        own |= {value.untyped_storage().data_ptr() for value in layer.inputs if isinstance(value, Tensor)}
        kept: dict[int, int] = {}

        def keep(tensor: Tensor) -> Tensor:
            if tensor.layout == torch.strided and tensor.is_floating_point():
                kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor), self._autocast(precision):
            output = layer.call(*layer.inputs)
        del output
        return round(sum(size for place, size in kept.items() if place not in own) / 1e6, 1)


@dataclass(frozen=True)
class Layer:
    """A layer of messages, how the network calls it, and with what."""

    module: nn.Module
    call: Callable[..., Tensor]
    inputs: tuple[Any, ...]


def handed(network: Any, run: Run) -> Layer:
    """Return the first layer of a graph network's processor as a run of the network calls it, for the whole batch."""
    found: list[Layer] = []
    passed = network._passed

    def spy(module: nn.Module, *inputs: Any) -> Tensor:
        if module is network.processor[0]:
            found.append(Layer(module, partial(passed, module), inputs))
        return passed(module, *inputs)

    network._passed, network._at_once = spy, len
    run()
    del network._passed, network._at_once
    return found[0]


def equal_weights(config: NetworkConfig, like: NetworkConfig) -> NetworkConfig:
    """Return a configuration of the width at which its network has most nearly the weights of another's at level 3."""
    mesh = icosphere(3)

    def count(one: NetworkConfig) -> int:
        if isinstance(one, UNetConfig):
            one = replace(one, grid=GaussianGrid(number=12))
        return _num_weights(build_network(one, FLOW, mesh, len(FLOW.static)))

    return with_parameters(config, count(like), count)


def slopes(rows: Sequence[Mapping[str, Any]], lowest_level: int = 5) -> list[dict[str, Any]]:
    """Return the least-squares slope of the logarithm of time, and of memory, against that of nodes, by run."""
    found = []
    for precision in PRECISIONS:
        for what in ("forward", "training"):
            of = [row for row in rows if (row["precision"], row["pass"]) == (precision, what)]
            of = [row for row in of if row["level"] >= lowest_level]
            if len(of) < 2:
                continue
            row: dict[str, Any] = {"slope": True, "levels": [of[0]["level"], of[-1]["level"]], "precision": precision}
            row |= {"pass": what, "time": _slope([one["nodes"] for one in of], [one["ms"] for one in of])}
            if all(one["peak_mb"] for one in of):
                row["memory"] = _slope([one["nodes"] for one in of], [one["peak_mb"] for one in of])
            found.append(row)
    return found


def _is_float(value: object) -> bool:
    return isinstance(value, Tensor) and value.is_floating_point()


def _num_weights(emulator: NeuralEmulator) -> int:
    return sum(weight.numel() for weight in emulator.parameters())


def _slope(nodes: Sequence[float], values: Sequence[float]) -> float:
    return round(float(np.polyfit(np.log(nodes), np.log(values), 1)[0]), 3)


def _spread(times: Sequence[float]) -> dict[str, float]:
    low, _, high = quantiles(times, n=4, method="inclusive")
    return {"ms": median(times), "low": low, "high": high, "rounds": len(times)}


def _resident(which: str) -> float:
    """Return VmRSS or VmHWM of this process in megabytes."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{which}:"):
            return int(line.split()[1]) * 1024 / 1e6
    raise MeshcastError(f"/proc/self/status does not say {which}.")


if __name__ == "__main__":
    main()
