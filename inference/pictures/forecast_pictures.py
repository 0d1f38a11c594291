"""Pictures of a forecast on any mesh: an animation, a series at one place, and all that it shows without truth."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from emulator.data.forecast import Forecast
from emulator.fields import Fields
from graphs.atomic_file import output_folder
from graphs.output_lock import output_lock
from inference.pictures import style
from inference.pictures.field_maps import maps, moving_maps
from inference.pictures.field_views import MovingPicture, case_name, central_node, place_name, truth_of, variable_of
from inference.pictures.ring_pictures import hovmoeller, moving_ring
from inference.pictures.style import COLOURS, TRUTH, LineStyle, journal, new_figure

FEWEST_OF_A_MAP = 4  # nodes
PANELS = 12  # of a figure of series, in three columns


def moving_picture(
    forecast: Forecast, truth: Fields | None = None, variable: str | None = None, case: int = 0, contours: bool = False
) -> MovingPicture:
    """Return one case beside its truth, lines over the position on a ring and maps elsewhere, lead by lead."""
    if forecast.mesh.domain.kind == "ring":
        return moving_ring(forecast, truth, variable, case)
    return moving_maps(forecast, truth, variable, case, contours)


def series(
    forecasts: Sequence[Forecast],
    truth: Fields | None = None,
    case: int = 0,
    styles: Mapping[str, LineStyle] | None = None,
    variables: Sequence[str] | None = None,
    node: int | None = None,
) -> Figure:
    """Draw variables at one node along the lead time, a panel each; members as thin lines.

    variables: the first by default. node: the middle of the mesh by default.
    """
    first = forecasts[0]
    names = variables or first.variables[:1]
    if node is None:
        node = central_node(first.mesh, np.isfinite(first.values[case]).any(axis=(0, 1, 3)))
    columns = 1 if len(names) < 3 else 2 if len(names) < 5 else 3
    rows = -(-len(names) // columns)
    with journal():
        figure, grid = new_figure(rows, columns, (5.2, 3.2) if len(names) == 1 else (3.6, 2.0))
        for panel, axes in enumerate(grid.ravel()):
            axes.set_visible(panel < len(names))
            if panel < len(names):
                _series_panel(axes, forecasts, truth, case, styles, names[panel], node)
            if panel + columns < len(names):  # the panel below has the axis
                axes.set_xlabel("")
        place = f"{place_name(first.mesh, node)}, {case_name(first, case)}"
        if len(names) == 1:
            grid[0, 0].set_title(place)
        else:
            figure.suptitle(place, x=0.01, ha="left", fontsize=9)
        style.legend(figure, grid[0, 0])
    return figure


def _series_panel(
    axes: Axes,
    forecasts: Sequence[Forecast],
    truth: Fields | None,
    case: int,
    styles: Mapping[str, LineStyle] | None,
    variable: str,
    node: int,
) -> None:
    first = forecasts[0]
    column, name, unit = variable_of(first, variable)
    if truth is not None:
        there = truth_of(first, truth, case)[:, node, column]
        axes.plot(first.time_step.lead_times(first.lead_steps)[0], there, label="truth", **vars(TRUTH))
    for forecast, color in zip(forecasts, COLOURS * len(forecasts), strict=False):
        look = (styles or {}).get(forecast.name, LineStyle(color))
        lead, _ = forecast.time_step.lead_times(forecast.lead_steps)
        values = forecast.values[case, :, :, node, column]
        for member in values if len(values) > 1 else []:
            axes.plot(lead, member, color=look.color, linewidth=0.5, alpha=0.5)
        axes.plot(lead, values.mean(0), label=style.shown(forecast.name), **vars(look))
    style.lead_axis(axes, first.time_step, first.lead_steps)
    axes.set(ylabel=style.with_unit(name, unit))


def write_pictures(
    forecast: Forecast,
    folder: Path,
    variables: Sequence[str] = (),
    contours: bool = False,
    node: int | None = None,
) -> list[Path]:
    """Draw the first case of a forecast into `folder`, from its initial value on, and return the files written.

    A ring gets a space-time diagram, the sphere maps, a variable each; of single places there are series alone.

    variables: all by default, animated the first alone; every one that is named is animated.
    contours: lines of equal value over the colours. node: of the series, the middle of the mesh by default.
    """
    with output_lock(output_folder(folder), folder=True):
        return _write(forecast.with_initial(), folder, variables, contours, node)


def _write(forecast: Forecast, folder: Path, variables: Sequence[str], contours: bool, node: int | None) -> list[Path]:
    name, draw = ("hovmoeller", hovmoeller) if forecast.mesh.domain.kind == "ring" else ("maps", maps)
    names = list(variables or forecast.variables)
    if _at_places(forecast):
        nodes = range(forecast.mesh.num_nodes)
        alone = {f"series_{one + 1}": series([forecast], variables=names[:PANELS], node=one) for one in nodes}
        return [style.save(figure, folder / stem) for stem, figure in alone.items()]
    figures = {f"{name}_{style.file_name(one)}": draw(forecast, None, one, contours=contours) for one in names}
    for first in range(0, len(names), PANELS):
        stem = "series" if first == 0 else f"series_{first // PANELS + 1}"
        figures[stem] = series([forecast], variables=names[first : first + PANELS], node=node)
    written = [style.save(figure, folder / stem) for stem, figure in figures.items()]
    for one in names if variables else names[:1]:
        path = folder / ("animation.gif" if one == names[0] else f"animation_{style.file_name(one)}.gif")
        written.append(moving_picture(forecast, None, one, contours=contours).write_gif(path))
    return written


def _at_places(forecast: Forecast) -> bool:
    """Return whether a forecast is of single places, as series are, of which no map can be drawn."""
    return forecast.mesh.domain.kind == "limited_area" and forecast.mesh.num_nodes < FEWEST_OF_A_MAP
