"""Pictures of fields: Hovmöller diagrams, maps, series at a place, animations, with truth beside them or without."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from emulator.data.fields import Fields
from emulator.data.forecast import Forecast
from emulator.time_step import to_datetime
from graphs.errors import MeshcastError
from graphs.mesh import Mesh
from inference.coastlines import Box, coastlines
from inference.matching import match
from inference.plots import COLOURS, LineStyle, journal, lead_name, lead_ticks, new_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Array = NDArray[np.floating]
SEQUENTIAL, DIVERGING, ERROR = "viridis", "RdBu_r", "PuOr_r"
MISSING_COLOUR = "#d9d9d9"


@dataclass(frozen=True)
class ColourScale:
    """One colour map and its ends, shared by all panels that may be compared."""

    name: str
    low: float
    high: float

    @classmethod
    def of(cls, *fields: Array) -> ColourScale:
        """Diverging about zero where the fields have both signs in like measure, else sequential; outliers clipped."""
        values = np.concatenate([field[np.isfinite(field)].ravel() for field in fields])
        low, high = (float(end) for end in np.quantile(values, [0.001, 0.999])) if values.size else (0.0, 1.0)
        if low < 0 < high and min(-low, high) > 0.25 * max(-low, high):
            return cls(DIVERGING, -max(-low, high), max(-low, high))
        return cls(SEQUENTIAL, low, high if high > low else low + 1e-12)

    @classmethod
    def of_error(cls, error: Array) -> ColourScale:
        """Symmetric about zero, in colours of its own."""
        finite = np.abs(error[np.isfinite(error)])
        high = float(np.quantile(finite, 0.999)) if finite.size else 1.0
        return cls(ERROR, -max(high, 1e-12), max(high, 1e-12))

    @property
    def options(self) -> dict[str, Any]:
        from matplotlib import colormaps

        return {"cmap": colormaps[self.name].with_extremes(bad=MISSING_COLOUR), "vmin": self.low, "vmax": self.high}


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
            image = axes.pcolormesh(_ring_edges(forecast.mesh), _edges(lead), field, rasterized=True, **shade.options)
            axes.set_title(title)
            axes.set_xlabel("position")
            axes.grid(False)
            if number == len(panels) - 1 or number == 1:
                beside = list(row[:2]) if number == 1 else axes
                _colour_bar(figure, image, beside, "error" if number == 2 else name, unit, "bottom")
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

    leads: steps, by default the first, the middle and the last (that have truth).
    """
    if forecast.mesh.domain.kind == "ring":
        raise MeshcastError("A ring has no map; draw its Hovmöller diagram.")
    column, name, unit = _variable(forecast, variable)
    own = forecast.values[case].mean(0)[..., column]
    there = None if truth is None else truth_of(forecast, truth, case)[..., column]
    usable = np.arange(len(own)) if there is None else np.flatnonzero(np.isfinite(there).any(1))
    places = _places(forecast, leads, usable)
    fields = [own[places]] if there is None else [there[places], own[places]]
    scale = ColourScale.of(*fields)
    error_scale = None if there is None else ColourScale.of_error(own[places] - there[places])
    box = map_box(forecast.mesh)
    with journal():
        rows, columns = (1, len(places)) if there is None else (len(places), 3)
        width, height = _map_size(box, 3.0 if columns > 1 else 5.0)
        extra = 0.5 if there is None else 1.0 / rows  # titles, and the colour bars below
        figure, grid = new_figure(rows, columns, (width, height + 0.25 + extra), sharex=True, sharey=True)
        for number, place in enumerate(places):
            step = int(forecast.lead_steps[place])
            valid = _date(forecast, forecast.valid_time[case, place])
            if there is None or error_scale is None:
                image = draw_map(grid[0][number], forecast.mesh, own[place], scale, box)
                grid[0][number].set_title(f"{lead_name(forecast.time_step, step)}\n{valid}")
                continue
            titles = (
                f"truth, {valid}",
                f"{forecast.name}, {lead_name(forecast.time_step, step)}",
                "forecast minus truth",
            )
            parts = (there[place], own[place], own[place] - there[place])
            for axes, title, field, shade in zip(grid[number], titles, parts, (scale, scale, error_scale), strict=True):
                drawn = draw_map(axes, forecast.mesh, field, shade, box)
                axes.set_title(title)
                image, error_image = (image, drawn) if shade is error_scale else (drawn, None)
        if there is None:
            _colour_bar(figure, image, list(grid.ravel()), name, unit)
        else:
            _colour_bar(figure, image, list(grid[:, :2].ravel()), name, unit, "bottom")
            _colour_bar(figure, error_image, list(grid[:, 2]), "error", unit, "bottom")
        figure.suptitle(f"{name} of {forecast.name}, {case_name(forecast, case)}", x=0.01, ha="left", fontsize=9)
    return figure


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
        figure.legend(loc="outside lower center", ncols=min(4, len(axes.get_legend_handles_labels()[1])))
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
        _write_animation(forecast, path, there, _variable(forecast, variable), case, frames)
        if path.stat().st_size <= max_bytes or max_frames <= 4:
            return path
        max_frames = max(int(max_frames * 0.8 * max_bytes / path.stat().st_size), 4)


