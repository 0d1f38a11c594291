"""Pictures of fields: Hovmöller diagrams, maps, series at a place, animations, with truth beside them or without."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from emulator.data.forecast import Forecast
from emulator.fields import Fields
from emulator.foundation.time_step import to_datetime
from graphs.errors import MeshcastError
from graphs.mesh import Mesh
from inference.pictures.colour_scale import ColourScale
from inference.pictures.maps import (
    degrees,
    draw_map,
    draw_wind,
    draw_wind_key,
    edges,
    label_parallels,
    map_box,
    map_size,
    raster,
    wind_arrows,
)
from inference.pictures.plots import COLOURS, LineStyle, journal, lead_name, lead_ticks, legend, new_figure, pretty_unit
from inference.scores.flow import harmonic_view, winds
from inference.scores.matching import match

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["animation", "draw_map", "hovmoeller", "map_box", "maps", "series", "truth_of"]

Array = NDArray[np.floating]


def truth_of(forecast: Forecast, truth: Fields, case: int = 0) -> NDArray[np.float32]:
    """[lead, node, variable] of the truth valid with one case of a forecast; NaN where there is none."""
    found = match(forecast, forecast.name, truth, forecast.variables)
    return found.read(slice(case, case + 1), slice(None))[0]


def hovmoeller(forecast: Forecast, truth: Fields | None = None, variable: str | None = None, case: int = 0) -> Figure:
    """Position around the ring against lead time: truth, forecast and error, or the forecast alone."""
    if forecast.mesh.domain.kind != "ring":
        raise MeshcastError(f"A Hovmöller diagram needs a ring, but the forecast is on a {forecast.mesh.describe()}.")
    column, name, unit = _variable(forecast, variable)
    own = forecast.values[case].mean(0)[..., column]
    panels: list[tuple[str, Array]] = [(forecast.name, own)]
    if truth is not None:
        there = truth_of(forecast, truth, case)[..., column]
        panels = [("truth", there), (forecast.name, own), ("forecast minus truth", own - there)]
    scale = ColourScale.of(*(field for _, field in panels[:2]))
    lead, label = forecast.time_step.lead_axis(forecast.lead_steps)
    with journal():
        figure, (row,) = new_figure(1, len(panels), (2.5 if truth is not None else 4.2, 4.0), sharey=True)
        for number, (axes, (title, field)) in enumerate(zip(row, panels, strict=True)):
            shade = ColourScale.of_error(field) if number == 2 else scale
            image = axes.pcolormesh(ring_edges(forecast.mesh), edges(lead), field, rasterized=True, **shade.options)
            axes.set_title(title)
            axes.set_xlabel("position")
            axes.grid(False)
            if number == len(panels) - 1 or number == 1:
                beside = list(row[:2]) if number == 1 else axes
                colour_bar(figure, image, beside, "error" if number == 2 else name, unit, "bottom")
        row[0].set_ylabel(label)
        figure.suptitle(case_name(forecast, case), x=0.01, ha="left", fontsize=9)
    return figure


def maps(
    forecast: Forecast,
    truth: Fields | None = None,
    variable: str | None = None,
    case: int = 0,
    leads: Sequence[int] | None = None,
) -> Figure:
    """Maps at several lead times, one row each: truth, forecast and error; or the forecast alone.

    Where a wind is forecast on the whole sphere its arrows lie on the maps, on those of the error the wind's error, all
    to one scale. Coasts are drawn where the data are of the Earth, not where they are simulated.

    variable: one that is forecast, or `vorticity` or `divergence` of the wind; the first by default.
    leads: steps, by default the first after a tenth of the forecast, the middle and the last (that have truth).
    """
    if forecast.mesh.domain.kind == "ring":
        raise MeshcastError("A ring has no map; draw its Hovmöller diagram.")
    views = {forecast.name: _View.of(forecast, forecast.values[case].mean(0), variable)}
    if truth is not None:
        views = {"truth": _View.of(forecast, truth_of(forecast, truth, case), variable), **views}
    usable = np.flatnonzero(np.isfinite(next(iter(views.values())).field).any(1))
    places = _places(forecast, leads, usable)
    views = {title: view.at(places) for title, view in views.items()}
    scale, longest = ColourScale.of(*(view.field for view in views.values())), _longest(views.values())
    if truth is not None:
        views["forecast minus truth"] = views[forecast.name].minus(views["truth"])
    with journal():
        figure, grid = _map_figure(forecast.mesh, *((1, len(places)) if truth is None else (len(places), 3)))
        panels = grid.reshape(len(places), -1)
        images, arrows = [], None
        for row, place in enumerate(places):
            step, valid = int(forecast.lead_steps[place]), _date(forecast, forecast.valid_time[case, place])
            for axes, (title, view) in zip(panels[row], views.items(), strict=True):
                shade = ColourScale.of_error(view.field) if view.is_error else scale
                real = bool(forecast.trajectory[case] < 0)
                images.append(draw_map(axes, forecast.mesh, view.field[row], shade, map_box(forecast.mesh), real))
                if view.wind is not None:
                    arrows = draw_wind(axes, forecast.mesh, view.wind[row], longest)
                axes.set_title(_map_title(title, lead_name(forecast.time_step, step), valid, truth is not None))
            if forecast.mesh.domain.kind == "sphere" and (truth is not None or row == 0):
                label_parallels(panels[row][0])
        if arrows is not None:
            draw_wind_key(panels[-1][-1], arrows, *_round_speed(longest, forecast))
        name, unit = view.name, view.unit
        if truth is None:
            colour_bar(figure, images[0], list(grid.ravel()), name, unit)
        else:
            colour_bar(figure, images[0], list(grid[:, :2].ravel()), name, unit, "bottom")
            colour_bar(figure, images[2], list(grid[:, 2]), f"error of {name}", unit, "bottom")
        figure.suptitle(f"{name} of {forecast.name}, {case_name(forecast, case)}", x=0.01, ha="left", fontsize=9)
    return figure


@dataclass(frozen=True, eq=False)
class _View:
    """What maps show of a forecast or its truth.

    field: [lead, node]. wind: [lead, node, (east, north)], where there is one on the whole sphere.
    """

    name: str
    unit: str
    field: Array
    wind: Array | None
    is_error: bool = False

    @classmethod
    def of(cls, forecast: Forecast, values: Array, variable: str | None) -> _View:
        """The view of values [lead, node, variable], variables as in the forecast."""
        pairs = winds(forecast.variables, forecast.units) if forecast.mesh.domain.kind == "sphere" else []
        wind = values[..., list(pairs[0])] if pairs else None
        if wind is not None and variable in DERIVED and variable not in forecast.variables:
            field = getattr(harmonic_view(forecast.mesh), variable)(wind[..., 0], wind[..., 1])
            return cls(variable, "10⁻⁵ s-1", 1e5 * field, wind)
        column, name, unit = _variable(forecast, variable)
        # Arrows on the wind's own components would say the same twice.
        return cls(name, unit, values[..., column], None if pairs and column in pairs[0] else wind)

    def at(self, places: Sequence[int]) -> _View:
        """The same at these leads."""
        return replace(self, field=self.field[places], wind=None if self.wind is None else self.wind[places])

    def minus(self, other: _View) -> _View:
        wind = None if self.wind is None or other.wind is None else self.wind - other.wind
        return replace(self, field=self.field - other.field, wind=wind, is_error=True)


DERIVED = ("vorticity", "divergence")


def _longest(views: Iterable[_View]) -> float:
    """The speed of the longest arrow: one for all panels."""
    speeds = [np.hypot(*np.moveaxis(view.wind, -1, 0)) for view in views if view.wind is not None]
    finite = np.concatenate([speed[np.isfinite(speed)] for speed in speeds]) if speeds else np.zeros(0)
    return max(float(np.quantile(finite, 0.99)), 1e-12) if finite.size else 1.0


def _round_speed(longest: float, forecast: Forecast) -> tuple[float, str]:
    """A speed for the key, 1, 2 or 5 times a power of ten, and its unit."""
    power = 10.0 ** np.floor(np.log10(longest))
    unit = forecast.units[winds(forecast.variables, forecast.units)[0][0]]
    return max(power * digit for digit in (1.0, 2.0, 5.0) if power * digit <= longest), pretty_unit(unit)


def _map_figure(mesh: Mesh, rows: int, columns: int) -> tuple[Figure, Any]:
    alone = rows == 1
    width, height = map_size(mesh, 3.0)
    extra = 0.5 if alone else 1.0 / rows  # titles, and the colour bars below
    shared = mesh.domain.kind != "sphere"
    return new_figure(rows, columns, (width, height + 0.25 + extra), sharex=shared, sharey=shared)


def _map_title(title: str, lead: str, valid: str, with_truth: bool) -> str:
    """What a panel shows: of the truth its date, where there is one; of the forecast its lead time."""
    if not with_truth:
        return f"{lead}\n{valid}" if valid else lead
    if title == "truth":
        return f"truth, {valid}" if valid else f"truth, {lead}"
    return title if title == "forecast minus truth" else f"{title}, {lead}"


def series(
    forecasts: Sequence[Forecast],
    truth: Fields | None = None,
    variable: str | None = None,
    case: int = 0,
    node: int | None = None,
    styles: Mapping[str, LineStyle] | None = None,
) -> Figure:
    """Values at one place along the lead time; members as thin lines.

    node: by default the one nearest the middle of the mesh.
    """
    first = forecasts[0]
    column, name, unit = _variable(first, variable)
    node = central_node(first.mesh) if node is None else node
    with journal():
        figure, ((axes,),) = new_figure(1, 1, (5.2, 3.2))
        if truth is not None:
            lead, label = first.time_step.lead_axis(first.lead_steps)
            there = truth_of(first, truth, case)[:, node, column]
            axes.plot(lead, there, color="black", linewidth=2.6, alpha=0.35, label="truth")
        for forecast, color in zip(forecasts, COLOURS * len(forecasts), strict=False):
            style = (styles or {}).get(forecast.name, LineStyle(color))
            lead, label = forecast.time_step.lead_axis(forecast.lead_steps)
            values = forecast.values[case, :, :, node, column]
            for member in values if len(values) > 1 else []:
                axes.plot(lead, member, color=style.color, linewidth=0.5, alpha=0.5)
            axes.plot(lead, values.mean(0), label=forecast.name, **vars(style))
        axes.set_xlabel(label)
        axes.set_ylabel(_with_unit(name, unit))
        lead_ticks(axes, label)
        axes.set_title(f"{place_name(first.mesh, node)}, {case_name(first, case)}")
        legend(figure, axes)
    return figure


def animation(
    forecast: Forecast,
    path: Path,
    truth: Fields | None = None,
    variable: str | None = None,
    case: int = 0,
    max_frames: int = 48,
    max_bytes: int = 2_000_000,
) -> Path:
    """A GIF of one case beside its truth, a frame a lead time, thinned until it is smaller than `max_bytes`."""
    usable = np.arange(len(forecast.lead_steps))
    there = None
    if truth is not None:
        there = truth_of(forecast, truth, case)
        usable = np.flatnonzero(np.isfinite(there).any((1, 2)))
    while True:
        frames = usable[np.unique(np.linspace(0, len(usable) - 1, min(max_frames, len(usable))).round().astype(int))]
        _write_animation(forecast, path, there, variable, case, frames)
        if path.stat().st_size <= max_bytes or max_frames <= 4:
            return path
        max_frames = max(int(max_frames * 0.8 * max_bytes / path.stat().st_size), 4)


def _write_animation(
    forecast: Forecast,
    path: Path,
    truth: Array | None,
    variable: str | None,
    case: int,
    frames: NDArray[np.int64],
) -> None:
    from matplotlib.animation import PillowWriter

    views = {forecast.name: _View.of(forecast, forecast.values[case].mean(0), variable)}
    if truth is not None:
        views = {"truth": _View.of(forecast, truth, variable), **views}
    scale = ColourScale.of(*(view.field[frames] for view in views.values()))
    with journal():
        figure, draw = (_ring_frames if forecast.mesh.domain.kind == "ring" else _map_frames)(
            forecast, views, scale, int(frames[0])
        )
        title = figure.suptitle(" ", x=0.01, ha="left", fontsize=9)
        figure.draw_without_rendering()
        figure.set_layout_engine("none")  # what was laid out once stays: half of a frame's time, and no jitter
        writer = PillowWriter(fps=8)
        with writer.saving(figure, str(path), dpi=80):
            for frame in frames:
                draw(int(frame))
                lead = lead_name(forecast.time_step, int(forecast.lead_steps[frame]))
                title.set_text(f"{case_name(forecast, case)}, {lead}")
                writer.grab_frame()


def _ring_frames(forecast: Forecast, views: Mapping[str, _View], scale: ColourScale, first: int) -> Any:
    """A line each for truth and forecast over the position."""
    figure, ((axes,),) = new_figure(1, 1, (5.2, 3.0))
    position = _ring_positions(forecast.mesh)
    styles = {"truth": LineStyle("black", "-", 3.0)}
    lines = {}
    for label, view in views.items():
        style = vars(styles.get(label, LineStyle(COLOURS[0])))
        (lines[label],) = axes.plot(
            position, view.field[first], label=label, alpha=0.4 if label == "truth" else 1.0, **style
        )
    margin = 0.08 * (scale.high - scale.low)
    axes.set_ylim(scale.low - margin, scale.high + margin)
    axes.set_xlabel("position")
    axes.set_ylabel(_with_unit(view.name, view.unit))
    figure.legend(loc="outside lower center", ncols=2)

    def draw(frame: int) -> None:
        for label, view in views.items():
            lines[label].set_ydata(view.field[frame])

    return figure, draw


def _map_frames(forecast: Forecast, views: Mapping[str, _View], scale: ColourScale, first: int) -> Any:
    """A map each for truth and forecast, with the wind's arrows."""
    mesh, box, longest = forecast.mesh, map_box(forecast.mesh), _longest(views.values())
    width, height = map_size(mesh, 4.2 if mesh.domain.kind == "sphere" else 3.2)
    figure, (row,) = new_figure(1, len(views), (width, height + 0.5), sharey=mesh.domain.kind != "sphere")
    images, arrows = {}, {}
    for axes, (label, view) in zip(row, views.items(), strict=True):
        images[label] = draw_map(axes, mesh, view.field[first], scale, box, bool((forecast.trajectory < 0).all()))
        if view.wind is not None:
            arrows[label] = draw_wind(axes, mesh, view.wind[first], longest)
        axes.set_title(label)
    if arrows:
        draw_wind_key(row[-1], arrows[forecast.name], *_round_speed(longest, forecast))
    colour_bar(figure, images[forecast.name], list(row), view.name, view.unit)

    def draw(frame: int) -> None:
        for label, view in views.items():
            images[label].set_array(raster(mesh, view.field[frame], box))
            if view.wind is not None:
                arrows[label].set_UVC(*wind_arrows(mesh, view.wind[frame]))

    return figure, draw


