"""Curves of scores against lead time: error, skill, drift."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from emulator.scores import ROUNDING
from graphs.errors import MeshcastError
from inference.pictures.style import (
    MOST_LINEAR,
    PANEL,
    LineStyle,
    journal,
    lead_ticks,
    legend,
    new_figure,
    plain_decades,
    pretty_unit,
    styles_of,
)
from inference.scores.equivalent_truncation import solver_truncations
from inference.scores.metrics import METRICS
from inference.scores.scorecard import Verification

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def metric_curves(verification: Verification, metric: str = "rmse", labels: Sequence[str] | None = None) -> Figure:
    """A metric against lead time, one panel a variable, with its interval as a band."""
    shown = [e for e in verification.emulators if metric in e.metrics and (labels is None or e.label in labels)]
    if not shown:
        raise MeshcastError(f"No emulator has the score {metric}.")
    about = METRICS[metric]
    styles = styles_of(verification)
    with journal():
        figure, panels = _variable_panels(verification)
        for column, axes in enumerate(panels):
            for emulator in shown:
                steps = emulator.lead_steps
                lower, upper = verification.interval(emulator.label, metric)
                if not np.isfinite(emulator.mean(metric)[:, column]).any():
                    continue  # such as the correlation of the climatology, which has no anomaly
                _curve(
                    axes, verification, steps, emulator.mean(metric)[:, column], styles[emulator.label], emulator.label
                )
                _band(axes, verification, steps, lower[:, column], upper[:, column], styles[emulator.label])
            own = verification.units[column]
            axes.set_ylabel(about.with_unit(pretty_unit(own)))
            _reference_line(axes, metric, [emulator.mean(metric)[:, column] for emulator in shown])
            lead_ticks(axes, verification.time_step.lead_axis(shown[0].lead_steps)[1])
        legend(figure, panels[0])
    return figure


def skill_curves(verification: Verification, baselines: Sequence[str] | None = None) -> Figure:
    """Return skill 1 - RMSE / RMSE of each baseline against lead time, with its paired interval.

    One panel a baseline, variables below each other; beside each other where there is one baseline. Above zero the
    emulator is better. Solvers of the truth's own equation are left out.

    baselines: all by default.
    """
    baselines = verification.baselines if baselines is None else baselines
    if not baselines:
        raise MeshcastError("Skill needs a baseline to be measured against.")
    styles = styles_of(verification)
    known = {*verification.baselines, *solver_truncations(verification)}
    shown = [e.label for e in verification.emulators if e.label not in known] or [
        e.label for e in verification.emulators if e.label not in verification.baselines
    ]
    groups = [[(name, baseline) for baseline in baselines] for name in verification.variables]
    groups = [[pair for group in groups for pair in group]] if len(baselines) == 1 else groups
    columns = min(len(groups[0]), 3)
    rows = -(-len(groups[0]) // columns)
    with journal():
        panel = (5.0, 2.9) if columns == 1 else (2.9, 2.5)
        figure, grid = new_figure(len(groups) * rows, columns, panel)
        for number, group in enumerate(groups):
            panels = list(grid[number * rows : (number + 1) * rows].ravel())
            for axes in panels[len(group) :]:
                axes.remove()
            for axes, (name, baseline) in zip(panels, group, strict=False):
                column = verification.variables.index(name)
                for label in shown:
                    skill = verification.skill(label, baseline)
                    _curve(axes, verification, skill.lead_steps, skill.estimate[:, column], styles[label], label)
                    bounds = skill.lower[:, column], skill.upper[:, column]
                    _band(axes, verification, skill.lead_steps, *bounds, styles[label])
                axes.axhline(0.0, color="black", linewidth=0.8)
                axes.set_title(f"{name}, against {baseline}")
                lead_ticks(axes, axes.get_xlabel())
            low, high = zip(*(axes.get_ylim() for axes in panels[: len(group)]), strict=True)
            for place, axes in enumerate(panels[: len(group)]):
                axes.set_ylim(max(min(low), -1.0), min(max(*high, 0.1), 1.02))
                axes.set_ylabel("skill in RMSE" if place % columns == 0 else "")
                axes.set_xlabel(axes.get_xlabel() if place + columns >= len(group) else "")
        legend(figure, grid[0][0])
    return figure


def drift_curves(verification: Verification) -> Figure:
    """Drift of the area mean since the initial time, and of the mean square of fields about zero, with the truth's."""
    styles = styles_of(verification)
    shown = [e for e in verification.emulators if "mean_drift" in e.metrics]
    with journal():
        columns = 2 if verification.about_zero.any() else 1
        figure, panels = new_figure(len(verification.variables), columns, PANEL if columns == 2 else (5.0, 3.2))
        for row, (name, unit) in enumerate(zip(verification.variables, verification.units, strict=True)):
            titles = (
                "change of the area mean" + (f" [{pretty_unit(unit)}]" if unit != "1" else ""),
                "relative change of the mean square",
            )
            for axes, metric, title in zip(panels[row], ("mean_drift", "mean_square_drift"), titles, strict=False):
                if metric == "mean_square_drift" and not verification.about_zero[row]:
                    axes.remove()
                    continue
                first = shown[0]
                truth = LineStyle("black", "-", 2.6)
                _curve(
                    axes, verification, first.lead_steps, first.mean(f"truth_{metric}")[:, row], truth, "truth", 0.35
                )
                for emulator in shown:
                    mean = emulator.mean(metric)[:, row]
                    _curve(axes, verification, emulator.lead_steps, mean, styles[emulator.label], emulator.label)
                axes.set_title(f"{name}, {title}")
                lead_ticks(axes, axes.get_xlabel())
        legend(figure, panels[0][0])
    return figure


