"""Pictures of a study of trials: what each setting brought, and which settings matter."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from inference.comparison.record import Trial
from inference.pictures.style import (
    COLOURS,
    PANEL,
    SEQUENTIAL,
    grouped_panels,
    journal,
    new_figure,
    plain_decades,
    save,
)

COLUMNS = 3
LONGEST = 18  # letters of a listed value on an axis
SPREAD = 30.0  # times the best score, above which trials gather at the upper edge


@dataclass(frozen=True)
class TriedAxis:
    """What was tried of one setting.

    name: as in points. log: whether numbers are spread evenly in their logarithm. values: a list of which one is taken,
        in place of a range. whole: no fractions.
    """

    name: str
    log: bool = False
    values: tuple[Any, ...] | None = None
    whole: bool = False


def write_pictures(
    axes: Sequence[TriedAxis],
    trials: Sequence[Trial],
    points: Sequence[Mapping[str, Any]],
    numbers: Sequence[int],
    importances: Mapping[str, float],
    folder: Path,
) -> list[Path]:
    """Write slices.png, and importance.png where importances are known; return their paths, none of too few trials.

    points: of the trials, values by name. numbers: of the trials.
    """
    if sum(math.isfinite(trial.counts_as) for trial in trials) < 2:
        return []
    with journal():
        written = [save(slices(axes, trials, points, numbers), folder / "slices")]
        if importances:
            finished = sum(trial.status in ("done", "diverged") for trial in trials)
            written.append(save(importance_bars(importances, finished), folder / "importance"))
    return written


def slices(
    tried: Sequence[TriedAxis],
    trials: Sequence[Trial],
    points: Sequence[Mapping[str, Any]],
    numbers: Sequence[int],
) -> Figure:
    """Draw what each trial counts as over each setting, a panel a setting: later trials darker, the chosen one ringed.

    Trials that were ended early stand where they were then, open; those that diverged, or are far worse than the best,
    at the upper edge.
    """
    best = min(trial.counts_as for trial in trials)
    known = [_value(trial) for trial in trials]
    top = min(SPREAD * best, 1.3 * max(value for value in known if math.isfinite(value)))
    figure, grid = grouped_panels(len(tried), COLUMNS, PANEL, sharey=True)
    newest = max(max(numbers), 1)
    for panel, axis in zip(grid[0], tried, strict=True):
        for trial, point, number, value in zip(trials, points, numbers, known, strict=True):
            if axis.name in point:
                _mark(panel, _place(axis, point[axis.name]), min(value, top), trial, number / newest, value > top)
        panel.set_yscale("log")
        _label(panel, axis)
    plain_decades(grid[0, 0])
    for row in {panel.get_subplotspec().rowspan.start: panel for panel in reversed(grid[0])}.values():
        row.set_ylabel("validation score")
    _legend(figure, grid[0, 0], newest)
    return figure


def importance_bars(importances: Mapping[str, float], finished: int) -> Figure:
    """Draw the share that each setting has in a trial's being among the best, the largest on top."""
    figure, grid = new_figure(1, 1, (5.2, 0.9 + 0.3 * len(importances)))
    panel, names = grid[0, 0], list(importances)[::-1]
    panel.barh([_short(name) for name in names], [importances[name] for name in names], color=COLOURS[0], height=0.6)
    for place, name in enumerate(names):
        panel.annotate(
            f"{importances[name]:.0%}", (importances[name], place), (4, 0), textcoords="offset points", va="center"
        )
    panel.set_xlim(0, 1.12 * max(importances.values()) or 1.0)
    panel.set_xlabel(f"share in being among the best of {finished} trials that ended")
    panel.grid(axis="y", visible=False)
    panel.xaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
    return figure


def _value(trial: Trial) -> float:
    """Return what a trial counts as; of one that was ended early what it counted as then."""
    if trial.status == "pruned" and trial.rank is not None:
        return trial.rank
    return trial.counts_as


def _mark(panel: Axes, x: float, y: float, trial: Trial, age: float, beyond: bool) -> None:
    from matplotlib import colormaps

    colour = colormaps[SEQUENTIAL](0.9 - 0.9 * age)
    if beyond:
        panel.plot(x, y, "^", color=colour, markersize=5, fillstyle="full" if trial.status == "done" else "none")
    elif trial.status == "pruned":
        panel.plot(x, y, "o", color=colour, markersize=5, fillstyle="none", markeredgewidth=0.9)
    else:
        panel.plot(x, y, "o", color=colour, markersize=5)
    if trial.chosen:
        panel.plot(x, y, "o", color=COLOURS[1], markersize=11, fillstyle="none", markeredgewidth=1.6, zorder=4)


def _place(axis: TriedAxis, value: Any) -> float:
    return float(axis.values.index(value)) if axis.values is not None else float(value)


def _label(panel: Axes, axis: TriedAxis) -> None:
    panel.set_xlabel(_short(axis.name))
    panel.margins(x=0.08)
    if axis.values is not None:
        texts = [str(value) for value in axis.values]
        panel.set_xticks(range(len(texts)), [text[:LONGEST] + "…" * (len(text) > LONGEST) for text in texts])
        panel.set_xlim(-0.5, len(texts) - 0.5)
    elif axis.log:
        panel.set_xscale("log")
    elif axis.whole:
        panel.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=8))


def _short(name: str) -> str:
    """Return the name of a setting without the section that most of them are in."""
    kind, _, path = name.rpartition(":")
    return f"{kind}: {path}" if kind else name.removeprefix("training.").removeprefix("emulator.")


def _legend(figure: Figure, panel: Axes, newest: int) -> None:
    from matplotlib import colormaps
    from matplotlib.lines import Line2D

    early, late = colormaps[SEQUENTIAL](0.9), colormaps[SEQUENTIAL](0.0)
    kinds: dict[str, dict[str, Any]] = {
        "trial 0": {"color": early},
        f"trial {newest}": {"color": late},
        "ended early": {"color": late, "fillstyle": "none"},
        "beyond, diverged": {"color": late, "fillstyle": "none", "marker": "^"},
        "chosen": {"color": COLOURS[1], "fillstyle": "none", "markersize": 10},
    }
    usual = {"marker": "o", "linestyle": "none", "markersize": 5}
    handles = [Line2D([], [], label=label, **{**usual, **style}) for label, style in kinds.items()]
    figure.legend(handles=handles, loc="outside lower center", ncols=len(handles), columnspacing=1.2)
