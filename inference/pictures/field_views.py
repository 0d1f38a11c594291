"""What pictures of fields show: one case of a forecast or its truth, lead by lead; how case and place are named."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from emulator.data.forecast import Forecast
from emulator.fields import Fields
from emulator.foundation.time_step import to_datetime
from emulator.foundation.winds import winds
from graphs.atomic_file import atomic_file
from graphs.errors import MeshcastError
from graphs.geometry import Mask, to_xyz
from graphs.mesh import Mesh
from inference.pictures.maps import degrees
from inference.pictures.style import journal, with_unit
from inference.scores.flow import harmonic_view
from inference.scores.matching import match

Array = NDArray[np.floating]


def truth_of(forecast: Forecast, truth: Fields, case: int = 0) -> NDArray[np.float32]:
    """Return the truth [lead, node, variable] valid with one case of a forecast; NaN where there is none."""
    found = match(forecast, forecast.name, truth, forecast.variables)
    return found.read(slice(case, case + 1), slice(None))[0]


@dataclass(frozen=True, eq=False)
class View:
    """What maps show of a forecast or its truth.

    field: [lead, node]. wind: [lead, node, (east, north)], where there is one on the whole sphere.
    """

    name: str
    unit: str
    field: Array
    wind: Array | None

    @classmethod
    def of(cls, forecast: Forecast, values: Array, variable: str | None) -> View:
        """Return the view of values [lead, node, variable], variables as in the forecast."""
        pairs = winds(forecast.variables, forecast.units) if forecast.mesh.domain.kind == "sphere" else []
        wind = values[..., list(pairs[0])] if pairs else None
        if wind is not None and variable in DERIVED and variable not in forecast.variables:
            field = getattr(harmonic_view(forecast.mesh), variable)(wind[..., 0], wind[..., 1])
            return cls(variable, "10⁻⁵ s-1", 1e5 * field, wind)
        column, name, unit = variable_of(forecast, variable)
        # Arrows on the wind's own components would say the same twice.
        return cls(name, unit, values[..., column], None if pairs and column in pairs[0] else wind)

    def minus(self, other: View) -> View:
        wind = None if self.wind is None or other.wind is None else self.wind - other.wind
        return replace(self, field=self.field - other.field, wind=wind)


DERIVED = ("vorticity", "divergence")
ERROR = "forecast minus truth"


def views_of(
    forecast: Forecast, truth: Fields | None, variable: str | None, case: int
) -> tuple[dict[str, View], NDArray[np.int64]]:
    """Return truth, forecast and error of one case by title, or the forecast alone, and the leads that can be shown.

    The latter are indices of leads, of those with truth where there is any.
    """
    views = {forecast.name: View.of(forecast, forecast.values[case].mean(0), variable)}
    if truth is not None:
        there = View.of(forecast, truth_of(forecast, truth, case), variable)
        views = {"truth": there, **views, ERROR: views[forecast.name].minus(there)}
    return views, np.flatnonzero(np.isfinite(next(iter(views.values())).field).any(1))


@dataclass(frozen=True, eq=False)
class MovingPicture:
    """A figure, the indices of the lead times that it can show, and what makes it show one by changing some axes."""

    figure: Figure
    places: NDArray[np.int64]
    show: Callable[[int], None]
    changing: Sequence[Axes]

    def spread(self, most: int) -> list[int]:
        """Return at most so many of the places, from the first to the last."""
        last = len(self.places) - 1
        return self.places[np.unique(np.linspace(0, last, min(most, last + 1)).round().astype(int))].tolist()

    def frames(self, places: Iterable[int], dpi: int) -> Iterator[PIL.Image.Image]:
        """Yield the picture of each place, all in the layout of the first; what does not change is drawn once."""
        canvas: Any = self.figure.canvas
        with journal():
            self.figure.draw_without_rendering()
            self.figure.set_layout_engine("none")  # what was laid out once stays: half a frame's time, and no jitter
            self.figure.dpi = dpi
            for axes in self.changing:
                axes.set_visible(False)
            canvas.draw()
            still = canvas.copy_from_bbox(self.figure.bbox)
            for axes in self.changing:
                axes.set_visible(True)
            for place in places:
                self.show(place)
                canvas.restore_region(still)
                for axes in self.changing:
                    self.figure.draw_artist(axes)
                yield PIL.Image.fromarray(np.asarray(canvas.buffer_rgba())[..., :3])

    def write_gif(self, path: Path, max_frames: int = 48, max_bytes: int = 2_000_000) -> Path:
        """Write an animation of a frame a lead time, thinned until it is smaller than `max_bytes`."""
        drawn: dict[int, PIL.Image.Image] = {}
        while True:
            places = self.spread(max_frames)
            new = [place for place in places if place not in drawn]
            for place, frame in zip(new, self.frames(new, dpi=80), strict=False):
                drawn[place] = frame.convert("P", palette=PIL.Image.Palette.ADAPTIVE)  # as GIF has it, and once
            first, *others = [drawn[place] for place in places]
            file = io.BytesIO()
            first.save(file, "GIF", save_all=True, append_images=others, duration=125, loop=0)
            size = file.tell()
            if size <= max_bytes or max_frames <= 4:
                with atomic_file(path) as temporary:
                    temporary.write_bytes(file.getvalue())
                return path
            max_frames = max(int(max_frames * 0.8 * max_bytes / size), 4)


def case_name(forecast: Forecast, case: int) -> str:
    """Return which case, for a title; and what is shown of an ensemble."""
    members = forecast.values.shape[1]
    shown = f", mean of {members} members" if members > 1 else ""
    if forecast.trajectory[case] >= 0:
        return f"trajectory {forecast.trajectory[case]}{shown}"
    return f"from {date_name(forecast, forecast.init_time[case])}{shown}"


def date_name(forecast: Forecast, time: np.int64) -> str:
    """Return a valid time for a title; empty where it is nominal."""
    if forecast.time_step.true_length is not None or (forecast.trajectory >= 0).all():
        return ""
    moment = str(to_datetime(np.asarray(time)))
    return moment[:7] if forecast.time_step.unit == "month" else f"{moment[:10]} {moment[11:16]} UTC"


def variable_of(forecast: Forecast, variable: str | None) -> tuple[int, str, str]:
    """Return column, name and unit of a variable, the first by default."""
    name = forecast.variables[0] if variable is None else variable
    if name not in forecast.variables:
        raise MeshcastError(f"{forecast.name} has no variable {name}; it has {', '.join(forecast.variables)}.")
    column = forecast.variables.index(name)
    return column, name, forecast.units[column]


def central_node(mesh: Mesh, known: Mask | None = None) -> int:
    """Return the node nearest the middle of an area, or 45 N 0 E on the sphere; 0 of a ring.

    known: [node] among which to choose, such as the sea.
    """
    if mesh.domain.kind == "ring":
        return 0
    centre = mesh.positions.mean(0) if mesh.domain.kind == "limited_area" else to_xyz(45.0, 0.0)
    near = mesh.positions @ centre
    return int(near.argmax() if known is None or not known.any() else np.where(known, near, -np.inf).argmax())


def place_name(mesh: Mesh, node: int) -> str:
    """Where a node is, for a title."""
    if mesh.domain.kind == "ring":
        return f"position {ring_positions(mesh)[node]:g}"
    longitude = (mesh.longitudes[node] + 180) % 360 - 180
    return f"{degrees(round(mesh.latitudes[node], 2), 'N', 'S')} {degrees(round(longitude, 2), 'E', 'W')}"


def ring_positions(mesh: Mesh) -> Array:
    """Return the positions [node] along the ring, in its unit of length."""
    return mesh.longitudes / 360.0 * mesh.domain.size


def colour_bar(
    figure: Figure, image: Any, axes: Any, name: str, unit: str, side: str = "right", inside: Axes | None = None
) -> None:
    """Draw the colours of an image beside `axes`, or `inside` axes of their own where a figure is laid out by hand."""
    place: dict[str, Any] = {"cax": inside}
    if inside is None:
        across = len({panel.get_subplotspec().colspan for panel in axes}) if isinstance(axes, list) else 1
        aspect = 30 * (across if side == "bottom" else 1)  # bars beside each other are equally thick
        place = {"ax": axes, "shrink": 0.9, "aspect": aspect, "pad": 0.02}
    bar = figure.colorbar(image, location=side, extend="both", **place)
    bar.set_label(with_unit(name, unit))
    bar.outline.set_linewidth(0.5)
