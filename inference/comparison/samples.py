"""Forecasts of a comparison side by side: truth and each row on one colour scale."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from emulator.data.forecast import Forecast
from emulator.fields import Fields
from inference.pictures.field_views import Array, case_name, colour_bar, ring_positions, truth_of
from inference.pictures.maps import draw_map, edges, map_box, map_size
from inference.pictures.style import ColourScale, journal, lead_name, new_figure, place_panels

if TYPE_CHECKING:
    from matplotlib.figure import Figure

COLUMNS_ON_RING, COLUMNS_OF_MAPS = 6, 4


def samples(rows: dict[str, Forecast], truth: Fields, variable: str, case: int = 0) -> Figure:
    """Draw one case: position against lead time on a ring, the last lead time with truth as maps elsewhere."""
    first = next(iter(rows.values()))
    start, trajectory = first.init_time[case], first.trajectory[case]
    fields, column = {}, first.variables.index(variable)
    fields["truth"] = truth_of(first, truth, case)[..., column]
    for label, forecast in rows.items():
        place = np.flatnonzero((forecast.init_time == start) & (forecast.trajectory == trajectory))
        if place.size:
            values = forecast.values[place[0]].mean(0)[..., forecast.variables.index(variable)]
            leads = np.isin(first.lead_steps, forecast.lead_steps)
            shown = np.full(fields["truth"].shape, np.nan)
            shown[leads] = values[np.isin(forecast.lead_steps, first.lead_steps)]
            fields[label] = shown
    scale = ColourScale.of(fields["truth"])
    draw = _on_ring if first.mesh.domain.kind == "ring" else _as_maps
    return draw(first, fields, scale, variable, case)


def _on_ring(first: Forecast, fields: dict[str, Array], scale: ColourScale, variable: str, case: int) -> Figure:
    lead, axis = first.time_step.lead_axis(first.lead_steps)
    columns = min(COLUMNS_ON_RING, len(fields))
    rows = -(-len(fields) // columns)
    with journal():
        figure, grid = new_figure(rows, columns, (1.55, 1.55), sharex=True, sharey=True)
        place_panels(figure, (1.3, 1.0), (0.18, 0.3), left=0.55, right=0.1, bottom=1.0, top=0.5)
        every = list(grid.ravel())
        size = min(7.5, 72 * 1.45 / (0.6 * max(len(title) for title in fields)))  # no title reaches the next
        for axes, (title, field) in zip(every, fields.items(), strict=False):
            image = axes.pcolorfast(edges(ring_positions(first.mesh)), edges(lead), field, **scale.options)
            axes.set_title(title, fontsize=size, fontweight="bold" if title == "truth" else "normal")
            axes.grid(False)
        for axes in every[len(fields) :]:
            axes.set_visible(False)
        for axes in grid[:, 0]:
            axes.set_ylabel(axis, fontsize=7.5)
        for place in range(columns):
            last = max(row for row in range(rows) if row * columns + place < len(fields))
            grid[last, place].set_xlabel("position", fontsize=7.5)
            grid[last, place].tick_params(labelbottom=True)
        width, height = figure.get_size_inches()
        bar = figure.add_axes((0.55 / width, 0.45 / height, 1 - 0.65 / width, 0.08 / height))
        unit = first.units[first.variables.index(variable)]
        colour_bar(figure, image, every[: len(fields)], variable, unit, "bottom", bar)
        title = f"{variable}, {case_name(first, case)}"
        figure.suptitle(title, x=0.01, y=1 - 0.06 / height, ha="left", va="top", fontsize=9)
    return figure


def _as_maps(first: Forecast, fields: dict[str, Array], scale: ColourScale, variable: str, case: int) -> Figure:
    with_truth = np.flatnonzero(np.isfinite(fields["truth"]).any(1))
    place = int(with_truth[-1]) if with_truth.size else 0
    columns = min(COLUMNS_OF_MAPS, len(fields))
    rows = -(-len(fields) // columns)
    width, height = map_size(first.mesh, 2.3)
    with journal():
        figure, grid = new_figure(rows, columns, (width, height + 0.3))
        every = list(grid.ravel())
        for axes, (title, field) in zip(every, fields.items(), strict=False):
            coasts = bool(first.trajectory[case] < 0)
            image = draw_map(axes, first.mesh, field[place], scale, map_box(first.mesh), coasts)
            axes.set_title(title, fontsize=7.5, fontweight="bold" if title == "truth" else "normal")
            axes.set_xlabel("")
            axes.set_ylabel("")
        for axes in every[len(fields) :]:
            axes.set_visible(False)
        colour_bar(
            figure, image, every[: len(fields)], variable, first.units[first.variables.index(variable)], "bottom"
        )
        lead = lead_name(first.time_step, int(first.lead_steps[place]))
        figure.suptitle(f"{variable}, {lead}, {case_name(first, case)}", x=0.01, ha="left", fontsize=9)
    return figure
