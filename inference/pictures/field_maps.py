"""Maps of a forecast: truth, forecast and error beside each other, or the forecast alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from emulator.data.forecast import Forecast
from emulator.fields import Fields
from emulator.foundation.winds import winds
from graphs.errors import MeshcastError
from inference.pictures.field_views import ERROR, MovingPicture, View, case_name, colour_bar, date_name, views_of
from inference.pictures.maps import (
    draw_contours,
    draw_map,
    draw_wind,
    draw_wind_key,
    label_parallels,
    map_box,
    map_size,
    raster,
    wind_arrows,
)
from inference.pictures.style import ColourScale, journal, lead_name, new_figure, pretty_unit, three_leads


def maps(
    forecast: Forecast, truth: Fields | None = None, variable: str | None = None, case: int = 0, contours: bool = False
) -> Figure:
    """Return maps at three lead times, one row each: truth, forecast and error; or the forecast alone.

    Where a wind is forecast on the whole sphere its arrows lie on the maps, on those of the error the wind's error, all
    to one scale. Coasts are drawn where the data are of the Earth, not where they are simulated.

    variable: one that is forecast, or `vorticity` or `divergence` of the wind; the first by default.
    contours: lines of equal value over the colours, in place of arrows, which would hide them.
    """
    views, usable = views_of(forecast, truth, variable, case)
    first = usable[:1].tolist() if len(usable) and forecast.lead_steps[usable[0]] == 0 else []
    places = first + three_leads(usable[len(first) :]) if len(usable) > len(first) else first
    return _drawn(forecast, views, case, places, places, contours)[0]


def moving_maps(
    forecast: Forecast, truth: Fields | None = None, variable: str | None = None, case: int = 0, contours: bool = False
) -> MovingPicture:
    """Return the maps of one lead time that can show the others, all in the same colours."""
    views, usable = views_of(forecast, truth, variable, case)
    figure, panels = _drawn(forecast, views, case, usable[-1:].tolist(), usable, contours)

    def show(place: int) -> None:
        for panel in panels:
            panel.show(place)

    return MovingPicture(figure, usable, show, [panel.axes for panel in panels])


@dataclass
class _Panel:
    """One map, with what it takes to draw another lead time on it."""

    axes: Axes
    title: str
    view: View
    forecast: Forecast
    case: int
    contours: ColourScale | None = None
    image: Any = None
    arrows: Any = None
    lines: Any = None

    def draw(self, place: int, scale: ColourScale, longest: float, contours: bool) -> None:
        mesh, real = self.forecast.mesh, bool(self.forecast.trajectory[self.case] < 0)
        self.contours = scale if contours else None
        self.image = draw_map(self.axes, mesh, self.view.field[place], scale, map_box(mesh), real)
        if self.view.wind is not None:
            self.arrows = draw_wind(self.axes, mesh, self.view.wind[place], longest)
        self._draw_lines(place)
        self._set_title(place)

    def show(self, place: int) -> None:
        mesh = self.forecast.mesh
        self.image.set_array(raster(mesh, self.view.field[place], map_box(mesh)))
        if self.view.wind is not None:
            self.arrows.set_UVC(*wind_arrows(mesh, self.view.wind[place]))
        self._draw_lines(place)
        self._set_title(place)

    def _draw_lines(self, place: int) -> None:
        if self.contours is None:
            return
        if self.lines is not None:
            self.lines.remove()
        mesh = self.forecast.mesh
        self.lines = draw_contours(self.axes, mesh, self.view.field[place], self.contours, map_box(mesh))

    def _set_title(self, place: int) -> None:
        """Say what is shown: of the truth its date, where there is one; of the forecast its lead time."""
        lead = lead_name(self.forecast.time_step, int(self.forecast.lead_steps[place]))
        valid = date_name(self.forecast, self.forecast.valid_time[self.case, place])
        time = valid if self.title == "truth" and valid else lead
        alone = f"{lead}\n{valid}" if valid else lead
        title = alone if not self.title else ERROR if self.title == ERROR else f"{self.title}, {time}"
        self.axes.set_title(title, loc="left")


def _drawn(
    forecast: Forecast,
    views: Mapping[str, View],
    case: int,
    places: Sequence[int],
    coloured: Sequence[int] | Any,
    contours: bool,
) -> tuple[Figure, list[_Panel]]:
    """Draw the figure and its panels; the lead times `coloured` decide the ends of the colours."""
    if forecast.mesh.domain.kind == "ring":
        raise MeshcastError("A ring has no map; draw its Hovmöller diagram.")
    if contours:
        views = {title: replace(view, wind=None) for title, view in views.items()}
    mesh, alone, sphere = forecast.mesh, len(views) == 1, forecast.mesh.domain.kind == "sphere"
    shown = [view for title, view in views.items() if title != ERROR]
    scale = ColourScale.of(*(view.field[coloured] for view in shown))
    error_scale = None if alone else ColourScale.of_error(views[ERROR].field[coloured])
    longest = _longest_arrow([view.wind[coloured] for view in shown if view.wind is not None])
    columns = (2 if len(places) == 4 else len(places)) if alone else len(views)
    rows = len(places) * len(views) // columns
    width, height = map_size(mesh, 3.0)
    height += 0.25 + (0.5 if alone else 0.95) / rows  # titles, and the colour bars below
    with journal():
        figure, grid = new_figure(rows, columns, (width, height), sharex=not sphere, sharey=not sphere)
        panels = []
        for axes, (place, (title, view)) in zip(grid.ravel(), product(places, views.items()), strict=True):
            panels.append(_Panel(axes, "" if alone else title, view, forecast, case))
            panels[-1].draw(place, error_scale if error_scale and title == ERROR else scale, longest, contours)
        for axes in grid[:, 0] if sphere else []:
            label_parallels(axes)
        if panels[-1].arrows is not None:
            draw_wind_key(panels[-1].axes, panels[-1].arrows, *_round_speed(longest, forecast))
        name, unit = view.name, view.unit
        if alone:
            colour_bar(figure, panels[0].image, list(grid.ravel()), name, unit)
        else:
            colour_bar(figure, panels[0].image, list(grid[:, :2].ravel()), name, unit, "bottom")
            colour_bar(figure, panels[2].image, list(grid[:, 2]), f"error of {name}", unit, "bottom")
        figure.suptitle(f"{name} of {forecast.name}, {case_name(forecast, case)}", x=0.01, ha="left", fontsize=9)
    return figure, panels


def _longest_arrow(winds_shown: Sequence[NDArray[np.floating]]) -> float:
    """Return the speed of the longest arrow: one for all panels."""
    speeds = [np.hypot(wind[..., 0], wind[..., 1]) for wind in winds_shown]
    finite = np.concatenate([speed[np.isfinite(speed)] for speed in speeds]) if speeds else np.zeros(0)
    return max(float(np.quantile(finite, 0.99)), 1e-12) if finite.size else 1.0


def _round_speed(longest: float, forecast: Forecast) -> tuple[float, str]:
    """Return a speed for the key, 1, 2 or 5 times a power of ten, and its unit."""
    power = 10.0 ** np.floor(np.log10(longest))
    unit = forecast.units[winds(forecast.variables, forecast.units)[0][0]]
    return max(power * digit for digit in (1.0, 2.0, 5.0) if power * digit <= longest), pretty_unit(unit)
