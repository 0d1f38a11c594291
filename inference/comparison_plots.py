"""Curves of a comparison: small multiples by family, the reference in each panel, all other rows behind in grey."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from emulator.scores import ROUNDING
from graphs.errors import MeshcastError
from inference.comparison import ComparisonStory, RowInfo
from inference.direct_labels import End, label_ends, label_points
from inference.families import OTHERS, Panel, family_marks, family_of, panels_of, row_styles
from inference.label_scores import LabelScores
from inference.plots import (
    MOST_LINEAR,
    LineStyle,
    journal,
    lead_name,
    lead_ticks,
    new_figure,
    plain_decades,
    pretty_unit,
)
from inference.scorecard import METRICS

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Array = NDArray[np.float64]
Curve = tuple[Array, Array]  # along the axis, values
GREY = "#d4d4d4"
MOST_STANDARD_DEVIATIONS = 10.0  # errors beyond say no more than that the forecast is useless


@dataclass(frozen=True, eq=False)
class Scene:
    """What every picture of one comparison shares: its rows, their panels and their styles."""

    scores: LabelScores
    story: ComparisonStory
    panels: Sequence[Panel]
    styles: dict[str, LineStyle]

    @classmethod
    def of(cls, scores: LabelScores, story: ComparisonStory) -> Scene:
        panels = panels_of(story.rows, scores.labels)
        return cls(scores, story, panels, row_styles(panels, story.reference))

    @property
    def reference(self) -> str:
        return self.story.reference

    def leads(self, label: str) -> Array:
        """Lead times of a row, in the unit of `lead_label`."""
        return self.scores.verification.time_step.lead_axis(self.scores.lead_steps(label))[0]

    @property
    def lead_label(self) -> str:
        return self.scores.verification.time_step.lead_axis(self.scores.lead_steps(self.scores.labels[0]))[1]

    def info(self, label: str) -> RowInfo:
        return next(row for row in self.story.rows if row.label == label)

    def in_panel(self, panel: Panel) -> list[str]:
        """The rows drawn in colour, the reference among them."""
        return list(dict.fromkeys([*panel.labels, self.reference]))


def error_curves(scene: Scene, metric: str, variable: str) -> Figure:
    """A metric of one variable against lead time, a panel a family, with intervals as bands."""
    scores, about = scene.scores, METRICS[metric]
    column = scores.verification.variables.index(variable)
    shown = [label for label in scores.labels if scores.holds(label, metric)]
    if not shown:
        raise MeshcastError(f"No row has the score {metric}.")

    def curve(label: str) -> Curve:
        return scene.leads(label), scores.mean(label, metric).value[:, column]

    def band(label: str) -> tuple[Array, Array]:
        found = scores.mean(label, metric)
        return found.lower[:, column], found.upper[:, column]

    size = float(scores.verification.scale[column])
    if metric == "nrmse":
        size /= float(scores.verification.magnitude[column])
    curves = [curve(label)[1] for label in shown]
    limits = _error_limits(curves, size) if about.best == 0.0 else _ratio_limits(curves, about.best)
    unit = scores.verification.units[column]
    title = about.title + (f" [{pretty_unit(unit)}]" if about.dimensional and unit != "1" else "")
    return _by_family(scene, shown, curve, f"{variable}: {title}", limits, band)


def amplitude_curves(scene: Scene, variable: str) -> Figure:
    """Forecast's spatial standard deviation over the truth's against lead time, a panel a family."""
    scores = scene.scores
    column = scores.verification.variables.index(variable)

    def curve(label: str) -> Curve:
        return scene.leads(label), scores.mean(label, "amplitude_ratio").value[:, column]

    limits = _ratio_limits([curve(label)[1] for label in scores.labels], 1.0)
    return _by_family(scene, scores.labels, curve, f"{variable}: amplitude over the truth's", limits, level=1.0)


def stability_curves(scene: Scene, variable: str) -> Figure:
    """The share of cases whose error has stayed within the threshold, against lead time, a panel a family."""
    scores = scene.scores
    column = scores.verification.variables.index(variable)

    def curve(label: str) -> Curve:
        steps, share = scores.share_stable(label)
        return scores.verification.time_step.lead_axis(steps)[0], 100 * share[:, column]

    threshold = scores.verification.threshold
    title = f"{variable}: cases with RMSE ≤ {threshold:g} std [%]"
    return _by_family(scene, scores.labels, curve, title, (-3.0, 103.0, False))


def conservation_curves(scene: Scene, metric: str, variable: str) -> Figure:
    """Root mean square over cases and seeds of a drift since the start, against lead time, a panel a family.

    metric: `mean_drift` or `mean_square_drift`. The truth's own drift is the broad grey line.
    """
    scores = scene.scores
    column = scores.verification.variables.index(variable)

    def size(label: str, name: str) -> Array:
        values = np.stack([member.values[name][..., column] for member in scores.members[label]])
        there = np.isfinite(values)
        with np.errstate(invalid="ignore", over="ignore"):
            mean = np.where(there, values, 0.0).__pow__(2).sum((0, 1)) / there.sum((0, 1))
        failed = (scores.members[label][0].verified[..., column] & ~there).any((0, 1))
        return np.where(failed, np.nan, np.sqrt(mean))

    def curve(label: str) -> Curve:
        return scene.leads(label), size(label, metric)

    first = scores.labels[0]
    truth = scene.leads(first), size(first, f"truth_{metric}")
    unit = scores.verification.units[column]
    of = "area mean" if metric == "mean_drift" else "mean square, relative"
    title = f"{variable}: drift of the {of}"
    title += f" [{pretty_unit(unit)}]" if metric == "mean_drift" and unit != "1" else ""
    whole = float(scores.verification.magnitude[column]) if metric == "mean_drift" else 1.0
    limits = _drift_limits([curve(label)[1] for label in scores.labels], whole)
    return _by_family(scene, scores.labels, curve, title, limits, truth=truth)


def spectrum_curves(scene: Scene, variable: str) -> Figure:
    """Power against wavenumber at the last lead time with truth, a panel a family; the truth is the broad grey line."""
    scores, verification = scene.scores, scene.scores.verification
    axis = verification.wavenumbers
    shown = [label for label in scores.labels if scores.members[label][0].power is not None]
    if axis is None or not shown:
        raise MeshcastError(f"There are no spectra on a {verification.mesh.describe()}.")
    column = verification.variables.index(variable)
    first = scores.members[shown[0]][0]
    assert first.truth_power is not None
    place = int(np.flatnonzero(first.verified.any((0, 2)))[-1])
    lead = int(first.lead_steps[place])
    waves = axis.wavenumber > 0
    by_length = verification.mesh.domain.kind == "limited_area"
    x = (axis.wavelength if by_length else axis.wavenumber)[waves]

    def curve(label: str) -> Curve:
        return x, _power(scores, label, lead, column)[waves]

    unit = verification.units[column]
    title = f"{variable}, {lead_name(verification.time_step, lead)}: power"
    title += "" if unit == "1" else f" [({pretty_unit(unit)})²]"
    every = [member for label in shown for member in scores.members[label]]
    name = f"wavelength [{axis.length_units}]" if by_length else axis.label
    return _by_family(
        scene,
        shown,
        curve,
        title,
        _power_limits([part[:, waves, column] for e in every for part in (e.power, e.truth_power) if part is not None]),
        truth=(x, first.truth_power[place, waves, column]),
        along=Along(name, logarithmic=True, reverse=by_length),
    )


def _power(scores: LabelScores, label: str, lead: int, column: int) -> Array:
    """[wavenumber] geometric mean over seeds."""
    members = scores.members[label]
    powers = [m.power[m.lead_steps == lead][0, :, column] for m in members if m.power is not None]
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(np.exp(np.log(powers).mean(0)))


def ranking_plot(scene: Scene) -> Figure:
    """The score that ranks: a line a row, best on top, its interval, and each seed as a small ring."""
    scores = scene.scores
    ranked = scores.ranked()
    lost = [row for row in scene.story.rows if row.label not in ranked]
    marks = family_marks(scene.panels)
    by_label = {label: panel.family for panel in scene.panels for label in panel.labels}
    with journal():
        figure, ((axes,),) = new_figure(1, 1, (6.6, 0.9 + 0.21 * (len(ranked) + len(lost))))
        axes.set_xscale("log")
        seen: set[str] = set()
        finite = []
        for place, label in enumerate(ranked):
            colour, marker = marks[by_label[label]]
            found, seeds = scores.ranking(label), scores.by_seed(label)
            finite += [float(value) for value in (*seeds, found.lower, found.upper) if np.isfinite(value)]
            if np.isfinite(found.lower):
                axes.hlines(place, found.lower, found.upper, color=colour, linewidth=1.6)
            if len(seeds) > 1:
                rings = {"color": colour, "fillstyle": "none", "alpha": 0.6}
                axes.plot(seeds, np.full(len(seeds), place), "o", markersize=6, **rings)
            family = by_label[label]
            axes.plot(found.value, place, marker, color=colour, markersize=5, linestyle="none",
                      label=family if family not in seen else None)  # fmt: skip
            seen.add(family)
            if not np.isfinite(found.value):
                rest = seeds[np.isfinite(seeds)]
                _note(axes, float(rest.max()) if rest.size else None, place, scene.info(label))
        for place, row in enumerate(lost, len(ranked)):
            _note(axes, None, place, row)
        if np.isfinite(level := float(scores.ranking(scene.reference).value)):
            axes.axvline(level, color="black", linewidth=0.8, linestyle=(0, (4, 3)))
        names = [*ranked, *(row.label for row in lost)]
        axes.set_yticks(range(len(names)), names)
        axes.set_ylim(len(names) - 0.4, -0.6)
        axes.yaxis.grid(False)
        if finite:
            most = max(MOST_STANDARD_DEVIATIONS, min(finite))  # beyond, how useless a row is says nothing
            axes.set_xlim(min(finite) / 1.15, min(max(finite), most) * 1.15)
        _plain_log_x(axes)
        axes.set_xlabel(score_title(scene.story))
        axes.set_title(f"Ranking; dashed: {scene.reference}")
        handles, titles = axes.get_legend_handles_labels()
        by_title = dict(zip(titles, handles, strict=True))
        titles = [family for family in marks if family in by_title]
        figure.legend([by_title[t] for t in titles], titles, loc="outside lower center", ncols=3)
    return figure


def score_title(story: ComparisonStory) -> str:
    """The score that ranks, for axes and table heads."""
    return f"geometric mean over lead times of {'nRMSE' if story.score == 'nrmse' else 'RMSE / std of the truth'}"


def relative_errors(scene: Scene, variable: str, metric: str = "rmse") -> Figure:
    """Each row's error over the reference's, rows by rank and lead times along: blue is better, red is worse.

    A dot where the two do not differ significantly after Holm's adjustment over the lead times.
    """
    from matplotlib import colormaps
    from matplotlib.colors import Normalize

    scores, verification = scene.scores, scene.scores.verification
    column = verification.variables.index(variable)
    rows = [label for label in scores.ranked() if label != scene.reference]
    if not rows:
        raise MeshcastError("There is no row beside the reference.")
    steps = scores.lead_steps(scene.reference)
    steps = steps[scores.members[scene.reference][0].verified[..., column].any(0)]
    chosen = steps[np.unique(np.linspace(0, len(steps) - 1, 20).round().astype(int))]
    ratios, clear = (np.full((len(rows), len(chosen)), np.nan) for _ in range(2))
    for place, label in enumerate(rows):
        found = scores.contrast(label, scene.reference, metric)
        at = np.isin(chosen, found.lead_steps)
        index = np.searchsorted(found.lead_steps, chosen[at])
        ratios[place, at] = found.ratio.value[index, column]
        clear[place, at] = (found.better | found.worse)[index, column]
    lead, label_of_axis = verification.time_step.lead_axis(chosen)
    with journal():
        figure, ((axes,),) = new_figure(1, 1, (7.2, 1.1 + 0.2 * len(rows)))
        with np.errstate(divide="ignore", invalid="ignore"):
            logs = np.clip(np.log10(ratios), -1.0, 1.0)
        colours = colormaps["RdBu_r"].with_extremes(bad="#bbbbbb")
        image = axes.pcolormesh(np.arange(len(chosen) + 1), np.arange(len(rows) + 1), logs, cmap=colours,
                                norm=Normalize(-1, 1), edgecolors="white", linewidth=0.5)  # fmt: skip
        unclear = np.argwhere((clear == 0) & np.isfinite(ratios))
        if len(unclear):
            dark = np.abs(logs[tuple(unclear.T)]) > 0.6
            shades = np.where(dark, "#ffffff", "#333333")
            axes.scatter(unclear[:, 1] + 0.5, unclear[:, 0] + 0.5, s=3, c=shades, linewidths=0)
        axes.set_yticks(np.arange(len(rows)) + 0.5, rows)
        axes.set_xticks(np.arange(len(chosen))[::2] + 0.5, [f"{value:.4g}" for value in lead[::2]])
        axes.set_ylim(len(rows), 0)
        axes.grid(False)
        axes.set_xlabel(label_of_axis)
        about = f"{variable}: {METRICS[metric].title} over that of {scene.reference}"
        axes.set_title(f"{about}; dot: no significant difference")
        bar = figure.colorbar(image, ax=axes, ticks=np.log10([0.1, 0.2, 0.5, 1, 2, 5, 10]), fraction=0.05, pad=0.02)
        bar.ax.set_yticklabels(["≤ 1/10", "1/5", "1/2", "1", "2", "5", "≥ 10"])
        bar.ax.grid(False)
    return figure


def cost_plot(scene: Scene) -> Figure:
    """The score that ranks against weights, training time and inference time, a point a row."""
    scores = scene.scores
    every: list[tuple[str, Callable[[RowInfo], float]]] = [
        ("weights, trained and fitted", lambda row: float(sum(row.parameters.values()))),
        ("training of one seed [s]", lambda row: float(np.median(row.training_seconds or (0.0,)))),
        ("inference [ms per step and case]", lambda row: 1e3 * (row.inference_seconds or 0.0)),
    ]
    values = {label: float(scores.ranking(label).value) for label in scores.labels}
    marks = family_marks(scene.panels)
    columns = []
    for title, cost in every:
        found = {label: cost(scene.info(label)) for label in scores.labels}
        points = {label: (x, values[label]) for label, x in found.items() if x > 0 and np.isfinite(values[label])}
        if points:
            columns.append((title, points))
    if not columns:
        raise MeshcastError("No row says what it costs.")
    with journal():
        figure, grid = new_figure(len(columns), 1, (6.8, 3.4))
        for axes, (title, points) in zip(grid[:, 0], columns, strict=True):
            axes.set_xscale("log")
            axes.set_yscale("log")
            for label, (x, y) in points.items():
                colour, marker = marks[family_of(scene.info(label).kind)]
                axes.plot(x, y, marker, color=colour, markersize=5.5, alpha=0.85)
                if label == scene.reference:
                    axes.plot(x, y, "o", color="black", markersize=11, fillstyle="none", zorder=4)
            axes.margins(x=0.12, y=0.12)
            axes.set_xlabel(title)
            axes.set_ylabel("score")
            plain_decades(axes)
            _plain_log_x(axes)
        for family, (colour, marker) in marks.items():
            grid[0, 0].plot([], [], marker, color=colour, markersize=5.5, linestyle="none", label=family)
        figure.suptitle(f"Score ({score_title(scene.story)}) against costs", x=0.01, ha="left", fontsize=9)
        figure.legend(loc="outside lower center", ncols=3)
        figure.draw_without_rendering()
        figure.set_layout_engine("none")
        for axes, (_, points) in zip(grid[:, 0], columns, strict=True):
            label_points(axes, list(points), *zip(*points.values(), strict=True))
    return figure


def _note(axes: Axes, after: float | None, place: int, row: RowInfo) -> None:
    """Why a row has no score, to the right of its seeds, or at the left edge."""
    text = f"{row.status}{': ' * bool(row.reasons)}{row.reasons[0] if row.reasons else ''}"
    text = text if len(text) < 70 else text[:67] + "..."
    x, coords = (0.0, axes.get_yaxis_transform()) if after is None else (after, axes.transData)
    options: dict[str, Any] = {
        "xycoords": coords,
        "textcoords": "offset points",
        "va": "center",
        "fontsize": 7,
        "color": "#555555",
    }
    axes.annotate(text, (x, place), (7, 0), **options)


# Small multiples ------------------------------------------------------------------------------------------------------

Limits = tuple[float, float, bool]  # low, high, logarithmic


@dataclass(frozen=True)
class Along:
    """An axis that is not the lead time."""

    label: str
    logarithmic: bool = False
    reverse: bool = False


def _by_family(
    scene: Scene,
    shown: Sequence[str],
    curve: Callable[[str], Curve],
    title: str,
    limits: Limits,
    band: Callable[[str], tuple[Array, Array]] | None = None,
    level: float | None = None,
    truth: Curve | None = None,
    along: Along | None = None,
) -> Figure:
    """Curves against lead time, or `along` something else, a panel a family, names at their ends.

    title: VARIABLE: QUANTITY [UNIT]; band: bounds by label; level: a horizontal line; truth: the broad grey line.
    """
    panels = [panel for panel in scene.panels if set(panel.labels) & set(shown)]
    columns = min(len(panels), 2)
    rows = -(-len(panels) // columns)
    curves = {label: curve(label) for label in shown}
    with journal():
        figure, grid = new_figure(rows, columns, sharex=True, sharey=True)
        _lay_out(figure, rows, columns, max(len(label) for label in shown))
        every = list(grid.ravel())
        for axes in every[len(panels) :]:
            axes.set_visible(False)
        for place, (axes, panel) in enumerate(zip(every, panels, strict=False)):
            _set_limits(axes, limits)
            if truth is not None:
                axes.plot(*truth, color="black", linewidth=3.5, alpha=0.25)
            if level is not None:
                axes.axhline(level, color="black", linewidth=0.6)
            coloured = scene.in_panel(panel)
            for label in shown:
                if label not in coloured:
                    axes.plot(*curves[label], color=GREY, linewidth=0.6, zorder=1)
                else:
                    _coloured(axes, scene, label, curves[label], None if band is None else band(label))
            axes.set_title(panel.title)
            axes.set_ylabel(title.split(": ", 1)[1] if place % columns == 0 else "")
            if place + columns >= len(panels):
                axes.set_xlabel(scene.lead_label if along is None else along.label)
                axes.tick_params(labelbottom=True)
        ends = [float(x[side]) for x, _ in curves.values() for side in (0, -1)]
        if along is None:
            lead_ticks(every[0], scene.lead_label)
            every[0].set_xlim(right=max(ends))
        else:
            every[0].set_xscale("log" if along.logarithmic else "linear")
            every[0].set_xlim(*sorted((min(ends), max(ends)), reverse=along.reverse))
            _plain_log_x(every[0])
        figure.suptitle(title, x=0.01, y=1 - 0.06 / figure.get_figheight(), ha="left", va="top", fontsize=9)
        for axes, panel in zip(every, panels, strict=False):
            found = [_last_end(e, *curves[e], scene.styles[e]) for e in scene.in_panel(panel) if e in shown]
            label_ends(axes, [end for end in found if end is not None])
    return figure


def _lay_out(figure: Figure, rows: int, columns: int, letters: int) -> None:
    """Panels of one size, with room on their right for names of so many letters.

    By hand: a layout engine measures every tick label of every panel, several times, which takes longer than to draw.
    """
    width, height, names = 3.0, 2.1, 0.25 + 0.057 * letters  # [inch]
    left, top, bottom, between = 0.75, 0.55, 0.45, 0.38
    whole = left + columns * (width + names), top + rows * height + (rows - 1) * between + bottom
    figure.set_layout_engine(None)
    figure.set_size_inches(*whole)
    figure.subplots_adjust(
        left=left / whole[0],
        right=1 - names / whole[0],
        top=1 - top / whole[1],
        bottom=bottom / whole[1],
        wspace=names / width,
        hspace=between / height,
    )


def _coloured(axes: Axes, scene: Scene, label: str, curve: Curve, band: tuple[Array, Array] | None) -> None:
    """A row of the panel's own family, or the reference, which lies below; crossed where its forecasts stopped."""
    style, (x, values) = scene.styles[label], curve
    axes.plot(x, values, zorder=2 if label == scene.reference else 3, **vars(style))
    if band is not None and np.isfinite(band[0]).any():
        axes.fill_between(x, *band, color=style.color, alpha=0.15, linewidth=0)
    there = np.flatnonzero(np.isfinite(values))
    if 0 < len(there) < len(values):
        axes.plot(x[there[-1]], values[there[-1]], "x", color=style.color, markersize=5)


