"""The picture of `break_even.py`: error against cost at each lead, and what a forecast costs in all by its length."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from matplotlib.axes import Axes

from graphs.atomic_file import atomic_file
from inference.pictures.style import COLOURS, journal, new_figure

T = TypeVar("T")
SOLVERS = "#4d4d4d"
APART = 1.35  # ratio of cost or error from which two names have room beside each other
MARKERS = {"float32": "o", "bfloat16": "s"}


def draw(result: Mapping[str, Any], path: Path) -> None:
    """Draw a result of `break_even.py`."""
    rows = result["rows"]
    solvers, emulators = ([row for row in rows if row["family"] == family] for family in ("solver", "emulator"))
    leads = list(emulators[0]["errors"])
    names = list(dict.fromkeys(row["label"].split(", seed")[0] for row in emulators))
    colours = {name: COLOURS[number % len(COLOURS)] for number, name in enumerate(names)}
    with journal():
        figure, axes = new_figure(2, len(leads), panel=(3.0, 2.7), sharey="row")
        for axis, lead in zip(axes[0], leads, strict=True):
            _errors(axis, lead, solvers, emulators, colours, result["unit"])
        for axis, lead in zip(axes[1], leads, strict=True):
            _totals(axis, lead, emulators, colours, result["unit"])
        axes[0, 0].set_ylabel("error over standard deviation" if result["unit"] == "day" else "nRMSE")
        axes[1, 0].set_ylabel("processor time in all [s]")
        handles = {
            text: handle
            for axis in axes.ravel()
            for handle, text in zip(*axis.get_legend_handles_labels(), strict=True)
        }
        figure.legend(handles.values(), handles.keys(), loc="outside lower center", ncols=4)
        with atomic_file(path) as part:
            figure.savefig(part, format=path.suffix[1:] or "png")


def _errors(
    axis: Axes,
    lead: str,
    solvers: Sequence[Mapping[str, Any]],
    emulators: Sequence[Mapping[str, Any]],
    colours: Mapping[str, str],
    unit: str,
) -> None:
    cheapest_first = sorted(solvers, key=lambda row: (row["seconds"], row["errors"][lead]))
    shown = [row for row in unsurpassed(cheapest_first, lambda row: row["errors"][lead]) if row["errors"][lead] > 0]
    points = np.array([(1000 * row["seconds"], row["errors"][lead]) for row in shown])
    axis.plot(*points.T, "-", color=SOLVERS, marker=".", label="solvers, the cheapest of each error")
    named: set[str] = set()
    last = (points[0, 0] / APART, points[0, 1])
    for row, (x, y) in zip(shown, points, strict=True):
        if row["label"] in named or max(x / last[0], last[1] / y) < APART:
            continue  # a longer step of the same solver, or no room
        named.add(row["label"])
        last = (x, y)
        axis.annotate(row["label"], (x, y), (3, 3), textcoords="offset points", fontsize=6, color=SOLVERS)
    for row in emulators:
        name, precision = row["label"].split(", seed")[0], row["about"]["precision"]
        axis.plot(
            1000 * row["seconds"],
            row["errors"][lead],
            MARKERS[precision],
            color=colours[name],
            markersize=4,
            fillstyle="full" if precision == "float32" else "none",
            linestyle="none",
            label=f"{name}, {precision}",
        )
    lowest = min(error for row in [*emulators, shown[0]] for error in row["errors"].values())
    axis.set(xscale="log", yscale="log", ylim=(lowest / 5.0, 2.0), xlabel=f"ms a {unit} and trajectory")
    axis.set_title(f"after {lead} {unit}{'' if lead == '1' else 's'}")


def unsurpassed(solvers: Iterable[T], error: Callable[[T], float]) -> list[T]:
    """Return those of solvers, the cheapest first, that err less than every cheaper one."""
    best: list[T] = []
    for solver in solvers:
        if not best or error(solver) < error(best[-1]):
            best.append(solver)
    return best


def _totals(
    axis: Axes, lead: str, emulators: Sequence[Mapping[str, Any]], colours: Mapping[str, str], unit: str
) -> None:
    length = np.geomspace(1e3, 1e7, 200)
    seen = set()
    for row in emulators:
        name, precision = row["label"].split(", seed")[0], row["about"]["precision"]
        if (name, precision) in seen:  # one seed of each, so that lines can be told apart
            continue
        seen.add((name, precision))
        payment = next(payment for payment in row["pays"] if payment["lead"] == lead)
        dashes = "-" if precision == "float32" else (0, (4, 1.5))
        total = sum(row["once"].values()) + row["seconds"] * length
        axis.plot(length, total, linestyle=dashes, color=colours[name], label=f"{name}, {precision}, in all")
        axis.plot(length, payment["solver_seconds"] * length, ":", color=SOLVERS, label="solver of equal error")
        if payment["days"] is not None:
            axis.plot(payment["days"], payment["solver_seconds"] * payment["days"], "k|", markersize=8)
    axis.set(xscale="log", yscale="log", xlim=(length[0], length[-1]), xlabel=f"{unit}s forecast")