def _write_animation(
    forecast: Forecast,
    path: Path,
    truth: Array | None,
    variable: tuple[int, str, str],
    case: int,
    frames: NDArray[np.int64],
) -> None:
    from matplotlib.animation import PillowWriter

    column, name, unit = variable
    own = forecast.values[case].mean(0)[..., column]
    fields = {forecast.name: own} if truth is None else {"truth": truth[..., column], forecast.name: own}
    scale = ColourScale.of(*(field[frames] for field in fields.values()))
    with journal():
        figure, draw = (_ring_frames if forecast.mesh.domain.kind == "ring" else _map_frames)(
            forecast, fields, scale, name, unit
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


def _ring_frames(forecast: Forecast, fields: Mapping[str, Array], scale: ColourScale, name: str, unit: str) -> Any:
    """A line each for truth and forecast over the position."""
    figure, ((axes,),) = new_figure(1, 1, (5.2, 3.0))
    position = _ring_positions(forecast.mesh)
    styles = {"truth": LineStyle("black", "-", 3.0)}
    lines = {}
    for label, field in fields.items():
        style = vars(styles.get(label, LineStyle(COLOURS[0])))
        (lines[label],) = axes.plot(position, field[0], label=label, alpha=0.4 if label == "truth" else 1.0, **style)
    margin = 0.08 * (scale.high - scale.low)
    axes.set_ylim(scale.low - margin, scale.high + margin)
    axes.set_xlabel("position")
    axes.set_ylabel(_with_unit(name, unit))
    figure.legend(loc="outside lower center", ncols=2)

    def draw(frame: int) -> None:
        for label, field in fields.items():
            lines[label].set_ydata(field[frame])

    return figure, draw


def _map_frames(forecast: Forecast, fields: Mapping[str, Array], scale: ColourScale, name: str, unit: str) -> Any:
    """A map each for truth and forecast."""
    box = map_box(forecast.mesh)
    width, height = _map_size(box, 3.2)
    figure, (row,) = new_figure(1, len(fields), (width, height + 0.5), sharey=True)
    images = {}
    for axes, (label, field) in zip(row, fields.items(), strict=True):
        images[label] = draw_map(axes, forecast.mesh, field[0], scale, box)
        axes.set_title(label)
    _colour_bar(figure, images[forecast.name], list(row), name, unit)

    def draw(frame: int) -> None:
        for label, field in fields.items():
            images[label].set_array(_raster(forecast.mesh, field[frame], box)[2])

    return figure, draw


def draw_map(axes: Axes, mesh: Mesh, field: Array, scale: ColourScale, box: Box) -> Any:
    """One field [node] over its latitudes and longitudes, with coastlines; masked nodes are grey."""
    from matplotlib.collections import LineCollection
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    longitude, latitude, raster = _raster(mesh, field, box)
    image = axes.pcolormesh(longitude, latitude, raster, rasterized=True, **scale.options)
    lines = coastlines(box)
    fine = 0.6 if box[1] - box[0] > 90 else 1.0
    axes.add_collection(LineCollection(lines, colors="white", linewidths=1.6 * fine, alpha=0.6))
    axes.add_collection(LineCollection(lines, colors="black", linewidths=0.6 * fine))
    west, east, south, north = box
    axes.set(xlim=(west, east), ylim=(south, north), aspect=_stretch(box))
    axes.grid(False)
    steps = [1, 1.5, 3, 4.5, 6, 9, 10] if east - west > 90 else [1, 2, 2.5, 5, 10]
    axes.xaxis.set_major_locator(MaxNLocator(4, steps=steps))
    axes.yaxis.set_major_locator(MaxNLocator(4, steps=steps))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: _degrees((value + 180) % 360 - 180, "E", "W")))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: _degrees(value, "N", "S")))
    return image


def map_box(mesh: Mesh) -> Box:
    """West, east, south and north [degrees] around a mesh; the whole sphere from 180 W."""
    if mesh.domain.kind == "sphere":
        return -180.0, 180.0, -90.0, 90.0
    longitude = np.sort(mesh.longitudes)
    gaps = np.diff(longitude, append=longitude[0] + 360.0)
    start = (int(gaps.argmax()) + 1) % len(longitude)  # the widest gap lies outside the area
    west = (longitude[start] + 180.0) % 360.0 - 180.0
    width = 360.0 - gaps.max()
    south, north = mesh.latitudes.min(), mesh.latitudes.max()
    half = 0.5 * np.sqrt((width * (north - south)) / mesh.num_nodes) if not mesh.structured else None
    east_half = half if half is not None else 0.5 * width / (mesh.shape[1] - 1)
    north_half = half if half is not None else 0.5 * (north - south) / (mesh.shape[0] - 1)
    return (
        float(west - east_half),
        float(west + width + east_half),
        float(max(south - north_half, -90.0)),
        float(min(north + north_half, 90.0)),
    )