def central_node(mesh: Mesh) -> int:
    """The node nearest the middle of the mesh; 0 where it has none."""
    if mesh.domain.kind != "limited_area":
        return 0
    centre = mesh.positions.mean(0)
    return int((mesh.positions @ centre).argmax())


def place_name(mesh: Mesh, node: int) -> str:
    """Where a node is, for a title."""
    if mesh.domain.kind == "ring":
        return f"position {_ring_positions(mesh)[node]:g}"
    longitude = (mesh.longitudes[node] + 180) % 360 - 180
    return f"{degrees(round(mesh.latitudes[node], 2), 'N', 'S')} {degrees(round(longitude, 2), 'E', 'W')}"


def case_name(forecast: Forecast, case: int) -> str:
    """Which case, for a title; and what is shown of an ensemble."""
    members = forecast.values.shape[1]
    shown = f", mean of {members} members" if members > 1 else ""
    if forecast.trajectory[case] >= 0:
        return f"trajectory {forecast.trajectory[case]}{shown}"
    return f"from {_date(forecast, forecast.init_time[case])}{shown}"


def _date(forecast: Forecast, time: np.int64) -> str:
    """A valid time for a title; empty where it is nominal."""
    if forecast.time_step.true_length is not None or (forecast.trajectory >= 0).all():
        return ""
    moment = str(to_datetime(np.asarray(time)))
    return moment[:7] if forecast.time_step.unit == "month" else f"{moment[:10]} {moment[11:16]} UTC"


