"""Families of emulators, how their rows look in every picture, and curves in panels: one for each family, the reference
in each, all other rows behind in grey."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, get_args

import numpy as np
from numpy.typing import NDArray

from emulator.build import EMULATORS
from emulator.emulator_config import Family
from inference.comparison.record import Comparison
from inference.pictures import style
from inference.pictures.direct_labels import End, label_ends
from inference.pictures.style import LineStyle, journal

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Array = NDArray[np.float64]
Curve = tuple[Array, Array]  # along the axis, values
Limits = tuple[float, float, bool]  # low, high, logarithmic
GREY = "#d4d4d4"
FAMILIES = get_args(Family)
MOST_IN_PANEL = 6  # curves, beside the reference: as many as there are colours
MARKERS = ("o", "s", "^", "D", "v", "P")
MOST_STANDARD_DEVIATIONS = 10.0  # errors beyond say no more than that the forecast is useless


@dataclass(frozen=True)
class Panel:
    """Names the rows that share a panel; the title has a number where a family needs several."""

    title: str
    family: str
    labels: tuple[str, ...]


def family_of(kind: str) -> str:
    """Return the family of an emulator's kind; that of checkpoints and forecast files is `others`."""
    return EMULATORS[kind].family if kind in EMULATORS else "others"


def panels_of(comparison: Comparison) -> list[Panel]:
    """Return the rows that forecast by family, in the order of FAMILIES; a large family in several panels."""
    panels = []
    for family in FAMILIES:
        labels = [row.label for row in comparison.rows if row.forecast_seeds and family_of(row.kind) == family]
        count = -(-len(labels) // MOST_IN_PANEL)
        for number in range(count):
            title = family if count == 1 else f"{family} ({number + 1})"
            size = -(-len(labels) // count)
            panels.append(Panel(title, family, tuple(labels[number * size : (number + 1) * size])))
    return panels


def row_styles(panels: Sequence[Panel], reference: str) -> dict[str, LineStyle]:
    """Return a colour and a dash for each row, no two alike in a panel; the reference is black."""
    dashes: tuple[Any, ...] = ("-", *style.DASHES)
    styles = {
        label: LineStyle(style.COLOURS[place], dashes[place], 1.5)
        for panel in panels
        for place, label in enumerate(panel.labels)
    }
    return {**styles, reference: LineStyle("#000000", "-", 2.4)}


def family_marks(panels: Sequence[Panel]) -> Mapping[str, tuple[str, str]]:
    """Return the colour and marker of each family, for pictures where a row is a point."""
    families = list(dict.fromkeys(panel.family for panel in panels))
    return {family: (style.COLOURS[FAMILIES.index(family)], MARKERS[FAMILIES.index(family)]) for family in families}


@dataclass(frozen=True)
class Along:
    """Describes an axis that is not the lead time."""

    label: str
    logarithmic: bool = False
    reverse: bool = False


def by_family(
    comparison: Comparison,
    shown: Sequence[str],
    curve: Callable[[str], Curve],
    title: str,
    limits: Limits,
    band: Callable[[str], tuple[Array, Array]] | None = None,
    level: float | None = None,
    truth: Curve | None = None,
    along: Along | None = None,
) -> Figure:
    """Draw curves against lead time, or `along` something else, a panel a family, names at their ends.

    title: VARIABLE: QUANTITY [UNIT]; band: bounds by label; level: a horizontal line; truth: the broad grey line.
    """
    every_panel = panels_of(comparison)
    styles = row_styles(every_panel, comparison.reference)
    panels = [panel for panel in every_panel if set(panel.labels) & set(shown)]
    columns = min(len(panels), 2)
    rows = -(-len(panels) // columns)
    curves = {label: curve(label) for label in shown}
    time_step, leads = comparison.verification.time_step, comparison.scores.lead_steps(comparison.scores.labels[0])
    with journal():
        figure, grid = style.new_figure(rows, columns, sharex=True, sharey=True)
        names = 0.25 + 0.057 * max(len(label) for label in shown)  # [inch] on the right of each panel
        style.place_panels(figure, (3.0, 2.1), (names, 0.38), left=0.75, right=names, bottom=0.45, top=0.55)
        every = list(grid.ravel())
        for axes in every[len(panels) :]:
            axes.set_visible(False)
        for axes in every:  # where they stand is not sought among the tick labels at each drawing
            axes.xaxis.set_label_coords(0.5, -0.14)
            axes.yaxis.set_label_coords(-0.17, 0.5)
        for place, (axes, panel) in enumerate(zip(every, panels, strict=False)):
            _set_limits(axes, limits)
            if truth is not None:
                axes.plot(*truth, color="black", linewidth=3.5, alpha=0.25)
            if level is not None:
                axes.axhline(level, color="black", linewidth=0.6)
            coloured = [label for label in shown if label in (*panel.labels, comparison.reference)]
            if others := [curves[label] for label in shown if label not in coloured]:
                axes.plot(*_joined(others), color=GREY, linewidth=0.6, zorder=1)
            for label in coloured:
                below = label == comparison.reference
                _coloured(axes, styles[label], curves[label], None if band is None else band(label), below)
            axes.set_title(panel.title, y=1.0)
            axes.set_ylabel(title.split(": ", 1)[1] if place % columns == 0 else "")
            if place + columns >= len(panels):
                axes.set_xlabel(time_step.lead_axis(leads)[1] if along is None else along.label)
                axes.tick_params(labelbottom=True)
        ends = [float(x[side]) for x, _ in curves.values() for side in (0, -1)]
        if along is None:
            style.lead_ticks(every[0], time_step.lead_times(leads)[1])
            every[0].set_xlim(right=max(ends))
        else:
            every[0].set_xscale("log" if along.logarithmic else "linear")
            every[0].set_xlim(*sorted((min(ends), max(ends)), reverse=along.reverse))
            plain_log_x(every[0])
        figure.suptitle(title, x=0.01, y=1 - 0.06 / figure.get_figheight(), ha="left", va="top", fontsize=9)
        for axes, panel in zip(every, panels, strict=False):
            named = [label for label in dict.fromkeys([*panel.labels, comparison.reference]) if label in shown]
            found = [_last_end(label, *curves[label], styles[label]) for label in named]
            label_ends(axes, [end for end in found if end is not None])
    return figure


def _joined(curves: Sequence[Curve]) -> Curve:
    """Return all as one curve with gaps, which is drawn as fast as one."""
    return tuple(np.concatenate([np.append(curve[side], np.nan) for curve in curves]) for side in (0, 1))  # type: ignore[return-value]


def _coloured(axes: Axes, line: LineStyle, curve: Curve, band: tuple[Array, Array] | None, below: bool) -> None:
    """Draw a row of the panel's family, or the reference, which lies below; crossed where its forecasts stopped."""
    x, values = curve
    axes.plot(x, values, zorder=2 if below else 3, **vars(line))
    if band is not None and np.isfinite(band[0]).any():
        axes.fill_between(x, *band, color=line.color, alpha=0.15, linewidth=0)
    there = np.flatnonzero(np.isfinite(values))
    if 0 < len(there) < len(values):
        axes.plot(x[there[-1]], values[there[-1]], "x", color=line.color, markersize=5)


def _last_end(label: str, x: Array, values: Array, line: LineStyle) -> End | None:
    there = np.flatnonzero(np.isfinite(values))
    return End(label, float(x[there[-1]]), float(values[there[-1]]), line.color) if there.size else None


def _set_limits(axes: Axes, limits: Limits) -> None:
    low, high, logarithmic = limits
    if logarithmic:
        axes.set_yscale("log", nonpositive="clip")
    axes.set_ylim(low, high)
    if logarithmic:
        style.plain_decades(axes)
        axes.minorticks_off()  # each costs as much as a line


def plain_log_x(axes: Axes) -> None:
    """Write 0.02, 0.05, 0.1 along a logarithmic axis of few decades."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    low, high = sorted(axes.get_xlim())
    subs: Any = (1.0, 2.0, 5.0) if high / low < 300 else (1.0,)
    subs = tuple(range(1, 10)) if high / low < 5 else subs
    axes.xaxis.set_major_locator(LogLocator(subs=subs))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.6g}"))
    axes.xaxis.set_minor_formatter(NullFormatter())