def _last_end(label: str, x: Array, values: Array, style: LineStyle) -> End | None:
    there = np.flatnonzero(np.isfinite(values))
    return End(label, float(x[there[-1]]), float(values[there[-1]]), style.color) if there.size else None


def _set_limits(axes: Axes, limits: Limits) -> None:
    low, high, logarithmic = limits
    if logarithmic:
        axes.set_yscale("log", nonpositive="clip")
    axes.set_ylim(low, high)
    if logarithmic:
        plain_decades(axes)


def _error_limits(curves: Sequence[Array], size: float) -> Limits:
    """From the least error above rounding to the largest that means anything; logarithmic over decades."""
    values = np.concatenate(curves)
    values = values[np.isfinite(values)]
    values = values[values > ROUNDING * size]
    if not values.size:
        return 0.0, size, False
    low, high = float(values.min()), float(min(values.max(), MOST_STANDARD_DEVIATIONS * size))
    return (low / 1.5, high * 1.5, True) if high > 0.1 * MOST_LINEAR * low else (0.0, 1.05 * high, False)


def _ratio_limits(curves: Sequence[Array], best: float) -> Limits:
    """About the perfect value; beyond 2.5 a forecast is useless."""
    values = np.concatenate(curves)
    values = np.append(values[np.isfinite(values)], best)
    low, high = max(float(values.min()), -1.0), min(float(values.max()), 2.5)
    margin = 0.06 * (high - low) + 1e-3
    return low - margin, high + margin, False