def _variable(forecast: Forecast, variable: str | None) -> tuple[int, str, str]:
    """Column, name and unit of a variable, the first by default."""
    name = forecast.variables[0] if variable is None else variable
    if name not in forecast.variables:
        raise MeshcastError(f"{forecast.name} has no variable {name}; it has {', '.join(forecast.variables)}.")
    column = forecast.variables.index(name)
    return column, name, forecast.units[column]


def _places(forecast: Forecast, leads: Sequence[int] | None, usable: NDArray[np.int64]) -> list[int]:
    """Indices of the leads to draw."""
    if leads is None:
        last = len(usable) - 1
        return sorted({int(usable[last // 10]), int(usable[last // 2]), int(usable[last])})
    places = [int(place) for lead in leads for place in np.flatnonzero(forecast.lead_steps == lead)]
    if not places:
        raise MeshcastError(f"{forecast.name} has none of the leads {list(leads)}; it has {list(forecast.lead_steps)}.")
    return places


def _ring_positions(mesh: Mesh) -> Array:
    """[node] along the ring, in its own unit of length."""
    return mesh.longitudes / 360.0 * mesh.domain.size


def ring_edges(mesh: Mesh) -> Array:
    return edges(_ring_positions(mesh))


def colour_bar(figure: Figure, image: Any, axes: Any, name: str, unit: str, side: str = "right") -> None:
    across = len({panel.get_subplotspec().colspan for panel in axes}) if isinstance(axes, list) else 1
    aspect = 30 * (across if side == "bottom" else 1)  # bars beside each other are equally thick
    bar = figure.colorbar(image, ax=axes, location=side, shrink=0.9, aspect=aspect, pad=0.02, extend="both")
    bar.set_label(_with_unit(name, unit))
    bar.outline.set_linewidth(0.5)


def _with_unit(name: str, unit: str) -> str:
    return f"{name} [{pretty_unit(unit)}]" if unit not in ("", "1") else name
