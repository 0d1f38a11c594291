"""Maps of fields and winds: the whole sphere in Equal Earth, a limited area over its latitudes and longitudes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.contour import ContourSet
from matplotlib.patches import Polygon
from matplotlib.quiver import Quiver
from matplotlib.ticker import FuncFormatter, MaxNLocator
from numpy.typing import NDArray
from scipy.sparse import csr_array
from scipy.spatial import cKDTree

from graphs.edges.connect import containing_triangle
from graphs.geometry import delaunay, tangent_frames, to_xyz
from graphs.mesh import Mesh
from inference.pictures.coastlines import Box, coastlines
from inference.pictures.map_projection import HALF_HEIGHT, HALF_WIDTH, directions, outline, project, unproject
from inference.pictures.style import ColourScale

Array = NDArray[np.floating]
PIXELS = 480  # across the globe, and half as many from pole to pole
ARROWS = 26  # across the globe
WHOLE: Box = (-180.0, 180.0, -90.0, 90.0)


def draw_map(axes: Axes, mesh: Mesh, field: Array, scale: ColourScale, box: Box, coasts: bool = True) -> Any:
    """Draw one field [node] on a map, masked nodes grey, with coasts, which a simulated planet has not."""
    if mesh.domain.kind == "sphere":
        return _draw_globe(axes, mesh, field, scale, coasts)
    return _draw_area(axes, mesh, field, scale, box, coasts)


def draw_contours(axes: Axes, mesh: Mesh, field: Array, scale: ColourScale, box: Box) -> ContourSet | None:
    """Draw lines of equal value of one field [node] on its map, labelled, those below zero dashed; return them."""
    if mesh.domain.kind == "sphere":
        x = HALF_WIDTH * ((2 * np.arange(PIXELS) + 1) / PIXELS - 1)
        y = HALF_HEIGHT * ((4 * np.arange(PIXELS // 2) + 2) / PIXELS - 1)
        return draw_lines(axes, axes.contour, scale, x, y, _globe_pixels(mesh, field, "smooth"))
    longitude = box[0] + (mesh.longitudes - box[0]) % 360.0
    if mesh.structured:
        order = np.argsort(longitude.reshape(mesh.shape)[0])
        grid = np.ma.masked_invalid(field.reshape(mesh.shape)[:, order])
        latitude = mesh.latitudes.reshape(mesh.shape)[:, 0]
        return draw_lines(axes, axes.contour, scale, longitude.reshape(mesh.shape)[0, order], latitude, grid)
    there = np.isfinite(field)
    return draw_lines(axes, axes.tricontour, scale, longitude[there], mesh.latitudes[there], field[there])


def draw_lines(
    axes: Axes, contour: Callable[..., ContourSet], scale: ColourScale, x: Array, y: Array, field: Array
) -> ContourSet | None:
    """Draw labelled lines at round values within the colours' ends by one of matplotlib's `contour` functions.

    Return them, None where the field is too even or too small to have any.
    """
    levels = MaxNLocator(10, steps=[1, 2, 2.5, 4, 5, 10]).tick_values(scale.low, scale.high)
    found = np.ma.masked_invalid(field).compressed()
    levels = levels[(levels > found.min(initial=np.inf)) & (levels < found.max(initial=-np.inf))]
    even = scale.high - scale.low <= 1e-9 * max(abs(scale.low), abs(scale.high))  # but for rounding
    if even or len(levels) == 0 or found.size < 4 or min(len(x), len(y)) < 2:
        return None
    lines = contour(x, y, field, levels=levels, colors="black", linewidths=0.5, alpha=0.8)
    axes.clabel(lines, levels[len(levels) % 2 :: 2] if len(levels) > 2 else levels, fontsize=5.5, fmt="%g")
    return lines


def map_box(mesh: Mesh) -> Box:
    """Return west, east, south and north [degrees] around a mesh, to a pole among its nodes; the sphere from 180 W."""
    if mesh.domain.kind == "sphere":
        return WHOLE
    longitude = np.sort(mesh.longitudes)
    gaps = np.diff(longitude, append=longitude[0] + 360.0)
    start = (int(gaps.argmax()) + 1) % len(longitude)  # the widest gap lies outside the area
    west = (longitude[start] + 180.0) % 360.0 - 180.0
    width = 360.0 - gaps.max()
    south, north = _reaching_poles(mesh)
    if mesh.structured:  # half a cell beyond the outer nodes
        across, along = 0.5 * width / (mesh.shape[1] - 1), 0.5 * (north - south) / (mesh.shape[0] - 1)
    else:
        across = along = 0.5 * np.sqrt(width * (north - south) / mesh.num_nodes)
    east = min(west + width + across, west - across + 360.0)
    return float(west - across), float(east), float(max(south - along, -90.0)), float(min(north + along, 90.0))


def _reaching_poles(mesh: Mesh) -> tuple[float, float]:
    """Return the southernmost and northernmost latitude of an area; a pole where one lies among the nodes."""
    tree = cKDTree(mesh.positions)
    spacing = tree.query(mesh.positions, k=2)[0][:, 1].max()
    near_south, near_north = (tree.query([0.0, 0.0, pole])[0] < spacing for pole in (-1.0, 1.0))
    return -90.0 if near_south else mesh.latitudes.min(), 90.0 if near_north else mesh.latitudes.max()


def map_size(mesh: Mesh, width: float) -> tuple[float, float]:
    """Return width and height of a map panel [inch]."""
    if mesh.domain.kind == "sphere":
        return width, width * HALF_HEIGHT / HALF_WIDTH
    box = map_box(mesh)
    return width, float(np.clip(width * 0.8 * (box[3] - box[2]) / (box[1] - box[0]) * _stretch(box), 1.2, 4.5))


def raster(mesh: Mesh, field: Array, box: Box) -> np.ma.MaskedArray[Any, Any]:
    """Return a field [node] as the pixels of its map, for the image `draw_map` returns."""
    return _globe_pixels(mesh, field) if mesh.domain.kind == "sphere" else _area_pixels(mesh, field, box)[2]


def degrees(value: float, positive: str, negative: str) -> str:
    """Return `30°N`, `0°`, `120°W`."""
    hemisphere = "" if value in (0, 180, -180) else positive if value > 0 else negative
    return f"{abs(value):g}°{hemisphere}"


# Winds ----------------------------------------------------------------------------------------------------------------


def draw_wind(axes: Axes, mesh: Mesh, wind: Array, longest: float) -> Quiver:
    """Return arrows of a wind [node, (east, north)] on a map of the whole sphere, evenly spread.

    longest: the speed of an arrow of a spacing and a half, the same on all panels that may be compared.
    """
    x, y = _arrow_places()
    options: dict[str, Any] = {"angles": "xy", "scale_units": "xy", "scale": longest / (3 * HALF_WIDTH / ARROWS)}
    arrows = axes.quiver(x, y, *wind_arrows(mesh, wind), width=0.0035, headwidth=3.5, pivot="middle", **options)
    arrows.set_color("black")
    return arrows


def wind_arrows(mesh: Mesh, wind: Array) -> tuple[Array, Array]:
    """Return x and y components of the arrows of a wind [node, (east, north)], for `Quiver.set_UVC`."""
    at_nodes = tangent_frames(mesh.positions)
    vectors = sum(component[:, None] * frame for component, frame in zip(wind.T, at_nodes, strict=True))
    longitude, latitude = unproject(*_arrow_places())
    there = _weights(mesh, "arrows") @ np.nan_to_num(vectors)  # no mean of components: frames turn near the poles
    local = [np.sum(there * frame, axis=1) for frame in tangent_frames(to_xyz(latitude, longitude))]
    return directions(longitude, latitude, *local)


def draw_wind_key(axes: Axes, arrows: Quiver, speed: float, unit: str) -> None:
    """What an arrow's length means, above the right of a globe's panel."""
    options: dict[str, Any] = {"labelpos": "W", "labelsep": 0.05, "fontproperties": {"size": 7}}
    axes.quiverkey(arrows, 0.97, 1.04, speed, f"{speed:g} {unit}", **options)


@lru_cache(maxsize=1)
def _arrow_places() -> tuple[Array, Array]:
    """Return x and y of the arrows: rows shifted by half a spacing in turn, those well inside the outline."""
    spacing = 2 * HALF_WIDTH / ARROWS
    rows = np.arange(-HALF_HEIGHT + 0.5 * spacing, HALF_HEIGHT, spacing * np.sqrt(0.75))
    rows += 0.5 * (HALF_HEIGHT - 0.5 * spacing - rows[-1])
    columns = spacing * (np.arange(ARROWS + 1) - ARROWS / 2)
    x, y = np.meshgrid(columns, rows)
    x = x + 0.5 * spacing * (np.arange(len(rows)) % 2)[:, None]
    inside = np.isfinite(unproject(x * 1.04, y)[0])
    return x[inside], y[inside]


# The globe ------------------------------------------------------------------------------------------------------------


def _draw_globe(axes: Axes, mesh: Mesh, field: Array, scale: ColourScale, coasts: bool) -> Any:
    extent = (-HALF_WIDTH, HALF_WIDTH, -HALF_HEIGHT, HALF_HEIGHT)
    image = axes.imshow(
        _globe_pixels(mesh, field), extent=extent, origin="lower", interpolation="nearest", **scale.options
    )
    edge = Polygon(outline(), closed=True, fill=False, edgecolor="#404040", linewidth=0.7)
    axes.add_patch(edge)
    image.set_clip_path(edge)
    axes.add_collection(LineCollection(_graticule(), colors="black", linewidths=0.3, alpha=0.25))
    if coasts:
        lines = [np.stack(project(line[:, 0].clip(-180, 180), line[:, 1]), axis=1) for line in coastlines(WHOLE)]
        axes.add_collection(LineCollection(lines, colors="white", linewidths=1.0, alpha=0.6))
        axes.add_collection(LineCollection(lines, colors="black", linewidths=0.4))
    axes.set(xlim=(-1.005 * HALF_WIDTH, 1.005 * HALF_WIDTH), ylim=(-1.01 * HALF_HEIGHT, 1.01 * HALF_HEIGHT))
    axes.set_aspect("equal")
    axes.grid(False)
    axes.set_axis_off()
    return image


def label_parallels(axes: Axes) -> None:
    """Latitudes at the left rim of a globe."""
    for latitude in (-60, -30, 0, 30, 60):
        x, y = project(-180.0, latitude)
        label = degrees(latitude, "N", "S")
        axes.text(float(x) - 0.06, float(y), label, ha="right", va="center", fontsize=6.5, color="#404040")


def _graticule() -> list[NDArray[np.float64]]:
    """Return meridians every 60 degrees and parallels every 30, as lines on the plane."""
    latitude, longitude = np.linspace(-90, 90, 91), np.array([-180.0, 180.0])
    meridians = [np.stack(project(np.full(91, east), latitude), axis=1) for east in range(-120, 180, 60)]
    parallels = [np.stack(project(longitude, np.full(2, north)), axis=1) for north in range(-60, 90, 30)]
    return meridians + parallels


def _globe_pixels(mesh: Mesh, field: Array, places: str = "pixels") -> np.ma.MaskedArray[Any, Any]:
    """Return the pixels [row, column] from south to north, masked outside the globe and where the field is NaN."""
    there = np.isfinite(field)
    weights = _weights(mesh, places)
    values = weights @ np.where(there, field, 0.0)
    share = np.asarray(weights.sum(axis=1)).ravel() if there.all() else weights @ there.astype(np.float64)
    pixels = np.full((PIXELS // 2, PIXELS), np.nan)
    with np.errstate(invalid="ignore", divide="ignore"):
        pixels[np.isfinite(_pixel_places()[0])] = np.where(share > 0.5, values / share, np.nan)
    return np.ma.masked_invalid(pixels)


@lru_cache(maxsize=1)
def _pixel_places() -> tuple[Array, Array]:
    """Return longitude and latitude of every pixel, those of the rim where it cuts one, NaN outside the globe."""
    x = HALF_WIDTH * ((2 * np.arange(PIXELS) + 1) / PIXELS - 1)
    y = HALF_HEIGHT * ((4 * np.arange(PIXELS // 2) + 2) / PIXELS - 1)
    x, y = np.meshgrid(x, y)
    margin = 2 * HALF_WIDTH / PIXELS
    rim = project(180.0, unproject(np.zeros_like(y), y)[1])[0]
    cut = (np.abs(x) > rim) & (np.abs(x) < rim + margin)
    return unproject(np.where(cut, np.sign(x) * rim * (1 - 1e-9), x), y)


@lru_cache(maxsize=8)  # all panels and frames of a figure ask for the same
def _weights(mesh: Mesh, places: str) -> csr_array:
    """Return the weights [place, node] of nodes at places: the cell of a grid, else linear within a triangle.

    Of places "smooth", the pixels, linear on a grid, too: lines of equal value have no steps.
    """
    longitude, latitude = unproject(*_arrow_places()) if places == "arrows" else _pixel_places()
    longitude, latitude = longitude[np.isfinite(longitude)], latitude[np.isfinite(longitude)]
    count = len(longitude)
    if mesh.structured and places != "smooth":
        node = _nearest_cell(mesh, longitude, latitude)
        return csr_array((np.ones(count), (np.arange(count), node)), shape=(count, mesh.num_nodes))
    whole = mesh if mesh.faces is not None else replace(mesh, faces=delaunay(mesh.positions))
    grid = Mesh(to_xyz(latitude, longitude), np.full(count, 1 / count), (count,), mesh.domain)
    (node, place), share = (found.numpy() for found in containing_triangle(whole, grid))
    return csr_array((share, (place, node)), shape=(count, mesh.num_nodes))


def _nearest_cell(mesh: Mesh, longitude: Array, latitude: Array) -> NDArray[np.int64]:
    """Return the grid's node [place] nearest in latitude and in longitude."""
    rows = mesh.latitudes.reshape(mesh.shape)[:, 0]
    columns = mesh.longitudes.reshape(mesh.shape)[0] % 360.0
    by_row, by_column = np.argsort(rows), np.argsort(columns)
    row = by_row[np.searchsorted(edges(rows[by_row])[1:-1], latitude)]
    ordered = columns[by_column]
    seam = (ordered[-1] - 360.0 + ordered[0]) / 2
    column = by_column[np.searchsorted(edges(ordered)[1:-1], (longitude - seam) % 360.0 + seam)]
    return row * mesh.shape[1] + column


