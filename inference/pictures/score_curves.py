"""Curves of error, skill and drift against lead time, of power against wavenumber, and of a training."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from emulator.scores import ROUNDING
from graphs.errors import MeshcastError
from inference.pictures import style
from inference.pictures.style import COLOURS, PANEL, TRUTH, LineStyle, journal, new_figure, pretty_unit, styles_of
from inference.scores.equivalent_truncation import solver_truncations
from inference.scores.metrics import METRICS
from inference.scores.scorecard import Verification

Array = NDArray[np.float64]
DRIFTS = ("mean_drift", "mean_square_drift")


def metric_curves(verification: Verification, metric: str = "rmse", labels: Sequence[str] | None = None) -> Figure:
    """Return a metric against lead time, one panel a variable, with its interval as a band."""
    shown = [e for e in verification.emulators if metric in e.metrics and (labels is None or e.label in labels)]
    if not shown:
        raise MeshcastError(f"No emulator has the score {metric}.")
    styles, count = styles_of(verification), len(verification.variables)
    with journal():
        figure, (row,) = style.grouped_panels(count, 3, PANEL if count > 1 else (5.0, 3.2))
        for column, (axes, name) in enumerate(zip(row, verification.variables, strict=True)):
            means = [emulator.mean(metric)[:, column] for emulator in shown]
            for emulator, mean in zip(shown, means, strict=True):
                if not np.isfinite(mean).any():
                    continue  # such as the correlation of the climatology, which has no anomaly
                leads, _ = verification.time_step.lead_times(emulator.lead_steps)
                bounds = [bound[:, column] for bound in verification.interval(emulator.label, metric)]
                _curve(axes, leads, mean, emulator.label, styles[emulator.label], bounds)
            axes.set(title=name, ylabel=METRICS[metric].with_unit(pretty_unit(verification.units[column])))
            _reference_line(axes, metric, means)
            style.lead_axis(axes, verification.time_step, shown[0].lead_steps)
        style.legend(figure, row[0])
    return figure


def skill_curves(verification: Verification, baselines: Sequence[str] | None = None) -> Figure:
    """Return skill 1 - RMSE / RMSE of each baseline, by default all, against lead time, with its paired interval.

    One panel a baseline, variables below each other; beside each other where there is one baseline. Above zero the
    emulator is better. Solvers of the truth's equation are left out.
    """
    baselines = verification.baselines if baselines is None else baselines
    if not baselines:
        raise MeshcastError("Skill needs a baseline to be measured against.")
    styles = styles_of(verification)
    others = [e.label for e in verification.emulators if e.label not in verification.baselines]
    solvers = solver_truncations(verification)
    shown = [label for label in others if label not in solvers] or others
    groups = [[(name, baseline) for baseline in baselines] for name in verification.variables]
    groups = [[pair for group in groups for pair in group]] if len(baselines) == 1 else groups
    columns = min(len(groups[0]), 3)
    with journal():
        figure, grid = style.grouped_panels(len(groups[0]), 3, (5.0, 2.9) if columns == 1 else (2.9, 2.5), len(groups))
        for row, group in zip(grid, groups, strict=True):
            for axes, (name, baseline) in zip(row, group, strict=True):
                column = verification.variables.index(name)
                for label in shown:
                    skill = verification.skill(label, baseline)
                    leads, _ = verification.time_step.lead_times(skill.lead_steps)
                    mean, *bounds = (each[:, column] for each in (skill.estimate, skill.lower, skill.upper))
                    _curve(axes, leads, mean, label, styles[label], bounds)
                axes.axhline(0.0, color="black", linewidth=0.8)
                axes.set_title(f"{name}, against {baseline}")
                style.lead_axis(axes, verification.time_step, skill.lead_steps)
            low, high = zip(*(axes.get_ylim() for axes in row), strict=True)
            for place, axes in enumerate(row):
                axes.set_ylim(max(min(low), -1.0), min(max(*high, 0.1), 1.02))
                axes.set_ylabel("skill in RMSE" if place % columns == 0 else "")
                if place + columns < len(group):
                    axes.set_xlabel("")
        style.legend(figure, grid[0][0])
    return figure


def drift_curves(verification: Verification) -> Figure:
    """Return the drift of the area mean, and of the mean square of fields about zero, with the truth's."""
    styles = styles_of(verification)
    shown = [e for e in verification.emulators if "mean_drift" in e.metrics]
    with journal():
        columns = 2 if verification.about_zero.any() else 1
        figure, panels = new_figure(len(verification.variables), columns, PANEL if columns == 2 else (5.0, 3.2))
        for row, (name, unit) in enumerate(zip(verification.variables, verification.units, strict=True)):
            titles = style.with_unit("change of the area mean", unit), "relative change of the mean square"
            for axes, metric, title in zip(panels[row], DRIFTS, titles, strict=False):
                if metric == "mean_square_drift" and not verification.about_zero[row]:
                    axes.remove()
                    continue
                for emulator in shown:
                    leads, _ = verification.time_step.lead_times(emulator.lead_steps)
                    if emulator is shown[0]:
                        _curve(axes, leads, emulator.mean(f"truth_{metric}")[:, row], "truth", TRUTH)
                    _curve(axes, leads, emulator.mean(metric)[:, row], emulator.label, styles[emulator.label])
                axes.set_title(f"{name}, {title}")
                style.lead_axis(axes, verification.time_step, shown[-1].lead_steps)
        style.legend(figure, panels[0][0])
    return figure