def _power_limits(powers: Sequence[Array]) -> Limits:
    """Twelve decades at most: below lies rounding, not physics."""
    every = np.concatenate([power[np.isfinite(power) & (power > 0)] for power in powers])
    if not every.size:
        return 1e-12, 1.0, True
    return max(float(every.min()), 1e-12 * float(every.max())) / 2, 3 * float(every.max()), True


def _drift_limits(curves: Sequence[Array], whole: float) -> Limits:
    """Eight decades at most up to the largest drift, at most ten times the field's size."""
    values = np.concatenate(curves)
    values = values[np.isfinite(values) & (values > 0)]
    if not values.size:
        return 1e-8 * whole, whole, True
    high = float(min(values.max(), 10 * whole))
    return max(float(values.min()), 1e-8 * whole, 1e-8 * high) / 2, 2 * high, True


def _plain_log_x(axes: Axes) -> None:
    """0.02, 0.05, 0.1 along a logarithmic axis of few decades."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    low, high = axes.get_xlim()
    low, high = min(low, high), max(low, high)
    subs: Any = (1.0, 2.0, 5.0) if high / low < 300 else (1.0,)
    subs = tuple(range(1, 10)) if high / low < 5 else subs
    axes.xaxis.set_major_locator(LogLocator(subs=subs))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.6g}"))
    axes.xaxis.set_minor_formatter(NullFormatter())


__all__ = [
    "OTHERS", "Scene", "amplitude_curves", "conservation_curves", "cost_plot", "error_curves", "ranking_plot",
    "relative_errors", "score_title", "spectrum_curves", "stability_curves",
]  # fmt: skip
