"""Curves of scores: skill and error by lead time, loss by epoch, spectra, drift."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from emulator.foundation.time_step import TimeStep
from emulator.scores import ROUNDING
from graphs.errors import MeshcastError
from inference.scores.equivalent_truncation import solver_truncations
from inference.scores.metrics import METRICS
from inference.scores.scorecard import ForecastScores, Verification

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Okabe and Ito (2008), Color universal design: told apart with any colour vision.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000")
GREYS = ("#4d4d4d", "#808080", "#a6a6a6")
BROWNS = ("#fec44f", "#fe9929", "#d95f0e", "#993404", "#662506")  # Brewer (2003), YlOrBr
DASHES: tuple[Any, ...] = ((0, (5, 2)), (0, (1, 1.5)), (0, (5, 2, 1, 2)), (0, (8, 3)), (0, (3, 1, 1, 1, 1, 1)))
SUPERSCRIPTS = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
PANEL = (3.8, 2.9)  # width and height of one panel [inch]
DPI = 150
MOST_LINEAR = 100.0  # largest over smallest error that a linear axis can still show


@dataclass(frozen=True)
class LineStyle:
    """How one emulator looks in every plot."""

    color: str
    linestyle: Any = "-"
    linewidth: float = 1.6


def line_styles(labels: Sequence[str], baselines: Sequence[str], solvers: Sequence[str] = ()) -> dict[str, LineStyle]:
    """Emulators in colour and solid, baselines in grey and dashed, the same in every plot.

    solvers: one equation's at rising truncation, in browns from light to dark.
    """
    styles, shade, colour = {}, 0, 0
    for label in labels:
        if label in solvers:
            darkness = solvers.index(label) / max(len(solvers) - 1, 1)
            styles[label] = LineStyle(BROWNS[round(darkness * (len(BROWNS) - 1))], "-", 1.3)
        elif label in baselines:
            styles[label] = LineStyle(GREYS[shade % len(GREYS)], DASHES[shade % len(DASHES)], 1.3)
            shade += 1
        else:
            dash = "-" if colour < len(COLOURS) else DASHES[colour // len(COLOURS) % len(DASHES)]
            styles[label] = LineStyle(COLOURS[colour % len(COLOURS)], dash)
            colour += 1
    return styles


@contextmanager
def journal() -> Iterator[None]:
    """Type, lines and layout of every figure; no display is needed, and the user's own settings come back after."""
    from matplotlib import rc_context

    with rc_context(
        {
            "font.size": 9,
            "axes.titlesize": 9,
            "axes.labelsize": 9,
            "legend.fontsize": 8,
            "legend.frameon": False,
            "legend.handlelength": 2.4,
            "xtick.labelsize": 8,
            "ytick.labelsize": 8,
            "axes.spines.top": False,
            "axes.spines.right": False,
            "axes.linewidth": 0.7,
            "axes.titlelocation": "left",
            "axes.grid": True,
            "grid.linewidth": 0.4,
            "grid.color": "#dddddd",
            "axes.axisbelow": True,
            "axes.formatter.useoffset": False,
        }
    ):
        yield