def _raster(mesh: Mesh, field: Array, box: Box) -> tuple[Array, Array, Array]:
    """Edges of longitude and latitude [degrees], and the field [latitude, longitude], masked where NaN.

    Scattered nodes are shown by the nearest one; a grid as it is.
    """
    west = box[0]
    if mesh.structured:
        grid = field.reshape(mesh.shape)
        longitude = west + (mesh.longitudes.reshape(mesh.shape)[0] - west) % 360.0
        order = np.argsort(longitude)
        latitude = mesh.latitudes.reshape(mesh.shape)[:, 0]
        return _edges(longitude[order]), np.clip(_edges(latitude), -90, 90), np.ma.masked_invalid(grid[:, order])
    from scipy.spatial import cKDTree

    columns = 360
    longitude = np.linspace(box[0], box[1], columns + 1)
    latitude = np.linspace(box[2], box[3], max(int(columns * (box[3] - box[2]) / (box[1] - box[0])), 2) + 1)
    lon, lat = np.meshgrid(*(np.radians((edges[1:] + edges[:-1]) / 2) for edges in (longitude, latitude)))
    xyz = np.stack([np.cos(lat) * np.cos(lon), np.cos(lat) * np.sin(lon), np.sin(lat)], axis=-1)
    distance, nearest = cKDTree(mesh.positions).query(xyz)
    shown = np.ma.masked_invalid(field[nearest])
    if mesh.domain.kind == "limited_area":
        spacing = cKDTree(mesh.positions).query(mesh.positions, k=2)[0][:, 1].max()
        shown = np.ma.masked_where(distance > spacing, shown)
    return longitude, latitude, shown


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
    return f"{_degrees(round(mesh.latitudes[node], 2), 'N', 'S')} {_degrees(round(longitude, 2), 'E', 'W')}"


def case_name(forecast: Forecast, case: int) -> str:
    """Which case, for a title; and what is shown of an ensemble."""
    members = forecast.values.shape[1]
    shown = f", mean of {members} members" if members > 1 else ""
    if forecast.trajectory[case] >= 0:
        return f"trajectory {forecast.trajectory[case]}{shown}"
    return f"from {_date(forecast, forecast.init_time[case])}{shown}"


def _date(forecast: Forecast, time: np.int64) -> str:
    """A valid time for a title; empty where the seconds are nominal."""
    if forecast.time_step.true_length is not None:
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
        return sorted({int(usable[0]), int(usable[(len(usable) - 1) // 2]), int(usable[-1])})
    places = [int(place) for lead in leads for place in np.flatnonzero(forecast.lead_steps == lead)]
    if not places:
        raise MeshcastError(f"{forecast.name} has none of the leads {list(leads)}; it has {list(forecast.lead_steps)}.")
    return places


def _ring_positions(mesh: Mesh) -> Array:
    """[node] along the ring, in its own unit of length."""
    return mesh.longitudes / 360.0 * mesh.domain.size


def _ring_edges(mesh: Mesh) -> Array:
    return _edges(_ring_positions(mesh))


def _edges(centres: Array) -> Array:
    """[n + 1] edges halfway between [n] centres."""
    if len(centres) == 1:
        return np.array([centres[0] - 0.5, centres[0] + 0.5])
    middle = (centres[1:] + centres[:-1]) / 2
    return np.concatenate([[2 * centres[0] - middle[0]], middle, [2 * centres[-1] - middle[-1]]])


def _map_size(box: Box, width: float) -> tuple[float, float]:
    """Width and height of a map panel [inch]."""
    return width, float(np.clip(width * 0.8 * (box[3] - box[2]) / (box[1] - box[0]) * _stretch(box), 1.2, 4.5))


def _stretch(box: Box) -> float:
    """A degree of latitude over a degree of longitude, at the middle of an area; the whole sphere is drawn flat."""
    if box[1] - box[0] >= 180:
        return 1.0
    return float(1 / max(np.cos(np.radians((box[2] + box[3]) / 2)), 0.2))


def _colour_bar(figure: Figure, image: Any, axes: Any, name: str, unit: str, side: str = "right") -> None:
    bar = figure.colorbar(image, ax=axes, location=side, shrink=0.9, aspect=30, pad=0.02, extend="both")
    bar.set_label(_with_unit(name, unit))
    bar.outline.set_linewidth(0.5)


def _with_unit(name: str, unit: str) -> str:
    return f"{name} [{unit}]" if unit not in ("", "1") else name


def _degrees(value: float, positive: str, negative: str) -> str:
    hemisphere = "" if value in (0, 180, -180) else positive if value > 0 else negative
    return f"{abs(value):g}°{hemisphere}"