def _variable_panels(verification: Verification) -> tuple[Figure, list[Axes]]:
    """One panel a variable, at most three beside each other."""
    count = len(verification.variables)
    columns = min(count, 3)
    figure, grid = new_figure(-(-count // columns), columns, PANEL if count > 1 else (5.0, 3.2))
    panels = list(grid.ravel())
    for axes in panels[count:]:
        axes.remove()
    for axes, name in zip(panels, verification.variables, strict=False):
        axes.set_title(name)
    return figure, panels[:count]


def _curve(
    axes: Axes,
    verification: Verification,
    steps: NDArray[np.int64],
    values: NDArray[np.float64],
    style: LineStyle,
    label: str,
    alpha: float = 1.0,
) -> None:
    lead, axis_label = verification.time_step.lead_axis(steps)
    marker = "o" if np.isfinite(values).sum() == 1 else None
    axes.plot(lead, values, label=label, marker=marker, markersize=3, alpha=alpha, **vars(style))
    axes.set_xlabel(axis_label)


def _band(
    axes: Axes,
    verification: Verification,
    steps: NDArray[np.int64],
    lower: NDArray[np.float64],
    upper: NDArray[np.float64],
    style: LineStyle,
) -> None:
    if np.isfinite(lower).any():
        lead, _ = verification.time_step.lead_axis(steps)
        axes.fill_between(lead, lower, upper, color=style.color, alpha=0.15, linewidth=0)


def _reference_line(axes: Axes, metric: str, means: Sequence[NDArray[np.float64]]) -> None:
    """Errors start at zero, or have a logarithmic axis where they differ hundredfold; ratios show what is perfect."""
    about = METRICS[metric]
    if about.better == "nearest":
        axes.axhline(about.perfect or 0.0, color="black", linewidth=0.8)
    elif about.better == "larger":
        axes.set_ylim(top=1.02 * about.perfect if about.perfect else None)
    else:
        values = np.concatenate(means)
        values = values[values > ROUNDING * np.nanmax(values, initial=0.0)]
        if values.size and values.max() > MOST_LINEAR * values.min():
            axes.set_yscale("log")
            axes.set_ylim(bottom=values.min() / 1.5)
            plain_decades(axes)
        else:
            axes.set_ylim(bottom=0.0)