# A limited area -------------------------------------------------------------------------------------------------------


def _draw_area(axes: Axes, mesh: Mesh, field: Array, scale: ColourScale, box: Box, coasts: bool) -> Any:
    longitude, latitude, pixels = _area_pixels(mesh, field, box)
    image = axes.pcolormesh(longitude, latitude, pixels, rasterized=True, **scale.options)
    lines = coastlines(box) if coasts else []
    fine = 0.6 if box[1] - box[0] > 90 else 1.0
    axes.add_collection(LineCollection(lines, colors="white", linewidths=1.6 * fine, alpha=0.6))
    axes.add_collection(LineCollection(lines, colors="black", linewidths=0.6 * fine))
    west, east, south, north = box
    axes.set(xlim=(west, east), ylim=(south, north), aspect=_stretch(box))
    axes.grid(False)
    steps = [1, 1.5, 3, 4.5, 6, 9, 10] if east - west > 90 else [1, 2, 2.5, 5, 10]
    axes.xaxis.set_major_locator(MaxNLocator(4, steps=steps))
    axes.yaxis.set_major_locator(MaxNLocator(4, steps=steps))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: degrees((value + 180) % 360 - 180, "E", "W")))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: degrees(value, "N", "S")))
    return image


def _area_pixels(mesh: Mesh, field: Array, box: Box) -> tuple[Array, Array, np.ma.MaskedArray[Any, Any]]:
    """Return edges of longitude and latitude [degrees], and the field there, of scattered nodes the nearest one's."""
    west = box[0]
    if mesh.structured:
        grid = field.reshape(mesh.shape)
        longitude = west + (mesh.longitudes.reshape(mesh.shape)[0] - west) % 360.0
        order = np.argsort(longitude)
        latitude = mesh.latitudes.reshape(mesh.shape)[:, 0]
        return edges(longitude[order]), np.clip(edges(latitude), -90, 90), np.ma.masked_invalid(grid[:, order])
    columns = 360
    longitude = np.linspace(box[0], box[1], columns + 1)
    latitude = np.linspace(box[2], box[3], max(int(columns * (box[3] - box[2]) / (box[1] - box[0])), 2) + 1)
    lon, lat = np.meshgrid(*((sides[1:] + sides[:-1]) / 2 for sides in (longitude, latitude)))
    tree = cKDTree(mesh.positions)
    distance, nearest = tree.query(to_xyz(lat, lon))
    spacing = tree.query(mesh.positions, k=2)[0][:, 1].max()
    shown = np.ma.masked_where(distance > spacing, np.ma.masked_invalid(field[nearest]))
    return longitude, latitude, shown


def edges(centres: Array) -> Array:
    """Return the edges [n + 1] halfway between the centres [n]."""
    if len(centres) == 1:
        return np.array([centres[0] - 0.5, centres[0] + 0.5])
    middle = (centres[1:] + centres[:-1]) / 2
    return np.concatenate([[2 * centres[0] - middle[0]], middle, [2 * centres[-1] - middle[-1]]])


def _stretch(box: Box) -> float:
    """Return a degree of latitude over one of longitude in the middle of an area; half the globe is drawn flat."""
    if box[1] - box[0] >= 180:
        return 1.0
    return float(1 / max(np.cos(np.radians((box[2] + box[3]) / 2)), 0.2))