def new_figure(rows: int, columns: int, panel: tuple[float, float] = PANEL, **options: Any) -> tuple[Figure, Any]:
    """A figure that no window manager holds, and its axes [row, column]."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(panel[0] * columns, panel[1] * rows), dpi=DPI, layout="constrained")
    FigureCanvasAgg(figure)
    return figure, figure.subplots(rows, columns, squeeze=False, **options)


def save(figure: Figure, path: Path, *, vector: bool = False) -> Path:
    """PATH.png, and with `vector` also PATH.pdf with TrueType fonts embedded, as journals ask for."""
    from matplotlib import rc_context

    png = path.with_name(f"{path.name}.png")
    figure.savefig(png)
    if vector:
        figure.set_layout_engine("none")  # it stands; to seek it again costs as much as to draw
        with rc_context({"pdf.fonttype": 42}):
            figure.savefig(path.with_name(f"{path.name}.pdf"), metadata={"CreationDate": None})
    return png


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


def skill_curves(verification: Verification) -> Figure:
    """Skill 1 - RMSE / RMSE of each baseline against lead time, with its paired interval; one panel a baseline.

    Variables below each other. Above zero the emulator is better. Solvers of the truth's own equation are left out.
    """
    if not verification.baselines:
        raise MeshcastError("Skill needs a baseline to be measured against.")
    styles = styles_of(verification)
    known = {*verification.baselines, *solver_truncations(verification)}
    rivals = [e.label for e in verification.emulators if e.label not in known] or [
        e.label for e in verification.emulators if e.label not in verification.baselines
    ]
    with journal():
        count = len(verification.baselines)
        columns = min(count, 3)
        rows = -(-count // columns)
        panel = (5.0, 2.9) if columns == 1 else (2.9, 2.5)
        figure, grid = new_figure(len(verification.variables) * rows, columns, panel)
        for column, name in enumerate(verification.variables):
            panels = list(grid[column * rows : (column + 1) * rows].ravel())
            for axes in panels[count:]:
                axes.remove()
            for axes, baseline in zip(panels, verification.baselines, strict=False):
                for label in rivals:
                    skill = verification.skill(label, baseline)
                    _curve(axes, verification, skill.lead_steps, skill.estimate[:, column], styles[label], label)
                    bounds = skill.lower[:, column], skill.upper[:, column]
                    _band(axes, verification, skill.lead_steps, *bounds, styles[label])
                axes.axhline(0.0, color="black", linewidth=0.8)
                axes.set_title(f"{name}, against {baseline}")
                lead_ticks(axes, axes.get_xlabel())
            low, high = zip(*(axes.get_ylim() for axes in panels[:count]), strict=True)
            for place, axes in enumerate(panels[:count]):
                axes.set_ylim(max(min(low), -1.0), min(max(*high, 0.1), 1.02))
                axes.set_ylabel("skill in RMSE" if place % columns == 0 else "")
                axes.set_xlabel(axes.get_xlabel() if place + columns >= count else "")
        legend(figure, grid[0][0])
    return figure


def loss_curves(log: Path) -> Figure:
    """Losses over epochs, and below them the scores of validation rollouts with the best marked, from a CSV log.

    The log has a column `epoch`, columns named `*loss*` and perhaps `*score*`. Rows of one epoch are averaged and empty
    cells skipped, as Lightning's log has them. Its epochs count from 0, so that 1 is added; a log with a column
    `update` holds the epochs that have passed.
    """
    import pandas as pd

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
    shown = [
        (names, label) for names, label in ((losses, "loss"), (marks, "score")) if means[names].notna().any(axis=None)
    ]
    with journal():
        figure, grid = new_figure(max(len(shown), 1), 1, (5.0, 3.2 if len(shown) < 2 else 2.3), sharex=True)
        for axes, (names, label) in zip(grid[:, 0], shown, strict=False):
            for name, color in zip(names, COLOURS if label == "loss" else COLOURS[1:], strict=False):
                curve = means[name].dropna()
                axes.plot(curve.index, curve, color=color, marker="o" if len(curve) < 30 else None, markersize=3)
                axes.lines[-1].set_label("training loss" if name == "loss" else _readable(name))
                if label == "score" and len(curve):
                    best = curve.idxmin()
                    axes.plot(best, curve[best], "o", color=color, markersize=7, fillstyle="none", label="best, kept")
            axes.set_ylabel(label)
            if np.nanmin(means[names].to_numpy()) > 0:
                axes.set_yscale("log")
                plain_decades(axes)
            axes.legend()
        grid[-1, 0].set_xlabel("epoch")
        grid[-1, 0].xaxis.get_major_locator().set_params(integer=True)
    return figure


def spectrum_curves(
    verification: Verification, leads: Sequence[int] | None = None, variables: Sequence[str] | None = None
) -> Figure:
    """Power against wavenumber at several lead times, truth and emulators; one row a variable, one column a lead.

    variables: all by default.
    leads: steps, by default the first, the last and one between.
    """
    axis = verification.wavenumbers
    shown = [e for e in verification.emulators if e.power is not None]
    if axis is None or not shown:
        raise MeshcastError(f"There are no spectra on a {verification.mesh.describe()}.")
    steps = shown[0].lead_steps[shown[0].verified.any((0, 2))]
    leads = (
        list(leads) if leads is not None else sorted({int(steps[0]), int(steps[(len(steps) - 1) // 2]), int(steps[-1])})
    )
    styles = styles_of(verification)
    waves = axis.wavenumber > 0
    by_length = verification.mesh.domain.kind == "limited_area"
    x = (axis.wavelength if by_length else axis.wavenumber)[waves]
    with journal():
        names = verification.variables if variables is None else variables
        figure, panels = new_figure(len(names), len(leads), (2.9, 2.9), sharex=True, sharey="row")
        for row, name in enumerate(names):
            column = verification.variables.index(name)
            unit = verification.units[column]
            for axes, lead in zip(panels[row], leads, strict=True):
                _spectra_at(axes, shown, lead, waves, column, x, styles)
                axes.set_title(f"{name}, {lead_name(verification.time_step, lead)}")
            panels[row][0].set_ylabel(
                "power" + (f" [({pretty_unit(unit)})²]" if " " in unit else f" [{unit}²]" if unit != "1" else "")
            )
            _spectral_limits(panels[row][0], shown, waves, column)
        for axes in panels[-1]:
            axes.set_xlabel(f"wavelength [{axis.length_units}]" if by_length else axis.label)
        if by_length:
            panels[0][0].invert_xaxis()
        legend(figure, panels[0][0])
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


def pretty_unit(unit: str) -> str:
    """`m s-1` as it is printed: m s⁻¹."""
    return re.sub(r"(?<=[A-Za-z])\*{0,2}\^?(-?\d+)", lambda power: power[1].translate(SUPERSCRIPTS), unit)


def lead_name(time_step: TimeStep, step: int) -> str:
    """One lead time for a title: `6 hours`, `1 month`, `lead time 2.5`."""
    (value,), unit = time_step.lead_times(np.array([step]))
    unit = unit[:-1] if value == 1 and unit.endswith("s") and len(unit) > 1 else unit
    return f"{value:g} {unit}" if unit else f"lead time {value:g}"


def lead_ticks(axes: Axes, label: str) -> None:
    """Ticks at whole hours that divide the day, where the axis is in hours; the axis starts at the initial time."""
    from matplotlib.ticker import MultipleLocator

    axes.set_xlim(left=0.0)
    if "hours" in label:
        longest = axes.get_xlim()[1]
        for step in (1, 2, 3, 6, 12, 24, 48):
            if longest / step <= 9:
                axes.xaxis.set_major_locator(MultipleLocator(step))
                break


def styles_of(verification: Verification) -> Mapping[str, LineStyle]:
    """The style of each emulator, by label."""
    truncations = solver_truncations(verification)
    solvers = sorted(truncations, key=truncations.__getitem__)
    return line_styles([e.label for e in verification.emulators], verification.baselines, solvers)


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


def _spectra_at(
    axes: Axes,
    shown: Sequence[ForecastScores],
    lead: int,
    waves: NDArray[np.bool_],
    column: int,
    x: NDArray[np.float64],
    styles: Mapping[str, LineStyle],
) -> None:
    """Truth and emulators at one lead time, for one variable."""
    axes.set_xscale("log")
    axes.set_yscale("log")
    for emulator in shown:
        place = np.flatnonzero(emulator.lead_steps == lead)
        if place.size and emulator.power is not None and emulator.truth_power is not None:
            if not axes.lines:
                truth = emulator.truth_power[place[0], waves, column]
                axes.plot(x, truth, color="black", linewidth=2.6, alpha=0.35, label="truth")
            power = emulator.power[place[0], waves, column]
            axes.plot(x, power, label=emulator.label, **vars(styles[emulator.label]))


def _spectral_limits(axes: Axes, shown: Sequence[ForecastScores], waves: NDArray[np.bool_], column: int) -> None:
    """Twelve decades at most: below lies rounding, not physics."""
    powers = [p[:, waves, column] for e in shown for p in (e.truth_power, e.power) if p is not None]
    every = np.concatenate([power[np.isfinite(power) & (power > 0)] for power in powers])
    if every.size:
        axes.set_ylim(max(every.min(), every.max() * 1e-12) / 2, every.max() * 3)


def plain_decades(axes: Axes) -> None:
    """A logarithmic axis labelled 0.02, 0.05, 0.1 rather than by powers, where it spans few decades."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    low, high = axes.get_ylim()
    if high / low < 3e3:
        axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axes.yaxis.set_minor_formatter(NullFormatter())


def legend(figure: Figure, axes: Axes) -> None:
    """Below the panels, where it covers nothing."""
    handles, labels = axes.get_legend_handles_labels()
    if labels:
        longest = max(len(label) for label in labels)
        columns = max(1, int(figure.get_figwidth() * 16 / (longest + 8)))
        figure.legend(handles, labels, loc="outside lower center", ncols=min(columns, len(labels)))


def _readable(column: str) -> str:
    """`val_loss_epoch` as `validation loss`."""
    words = column.replace("/", " ").replace("_", " ").removesuffix(" epoch").split()
    full = {"val": "validation", "train": "training"}
    return " ".join(full.get(word, word) for word in words)
