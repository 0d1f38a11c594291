"""Pictures of a comparison as a whole: its ranking, errors relative to the reference, and costs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from graphs.errors import MeshcastError
from inference.comparison.family_panels import MOST_STANDARD_DEVIATIONS, family_marks, family_of, panels_of, plain_log_x
from inference.comparison.record import Comparison, Row
from inference.pictures.direct_labels import label_points
from inference.pictures.style import journal, new_figure, plain_decades, shown
from inference.scores.metrics import METRICS

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def ranking_plot(comparison: Comparison) -> Figure:
    """Draw the score that ranks: a line a row, best on top, its interval, and each seed as a small ring."""
    rows = comparison.ranked
    marks = family_marks(panels_of(comparison))
    with journal():
        figure, ((axes,),) = new_figure(1, 1, (6.6, 0.9 + 0.21 * (len(rows))))
        axes.set_xscale("log")
        finite = []
        for place, row in enumerate(rows):
            seeds, score = row.seed_scores, row.score
            known = [*seeds[np.isfinite(seeds)].tolist(), *(score.interval or ())]
            finite += known
            if score.value is None:
                _note(axes, max(known, default=None), place, row)
            if not row.forecast_seeds:
                continue
            colour, marker = marks[family_of(row.kind)]
            if score.interval is not None:
                axes.hlines(place, *score.interval, color=colour, linewidth=1.6)
            if len(seeds) > 1:
                rings = {"color": colour, "fillstyle": "none", "alpha": 0.6}
                axes.plot(seeds, np.full(len(seeds), place), "o", markersize=6, **rings)
            value = np.nan if score.value is None else score.value
            axes.plot(value, place, marker, color=colour, markersize=5, linestyle="none")
        if (level := comparison[comparison.reference].score.value) is not None:
            axes.axvline(level, color="black", linewidth=0.8, linestyle=(0, (4, 3)))
        axes.set_yticks(range(len(rows)), [row.label for row in rows])
        axes.set_ylim(len(rows) - 0.4, -0.6)
        axes.yaxis.grid(False)
        if finite:
            most = max(MOST_STANDARD_DEVIATIONS, min(finite))  # beyond, how useless a row is says nothing
            axes.set_xlim(min(finite) / 1.15, min(max(finite), most) * 1.15)
        plain_log_x(axes)
        axes.set_xlabel(score_title(comparison))
        axes.set_title(f"Ranking; dashed: {comparison.reference}")
        _family_legend(axes, marks, 5.0)
    return figure


def score_title(comparison: Comparison) -> str:
    """Return the score that ranks, for axes and titles."""
    averaged = "nRMSE" if comparison.scores.kind == "nrmse" else "RMSE / std of the truth"
    return f"geometric mean over lead times of {averaged}"


def relative_errors(comparison: Comparison, variable: str, metric: str = "rmse") -> Figure:
    """Draw each row's error over the reference's, rows by rank and lead times along: blue is better, red is worse.

    A dot where the two do not differ significantly after Holm's adjustment over the lead times.
    """
    from matplotlib import colormaps
    from matplotlib.colors import Normalize

    scores, verification = comparison.scores, comparison.verification
    column = verification.variables.index(variable)
    rows = [row.label for row in comparison.ranked if row.forecast_seeds and row.label != comparison.reference]
    if not rows:
        raise MeshcastError("There is no row beside the reference.")
    steps = scores.lead_steps(comparison.reference)
    steps = steps[scores.members[comparison.reference][0].verified[..., column].any(0)]
    chosen = steps[np.unique(np.linspace(0, len(steps) - 1, 20).round().astype(int))]
    ratios, clear = (np.full((len(rows), len(chosen)), np.nan) for _ in range(2))
    for place, label in enumerate(rows):
        found = scores.contrast(label, comparison.reference, metric)
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
        about = f"{variable}: {METRICS[metric].title} over that of {comparison.reference}"
        axes.set_title(f"{about}; dot: no significant difference")
        bar = figure.colorbar(image, ax=axes, ticks=np.log10([0.1, 0.2, 0.5, 1, 2, 5, 10]), fraction=0.05, pad=0.02)
        bar.ax.set_yticklabels(["≤ 1/10", "1/5", "1/2", "1", "2", "5", "≥ 10"])
        bar.ax.grid(False)
    return figure


def cost_plot(comparison: Comparison) -> Figure:
    """Draw the score that ranks against weights, training time and inference time, a point a row."""
    every: list[tuple[str, Callable[[Row], float]]] = [
        ("weights, trained and fitted", lambda row: float(sum(row.parameters.values()))),
        ("training of one seed [s]", lambda row: float(np.median(row.training_seconds or (0.0,)))),
        ("inference [ms per step and case]", lambda row: 1e3 * (row.inference_seconds or 0.0)),
    ]
    marks = family_marks(panels_of(comparison))
    columns = []
    for title, cost in every:
        scored = [(row, row.score.value) for row in comparison.rows if row.score.value is not None and cost(row) > 0]
        points = {row.label: (cost(row), value) for row, value in scored}
        if points:
            columns.append((title, points))
    if not columns:
        raise MeshcastError("No row has a score and costs to draw it against.")
    with journal():
        figure, grid = new_figure(len(columns), 1, (6.8, 3.4))
        for axes, (title, points) in zip(grid[:, 0], columns, strict=True):
            axes.set_xscale("log")
            axes.set_yscale("log")
            for label, (x, y) in points.items():
                colour, marker = marks[family_of(comparison[label].kind)]
                axes.plot(x, y, marker, color=colour, markersize=5.5, alpha=0.85)
                if label == comparison.reference:
                    axes.plot(x, y, "o", color="black", markersize=11, fillstyle="none", zorder=4)
            axes.margins(x=0.12, y=0.12)
            axes.set_xlabel(title)
            axes.set_ylabel("score")
            plain_decades(axes)
            plain_log_x(axes)
        figure.suptitle(f"Score ({score_title(comparison)}) against costs", x=0.01, ha="left", fontsize=9)
        _family_legend(grid[0, 0], marks, 5.5)
        figure.draw_without_rendering()
        figure.set_layout_engine("none")
        for axes, (_, points) in zip(grid[:, 0], columns, strict=True):
            label_points(axes, list(points), *zip(*points.values(), strict=True))
    return figure


def _family_legend(axes: Axes, marks: Mapping[str, tuple[str, str]], size: float) -> None:
    for family, (colour, marker) in marks.items():
        axes.plot([], [], marker, color=colour, markersize=size, linestyle="none", label=shown(family))
    axes.get_figure(root=True).legend(loc="outside lower center", ncols=3)  # type: ignore[union-attr]


def _note(axes: Axes, after: float | None, place: int, row: Row) -> None:
    """Write why a row has no score, to the right of its seeds, or at the left edge."""
    text = f"{row.status}{': ' * bool(row.reasons)}{row.reasons[0] if row.reasons else ''}"
    text = text if len(text) < 70 else text[:67] + "..."
    x, coords = (0.0, axes.get_yaxis_transform()) if after is None else (after, axes.transData)
    style: dict[str, Any] = {"textcoords": "offset points", "va": "center", "fontsize": 7, "color": "#555555"}
    axes.annotate(text, (x, place), (7, 0), xycoords=coords, **style)
