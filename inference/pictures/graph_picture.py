"""Pictures of graphs: a mesh on the globe and on a map, one node's neighbourhood lit up."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from numpy.typing import NDArray

from graphs.atomic_file import atomic_file
from graphs.geometry import tangent_displacement, tangent_frames, to_xyz
from graphs.graph import Graph, ModelGraphs
from graphs.mesh import Mesh
from inference.pictures.coastlines import Box, coastlines
from inference.pictures.map_projection import outline, project
from inference.pictures.maps import WHOLE

Array = NDArray[np.float64]
MOST_EDGES = 20_000  # drawn in the background; more would be a grey block
VIEW = (35.0, 10.0)  # latitude and longitude over which the globe is seen [degrees]
RECEIVER, SENDER, EDGE, COAST = "#D55E00", "#0072B2", "0.72", "0.45"


def draw_graphs(graphs: ModelGraphs, mesh: Mesh, output: Path) -> None:
    """Draw graphs on the globe in 3-D, on a map of the world, and the links between grid and mesh from near by.

    On a ring, and on a limited area whose messages stay on its own nodes, one picture of the processor.
    """
    hidden = mesh if graphs.mesh is None else graphs.mesh
    if mesh.domain.kind == "ring" or (mesh.domain.kind == "limited_area" and graphs.mesh is None):
        draw_graph(graphs.processor, mesh, output)
        return
    whole, linked = hidden.domain.kind == "sphere", graphs.encoder is not None and graphs.decoder is not None
    figure = Figure(figsize=(12.6, 5.0 + 5.6 * linked) if whole else (15.0, 5.6), layout="constrained")
    over: Any = figure
    if whole and linked:
        over, under = np.asarray(figure.subfigures(2, 1, height_ratios=[5.0, 5.6]))
        panels = [*over.subplots(1, 2, width_ratios=[1.0, 1.9]), *under.subplots(1, 2)]
    else:
        panels = list(figure.subplots(1, 2, width_ratios=[1.0, 1.9]) if whole else figure.subplots(1, 3))
    _draw_globe(panels.pop(0), graphs.processor, hidden)
    if whole:
        _draw_world(panels.pop(0), graphs.processor, hidden)
    if graphs.encoder is not None and graphs.decoder is not None:
        _draw_link(panels[0], graphs.encoder, mesh, hidden, hidden, ("encoder", "grid point", "mesh node"))
        _draw_link(panels[1], graphs.decoder, hidden, mesh, hidden, ("decoder", "mesh node", "grid point"))
    messages = f", messages on a {hidden.describe()}" if linked else ""
    over.suptitle(f"data on a {mesh.describe()}{messages}")
    _save(figure, output)


def draw_graph(graph: Graph, mesh: Mesh, output: Path) -> None:
    """Draw the mesh, its edges, and in colour the edges that reach one node in the middle."""
    on_ring = mesh.domain.kind == "ring"
    if on_ring:
        places, middle = mesh.positions, 0
    else:
        places = np.stack([(mesh.longitudes + 180.0) % 360.0 - 180.0, mesh.latitudes], axis=1)
        centre = (places.min(axis=0) + places.max(axis=0)) / 2
        middle = int(np.argmin(((places - centre) ** 2).sum(axis=1)))
    senders, receivers = graph.edge_index.cpu().numpy()
    lines = np.stack([places[senders], places[receivers]], axis=1)  # [edge, end, coordinate]
    wrapped = np.abs(lines[:, 0, 0] - lines[:, 1, 0]) > 180.0  # across the date line, no line to draw
    near = (receivers == middle) & ~wrapped
    figure = Figure(figsize=(7, 6.5 if on_ring else 5), layout="constrained")
    axes = figure.add_subplot()
    if len(lines) <= MOST_EDGES:
        _draw_lines(axes, lines[~wrapped], "0.8", 0.5, 1)
    _draw_points(axes, places, "0.35", 6, 2)
    _draw_lines(axes, lines[near], SENDER, 1.5, 3)
    axes.scatter(places[senders[near], 0], places[senders[near], 1], s=22, color=SENDER, zorder=4, label="senders")
    axes.scatter(places[middle, 0], places[middle, 1], s=40, color=RECEIVER, zorder=5, label="receiver")
    if on_ring:
        axes.set_aspect("equal")
        axes.set_axis_off()
    else:
        stretch = 1.0 / max(np.cos(np.radians(places[:, 1].mean())), 0.2)
        axes.set(aspect=stretch, xlabel="longitude [degrees east]", ylabel="latitude [degrees north]")
    axes.set_title(f"{mesh.describe()}: {graph.num_edges} edges, {int(near.sum())} reach the receiver shown")
    axes.legend(loc="upper right", framealpha=1.0)
    _save(figure, output)


def _draw_globe(axes: Axes, graph: Graph, mesh: Mesh) -> None:
    """Draw the near side of the globe, straight from above VIEW: the edges, the longer the darker."""
    centre = to_xyz(*VIEW) if mesh.domain.kind == "sphere" else _middle(mesh)
    rows = np.stack([*tangent_frames(centre), centre])  # east, north, towards the viewer
    circle = np.linspace(0, 2 * np.pi, 361)
    axes.fill(np.cos(circle), np.sin(circle), facecolor="0.97", edgecolor="0.3", linewidth=0.8, zorder=0)
    for line in coastlines(WHOLE if mesh.domain.kind == "sphere" else _around(mesh)):
        x, y, depth = rows @ to_xyz(line[:, 1], line[:, 0]).T
        axes.plot(np.where(depth > 0, x, np.nan), np.where(depth > 0, y, np.nan), color=COAST, linewidth=0.5, zorder=1)
    seen = mesh.positions @ rows.T
    senders, receivers, lengths = _undirected(graph, mesh)
    near = (seen[senders, 2] > 0) & (seen[receivers, 2] > 0)
    lines, lengths = seen[np.stack([senders[near], receivers[near]], axis=1), :2], lengths[near]
    octave = np.round(np.log2(lengths / lengths.min())).astype(int)  # the levels of a multi-mesh
    for level in sorted(set(octave), reverse=True):
        if (octave == level).sum() <= MOST_EDGES:
            strength = (level + 1) / (octave.max() + 1)
            colour = (*(np.array([0.0, 0.45, 0.7]) * strength + 0.75 * (1 - strength)), 0.9)
            _draw_lines(axes, lines[octave == level], colour, 0.35 + 1.1 * strength, 2 + strength)
    front = seen[seen[:, 2] > 0, :2]
    if len(front) < 2000:
        _draw_points(axes, front, "0.2", 4, 4)
    extent = min(1.02, 2.5 * np.abs(seen[:, :2]).max())
    axes.set(xlim=(-extent, extent), ylim=(-extent, extent), aspect="equal")
    axes.set_axis_off()
    axes.set_title(f"processor: {graph.num_edges:,} edges", fontsize=10)


def _draw_world(axes: Axes, graph: Graph, mesh: Mesh) -> None:
    """Draw the whole sphere in Equal Earth; the edges that reach the node with the most, near 40 N 0 E, in colour."""
    frame = outline()
    axes.fill(*frame.T, facecolor="0.97", edgecolor="0.3", linewidth=0.8, zorder=0)
    for line in coastlines(WHOLE):
        axes.plot(*project(np.clip(line[:, 0], -180, 180), line[:, 1]), color=COAST, linewidth=0.5, zorder=1)
    senders, receivers, lengths = _undirected(graph, mesh)
    short = lengths < 1.5 * lengths.min()
    if short.sum() <= MOST_EDGES:
        _draw_lines(axes, _arcs(mesh.positions[senders[short]], mesh.positions[receivers[short]], 3), EDGE, 0.4, 2)
    near = np.argsort(-(mesh.positions @ to_xyz(40.0, 0.0)))[: max(1, mesh.num_nodes // 12)]
    receiver = int(near[np.argmax(graph.in_degrees.numpy()[near])])
    reaching = graph.senders[graph.receivers == receiver].numpy()
    arcs = _arcs(mesh.positions[reaching], np.broadcast_to(mesh.positions[receiver], (len(reaching), 3)), 40)
    _draw_lines(axes, arcs, SENDER, 1.3, 3)
    places = np.stack(project((mesh.longitudes + 180.0) % 360.0 - 180.0, mesh.latitudes), axis=1)
    _draw_points(axes, places[reaching], SENDER, 14, 4, "senders")
    _draw_points(axes, places[[receiver]], RECEIVER, 34, 5, "receiver")
    axes.legend(loc="lower left", fontsize=8, frameon=False)
    (west, south), (east, north) = frame.min(axis=0), frame.max(axis=0)
    axes.set(xlim=(1.01 * west, 1.01 * east), ylim=(1.02 * south, 1.02 * north), aspect="equal")
    axes.set_axis_off()
    axes.set_title(f"{len(reaching)} edges reach the node shown", fontsize=10)


def _draw_link(
    axes: Axes, graph: Graph, senders: Mesh, receivers: Mesh, mesh: Mesh, names: tuple[str, str, str]
) -> None:
    """Draw triangles of the mesh [km east and north], and the edges that reach one receiver, by the names of all."""
    aim = to_xyz(48.0, 9.0) if mesh.domain.kind == "sphere" else _middle(mesh)
    node = int(np.argmax(receivers.positions @ aim))
    origin, kilometres = receivers.positions[node], mesh.domain.size / 1e3
    places = _seen_from(origin, senders.positions[graph.senders[graph.receivers == node].numpy()], kilometres)
    assert mesh.faces is not None
    sides = mesh.positions[mesh.faces[:, 0]] - mesh.positions[mesh.faces[:, 1]]
    side = np.linalg.norm(sides, axis=1).max() * kilometres
    reach = max(1.5 * side, 1.15 * places.max(initial=0.0))
    mesh_places = _seen_from(origin, mesh.positions, kilometres)
    faces = mesh.faces[(np.linalg.norm(mesh_places, axis=1) < 3 * reach)[mesh.faces].all(axis=1)]
    _draw_lines(axes, mesh_places[np.concatenate([faces, faces[:, :1]], axis=1)], EDGE, 0.9, 1)
    grid = senders if senders is not mesh else receivers
    _draw_points(axes, _seen_from(origin, grid.positions, kilometres), "0.55", 5, 2)
    _draw_lines(axes, np.stack([places, np.zeros_like(places)], axis=1), SENDER, 1.2, 3)
    what, sender, receiver = names
    _draw_points(axes, places, SENDER, 22, 4, f"{sender} that sends")
    _draw_points(axes, np.zeros((1, 2)), RECEIVER, 40, 5, f"{receiver} that receives")
    axes.set(xlim=(-reach, reach), ylim=(-reach, reach), aspect="equal", xlabel="east [km]", ylabel="north [km]")
    axes.legend(loc="lower left", ncols=2, fontsize=8, framealpha=1.0)
    place = f"{abs(receivers.latitudes[node]):.1f}°{'N' if receivers.latitudes[node] >= 0 else 'S'}"
    axes.set_title(f"{what}: {graph.num_edges:,} edges, {len(places)} here at {place}", fontsize=10)


def _draw_lines(axes: Axes, lines: Sequence[Array] | Array, colour: Any, width: float, zorder: float) -> None:
    axes.add_collection(LineCollection(list(lines), colors=[colour], linewidths=width, zorder=zorder))


def _draw_points(axes: Axes, places: Array, colour: str, size: float, zorder: float, label: str | None = None) -> None:
    axes.scatter(places[:, 0], places[:, 1], s=size, color=colour, linewidths=0, zorder=zorder, label=label)


def _save(figure: Figure, output: Path) -> None:
    with atomic_file(output) as temporary:
        figure.savefig(temporary, dpi=150, format="png")


def _seen_from(origin: Array, positions: Array, scale: float) -> Array:
    """Return positions [point, (east, north)] in the tangent plane of `origin`, distances true."""
    return np.stack(tangent_displacement(np.broadcast_to(origin, positions.shape), positions), axis=1) * scale


def _undirected(graph: Graph, mesh: Mesh) -> tuple[NDArray[np.int64], NDArray[np.int64], Array]:
    """Return both ends of the edges, each pair once, and their lengths."""
    senders, receivers = graph.edge_index.cpu().numpy()
    once = senders < receivers
    senders, receivers = senders[once], receivers[once]
    return senders, receivers, np.linalg.norm(mesh.positions[senders] - mesh.positions[receivers], axis=1)


def _arcs(start: Array, end: Array, points: int) -> list[Array]:
    """Return great-circle arcs as lines of the world map, cut where they cross its edge at 180 degrees."""
    share = np.linspace(0, 1, points)[:, None]
    lines = []
    for one, other in zip(start, end, strict=True):
        x, y, z = (one * (1 - share) + other * share).T
        longitude, latitude = np.degrees(np.arctan2(y, x)), np.degrees(np.arctan2(z, np.hypot(x, y)))
        line = np.stack(project(longitude, latitude), axis=1)
        pieces = np.split(line, np.flatnonzero(np.abs(np.diff(longitude)) > 180.0) + 1)
        lines += [piece for piece in pieces if len(piece) > 1]
    return lines


def _around(mesh: Mesh) -> Box:
    """Return west, east, south and north [degrees] of what is seen around a limited area."""
    first = (mesh.longitudes[0] + 180.0) % 360.0 - 180.0
    longitudes = first + (mesh.longitudes - mesh.longitudes[0] + 180.0) % 360.0 - 180.0
    wide, high = 2 * np.ptp(longitudes), 2 * np.ptp(mesh.latitudes)
    south, north = np.clip([mesh.latitudes.min() - high, mesh.latitudes.max() + high], -90.0, 90.0)
    return float(longitudes.min() - wide), float(longitudes.max() + wide), float(south), float(north)


def _middle(mesh: Mesh) -> Array:
    centre = mesh.areas @ mesh.positions
    return centre / np.linalg.norm(centre)