def spectrum_curves(verification: Verification, variables: Sequence[str] | None = None) -> Figure:
    """Return power against wavenumber, a row for each variable, a column for the first, middle and last lead time."""
    axis = verification.wavenumbers
    shown = [e for e in verification.emulators if e.power is not None]
    if axis is None or not shown:
        raise MeshcastError(f"There are no spectra on a {verification.mesh.describe()}.")
    steps = shown[0].lead_steps[shown[0].verified.any((0, 2))]
    leads = sorted({int(steps[0]), int(steps[(len(steps) - 1) // 2]), int(steps[-1])})
    styles = styles_of(verification)
    waves = axis.wavenumber > 0
    by_length = verification.mesh.domain.kind == "limited_area"
    x = (axis.wavelength if by_length else axis.wavenumber)[waves]
    with journal():
        names = verification.variables if variables is None else variables
        figure, panels = new_figure(len(names), len(leads), (2.9, 2.9), sharex=True, sharey="row")
        for row, name in zip(panels, names, strict=True):
            column = verification.variables.index(name)
            unit = verification.units[column]
            curves = [
                (e, e.truth_power[:, waves, column], e.power[:, waves, column])
                for e in shown
                if e.truth_power is not None and e.power is not None
            ]
            for axes, lead in zip(row, leads, strict=True):
                axes.set(xscale="log", yscale="log", title=f"{name}, {style.lead_name(verification.time_step, lead)}")
                for emulator, truth, power in curves:
                    for place in np.flatnonzero(emulator.lead_steps == lead):
                        if not axes.lines:
                            axes.plot(x, truth[place], label="truth", **vars(TRUTH))
                        axes.plot(x, power[place], label=style.shown(emulator.label), **vars(styles[emulator.label]))
            square = f"({pretty_unit(unit)})²" if " " in unit else f"{unit}²"
            row[0].set_ylabel("power" if unit == "1" else f"power [{square}]")
            every = np.concatenate([np.ravel(both) for _, *both in curves])
            every = every[np.isfinite(every) & (every > 0)]
            if every.size:  # twelve decades at most: below lies rounding, not physics
                row[0].set_ylim(max(every.min(), every.max() * 1e-12) / 2, every.max() * 3)
        for axes in panels[-1]:
            axes.set_xlabel(f"wavelength [{axis.length_units}]" if by_length else axis.label)
        if by_length:
            panels[0][0].invert_xaxis()
        style.legend(figure, panels[0][0])
    return figure


def loss_curves(log: Path) -> Figure:
    """Draw losses over epochs, and below them the scores of validation rollouts with the best marked, from a CSV log.

    The log has a column `epoch`, columns named `*loss*` and perhaps `*score*`. Rows of one epoch are averaged. Epochs
    count from 0, as in Lightning's log, unless there is a column `update`.
    """
    try:
        table = pd.read_csv(log)
    except (OSError, ValueError) as error:
        raise MeshcastError(f"Cannot read the training log {log}: {error}") from None
    columns = [name for name in table.columns if not name.endswith("_step")]
    losses, marks = ([name for name in columns if kind in name] for kind in ("loss", "score"))
    if "epoch" not in table or not losses:
        raise MeshcastError(f"{log} needs a column `epoch` and one named like `loss`; it has {list(table.columns)}.")
    means = table.groupby("epoch")[losses + marks].mean().replace([np.inf, -np.inf], np.nan)
    means.index = means.index if "update" in table else means.index + 1
    beside = log.with_name("losses.csv")  # a row every few updates
    fine_loss = pd.read_csv(beside, index_col="epoch")["loss"].replace(np.inf, np.nan) if beside.is_file() else None
    shown = [
        (names, label) for names, label in ((losses, "loss"), (marks, "score")) if means[names].notna().any(axis=None)
    ]
    with journal():
        figure, grid = new_figure(max(len(shown), 1), 1, (5.0, 3.2 if len(shown) < 2 else 2.3), sharex=True)
        for axes, (names, label) in zip(grid[:, 0], shown, strict=False):
            for name, color in zip(names, COLOURS if label == "loss" else COLOURS[1:], strict=False):
                curve = (fine_loss if name == "loss" and fine_loss is not None else means[name]).dropna()
                axes.plot(curve.index, curve, color=color, marker="o" if len(curve) < 30 else None, markersize=3)
                axes.lines[-1].set_label("training loss" if name == "loss" else _readable(name))
                if label == "score" and len(curve):
                    best = curve.idxmin()
                    axes.plot(best, curve[best], "o", color=color, markersize=7, fillstyle="none", label="best, kept")
            axes.set_ylabel(label)
            if np.nanmin(means[names].to_numpy()) > 0:
                axes.set_yscale("log")
                style.plain_decades(axes)
            axes.legend()
        grid[-1, 0].set_xlabel("epoch")
        grid[-1, 0].xaxis.get_major_locator().set_params(integer=True)
    return figure


def _readable(column: str) -> str:
    """Return `val_loss_epoch` as `validation loss`."""
    words = column.replace("/", " ").replace("_", " ").removesuffix(" epoch").split()
    full = {"val": "validation", "train": "training"}
    return " ".join(full.get(word, word) for word in words)


def _curve(axes: Axes, leads: Array, values: Array, label: str, look: LineStyle, bounds: Sequence[Array] = ()) -> None:
    marker = "o" if np.isfinite(values).sum() == 1 else None
    axes.plot(leads, values, label=style.shown(label), marker=marker, markersize=3, **vars(look))
    if bounds and np.isfinite(bounds[0]).any():
        axes.fill_between(leads, bounds[0], bounds[1], color=look.color, alpha=0.15, linewidth=0)


def _reference_line(axes: Axes, metric: str, means: Sequence[Array]) -> None:
    """Errors start at zero, or have a logarithmic axis where they differ hundredfold; ratios show what is perfect."""
    about = METRICS[metric]
    if about.better == "nearest":
        axes.axhline(about.perfect or 0.0, color="black", linewidth=0.8)
    elif about.better == "larger":
        axes.set_ylim(top=1.02 * about.perfect if about.perfect else None)
    else:
        values = np.concatenate(means)
        values = values[values > ROUNDING * np.nanmax(values, initial=0.0)]
        if values.size and values.max() > style.MOST_LINEAR * values.min():
            axes.set_yscale("log")
            axes.set_ylim(bottom=values.min() / 1.5)
            style.plain_decades(axes)
        else:
            axes.set_ylim(bottom=0.0)
