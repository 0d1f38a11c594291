"""The page of what `performance.py` measured, a table a section and a column a device."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from graphs.atomic_file import write_text

Result = Mapping[str, Any]
Row = Mapping[str, Any]
DEVICES = {"cpu": "CPU", "cuda": "GPU"}
TITLES = {
    "layers": "One layer of messages",
    "models": "Networks: a step and an update",
    "nodes": "Time and memory against nodes",
    "members": "Members of one forecast",
    "graphs": "Building graphs",
    "reading": "Reading",
}
TEXTS = {
    "layers": "Milliseconds of a layer alone: forward, and forward with backward, gradients of weights and inputs "
    "included. *Kept* is what it keeps for its gradient in float32 and bfloat16.",
    "models": "Milliseconds of a step of an emulator, normalisation included, and of an update: forward, backward, "
    "Muon. The U-Net has nearly the weights that the default has at level 3. *Memory* is the peak of an update beyond "
    "what weights and graphs hold, in float32 and bfloat16.",
    "nodes": "The default network, width 64, batch 1, all levels taking turns. The slope is that of the logarithms, so "
    "that 1 is proportional.",
    "members": "Milliseconds of a step a member, width 64: what is in one batch must not cost more than alone.",
    "graphs": "From nothing to graphs with features, processor seconds of one core, and the peak of memory.",
    "reading": "A dataset of 50 variables on the N32 grid (8,192 nodes, six-hourly), random windows of two frames, "
    "from the system's cache; processor time.",
}
ON_CPU = ("graphs", "reading")  # whatever the network runs on
INTRODUCTION = (
    "Written by `make bench`; do not edit. Medians of runs that take turns in one process, with quartiles in brackets: "
    "of processor time on a CPU, of the clock on a GPU. The machines are shared, so that only figures of one table "
    "compare. The networks have 6 layers on the multi-mesh of an icosphere, whose level 3 has 642 nodes and each next "
    "four times as many; a dash is what would take too long or too much memory. On a machine with a GPU, "
    "`make bench DEVICE=cuda` fills its part."
)
NOT_RUN = "not run"
# Processes and devices of a training, and the test that runs there; what is not run says what would run it.
WHERE = (
    ("one process, CPU", "auto", "run, every test of `tests/training`"),
    ("two and four processes, CPU, Gloo, by torchrun's variables", "ddp", "run, `tests/training/test_distributed.py`"),
    ("two nodes of a Slurm on this machine, CPU, Gloo", "ddp", "run, `tests/training/test_slurm.py`"),
    ("one GPU", "auto", f"{NOT_RUN}: `pytest tests/training/test_gpu_training.py`"),
    ("two processes on one GPU, Gloo", "ddp", f"{NOT_RUN}: the same"),
    ("two GPUs, NCCL", "ddp", f"{NOT_RUN}: the same"),
    ("several machines", "ddp", NOT_RUN),
    ("any", "fsdp, deepspeed", NOT_RUN),
)
SEVERAL = (
    "Two processes of one thread each against one, by `python benchmarks/data_parallel.py`: seconds of an update, "
    "*whole* with the samples of both in one process, *alone* with its own, *pair* in both, gradients averaged, and "
    "*apart* in both at once without exchange. On two hyperthreads of one core two processes slow each other down "
    "whatever they exchange: there *apart* is what the exchange is measured by."
)


def write_page(path: Path, results: Mapping[str, Result]) -> None:
    """Write the page of the results by device, `cpu` and `cuda`; what is absent is said not to have run."""
    lines = ["# What it costs", "", *_wrapped(INTRODUCTION), "", *_where(results)]
    for section, title in TITLES.items():
        lines += ["", f"## {title}", "", *_wrapped(TEXTS[section])]
        for device, name in DEVICES.items():
            if device != "cpu" and section in ON_CPU:
                continue
            rows = results.get(device, {}).get(section)
            lines += ["", f"*{name}*: {NOT_RUN}."] if rows is None else ["", f"*{name}*", "", *TABLES[section](rows)]
    lines += ["", "## Several processes", "", *_table(("processes", "strategy", "has run"), WHERE)]
    if (pair := results.get("data_parallel")) is not None:
        lines += ["", *_wrapped(SEVERAL), "", *_pair_rows(pair)]
    write_text(path, "\n".join(lines) + "\n")


def _pair_rows(pair: Result) -> list[str]:
    """Return the rows of `data_parallel.py`: seconds of an update, and what two processes gain."""
    heads = [name for name in pair["rows"][0] if name != "measured"]
    rows = [(row["measured"], *(number(row[name]) for name in heads)) for row in pair["rows"]]
    about = f"Level {pair['level']}, width {pair['width']}, {pair['batch']} samples a process; {pair['machine']}."
    return [*_table(("", *heads), rows), "", about]


def _where(results: Mapping[str, Result]) -> list[str]:
    lines = ["## What has run where", "", "| | " + " | ".join(DEVICES.values()) + " |", "|---|" + "---|" * len(DEVICES)]

    def line(label: str, of: Callable[[Result], str]) -> str:
        cells = [of(results[device]) if device in results else NOT_RUN for device in DEVICES]
        return f"| {label} | " + " | ".join(cells) + " |"

    def machine(result: Result) -> str:
        about = result["about"]
        instructions = "with" if about["fast_in_bfloat16"] else "without"
        return f"{about['device']}, {about['threads']} of {about['cores']} cores, {instructions} bfloat16"

    def software(result: Result) -> str:
        return ", ".join(f"{name} {version}" for name, version in result["about"]["versions"].items())

    def extent(section: str) -> Callable[[Result], str]:
        quick = {True: "quick", False: "run"}
        return lambda result: quick[result["about"]["quick"]] if section in result else NOT_RUN

    lines += [line("machine", machine), line("software", software)]
    lines += [line(title.lower(), extent(section)) for section, title in TITLES.items() if section not in ON_CPU]
    cells = [extent(section)(results["cpu"]) if "cpu" in results else NOT_RUN for section in ON_CPU]
    return [
        *lines,
        *(f"| {TITLES[section].lower()} | {cell} | - |" for section, cell in zip(ON_CPU, cells, strict=True)),
    ]


def _wrapped(text: str, width: int = 125) -> list[str]:
    lines = [""]
    for word in text.split():
        if len(lines[-1]) + len(word) >= width:
            lines.append("")
        lines[-1] += f" {word}" if lines[-1] else word
    return lines


def _table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    return [f"| {' | '.join(heads)} |", "|---" * len(heads) + "|", *(f"| {' | '.join(row)} |" for row in rows)]


def number(value: float | None) -> str:
    """Return three digits of a number, thousands with commas; a dash where there is none."""
    if value is None:
        return "-"
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def _time(row: Row | None) -> str:
    if row is None:
        return "-"
    return f"{number(row['ms'])} ({number(row['low'])}-{number(row['high'])})"


def _by(rows: Sequence[Row], *keys: str) -> dict[tuple[Any, ...], dict[tuple[str, str], Row]]:
    """Return rows by these keys, and within them by precision and pass."""
    found: dict[tuple[Any, ...], dict[tuple[str, str], Row]] = {}
    for row in rows:
        found.setdefault(tuple(row[key] for key in keys), {})[row["precision"], row.get("pass", "")] = row
    return found


CELLS = [(precision, what) for what in ("forward", "training") for precision in ("float32", "bfloat16")]
HEADS = [f"{what}, {precision}" for precision, what in CELLS]


def _pair(cells: Mapping[tuple[str, str], Row], key: str) -> str:
    values = [cells.get((precision, "training"), {}).get(key) for precision in ("float32", "bfloat16")]
    return " / ".join(map(number, values))


def _layers(rows: Sequence[Row]) -> list[str]:
    lines = [
        [*map(str, of), *(_time(cells.get(cell)) for cell in CELLS), _pair(cells, "saved_mb")]
        for of, cells in _by(rows, "level", "width", "batch", "name").items()
    ]
    return _table(["level", "width", "batch", "layer of", *HEADS, "kept [MB]"], lines)


def _models(rows: Sequence[Row]) -> list[str]:
    keys = ("level", "width", "batch", "name", "weights")
    lines = [
        [*map(str, of), number(weights / 1e3), *(_time(cells.get(cell)) for cell in CELLS), _pair(cells, "peak_mb")]
        for (*of, weights), cells in _by(rows, *keys).items()
    ]
    return _table(["level", "width", "batch", "network", "weights [1,000]", *HEADS, "memory [MB]"], lines)


def _nodes(rows: Sequence[Row]) -> list[str]:
    measured, slopes = ([row for row in rows if row.get("slope", False) is wanted] for wanted in (False, True))
    lines = [
        [str(level), f"{nodes:,}", *(_time(cells.get(cell)) for cell in CELLS), _pair(cells, "peak_mb")]
        for (level, nodes), cells in _by(measured, "level", "nodes").items()
    ]
    by_cell = {(row["precision"], row["pass"]): row for row in slopes}
    if by_cell:
        first, last = slopes[0]["levels"]
        memory = [by_cell.get((precision, "training"), {}).get("memory") for precision in ("float32", "bfloat16")]
        times = [number(by_cell.get(cell, {}).get("time")) for cell in CELLS]
        lines.append([f"slope, {first} to {last}", "", *times, " / ".join(map(number, memory))])
    return _table(["level", "nodes", *HEADS, "memory [MB]"], lines)


def _members(rows: Sequence[Row]) -> list[str]:
    counts = sorted({row["members"] for row in rows})
    by_run: dict[tuple[Any, ...], dict[int, Row]] = {}
    for row in rows:
        of = tuple(row[key] for key in ("level", "name", "weights", "precision"))
        by_run.setdefault(of, {})[row["members"]] = row
    lines = [
        [str(level), name, number(weights / 1e3), precision, *(_time(cells.get(count)) for count in counts)]
        for (level, name, weights, precision), cells in by_run.items()
    ]
    heads = [f"{count} member{'s' * (count > 1)}" for count in counts]
    return _table(["level", "network", "weights [1,000]", "precision", *heads], lines)


def _graphs(rows: Sequence[Row]) -> list[str]:
    names = {"multi_mesh": "multi-mesh", "grid_to_mesh_and_back": "grid, multi-mesh and grid"}
    lines = []
    for row in rows:
        edges = row["edges"] if isinstance(row["edges"], int) else sum(row["edges"].values())
        cells = [number(row["core_seconds"]), number(row["peak_mib"] * 2**20 / 1e6)]
        lines.append([names[row["part"]], str(row["level"]), f"{edges:,}", *cells])
    return _table(["graphs", "level", "edges", "seconds", "memory [MB]"], lines)


def _reading(rows: Sequence[Row]) -> list[str]:
    lines = [
        [row["what"], _time(row) if "low" in row else number(row["ms"]), number(row["mb_a_second"])] for row in rows
    ]
    return _table(["", "ms", "MB a second"], lines)


TABLES: dict[str, Callable[[Sequence[Row]], list[str]]] = {
    "layers": _layers,
    "models": _models,
    "nodes": _nodes,
    "members": _members,
    "graphs": _graphs,
    "reading": _reading,
}
