"""Pictures of graphs: a mesh on the globe and on a map, one node's neighbourhood lit up."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from graphs.atomic_file import atomic_file
from graphs.geometry import tangent_displacement, tangent_frames, to_xyz
from graphs.graph import Graph, ModelGraphs
from graphs.mesh import Mesh
from inference.pictures.coastlines import coastlines
from inference.pictures.map_projection import outline, project

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Array = NDArray[np.float64]
MOST_EDGES = 20_000  # drawn in the background; more would be a grey block
GLOBE = (-180.0, 180.0, -90.0, 90.0)
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
    from matplotlib.figure import Figure

    whole, linked = hidden.domain.kind == "sphere", graphs.encoder is not None and graphs.decoder is not None
    figure = Figure(figsize=(12.6, 5.0 + 5.6 * linked) if whole else (15.0, 5.6), layout="constrained")
    title = f"data on a {mesh.describe()}" + (f", messages on a {hidden.describe()}" if linked else "")
    halves = np.asarray(figure.subfigures(2, 1, height_ratios=[5.0, 5.6]) if whole and linked else [figure, figure])
    over, under = halves
    widths = [1.0, 1.9] if whole else [1.0, 1.0, 1.0]
    panels = list(over.subplots(1, len(widths), width_ratios=widths))
    _draw_globe(panels.pop(0), graphs.processor, hidden)
    if whole:
        _draw_world(panels.pop(0), graphs.processor, hidden)
    if graphs.encoder is not None and graphs.decoder is not None:
        panels = panels or list(under.subplots(1, 2))
        _draw_link(panels[0], graphs.encoder, mesh, hidden, hidden, "encoder", "grid point", "mesh node")
        _draw_link(panels[1], graphs.decoder, hidden, mesh, hidden, "decoder", "mesh node", "grid point")
    over.suptitle(title)
    with atomic_file(output) as part:
        figure.savefig(part, dpi=150, format="png")


def _draw_globe(axes: Axes, graph: Graph, mesh: Mesh) -> None:
    """The near side of the globe, straight from above VIEW: the edges, the longer the darker."""
    from matplotlib.collections import LineCollection

    centre = to_xyz(*VIEW) if mesh.domain.kind == "sphere" else _middle(mesh)
    rows = np.stack([*tangent_frames(centre), centre])  # east, north, towards the viewer
    circle = np.linspace(0, 2 * np.pi, 361)
    axes.fill(np.cos(circle), np.sin(circle), facecolor="0.97", edgecolor="0.3", linewidth=0.8, zorder=0)
    for line in coastlines(GLOBE if mesh.domain.kind == "sphere" else _around(mesh)):
        x, y, depth = rows @ to_xyz(line[:, 1], line[:, 0]).T
        axes.plot(np.where(depth > 0, x, np.nan), np.where(depth > 0, y, np.nan), color=COAST, linewidth=0.5, zorder=1)
    seen = mesh.positions @ rows.T
    senders, receivers = _undirected(graph)
    near = (seen[senders, 2] > 0) & (seen[receivers, 2] > 0)
    senders, receivers = senders[near], receivers[near]
    lengths = np.linalg.norm(mesh.positions[senders] - mesh.positions[receivers], axis=1)
    octave = np.round(np.log2(lengths / lengths.min())).astype(int)  # the levels of a multi-mesh
    for level in sorted(set(octave), reverse=True):
        chosen = np.flatnonzero(octave == level)
        if chosen.size > MOST_EDGES:
            continue  # a grey block
        strength = (level + 1) / (octave.max() + 1)
        lines = seen[np.stack([senders[chosen], receivers[chosen]], axis=1), :2]
        colour = (*(np.array([0.0, 0.45, 0.7]) * strength + 0.75 * (1 - strength)), 0.9)
        axes.add_collection(
            LineCollection(list(lines), colors=[colour], linewidths=0.35 + 1.1 * strength, zorder=2 + strength)
        )
    if (seen[:, 2] > 0).sum() < 2000:
        front = seen[seen[:, 2] > 0]
        axes.scatter(front[:, 0], front[:, 1], s=4, color="0.2", linewidths=0, zorder=4)
    extent = min(1.02, 2.5 * np.abs(seen[:, :2]).max())
    axes.set_xlim(-extent, extent)
    axes.set_ylim(-extent, extent)
    axes.set_aspect("equal")
    axes.set_axis_off()
    axes.set_title(f"processor: {graph.num_edges:,} edges", fontsize=10)


def _draw_world(axes: Axes, graph: Graph, mesh: Mesh) -> None:
    """The whole sphere in Equal Earth; the edges that reach the node with the most, near 40 N 0 E, in colour."""
    from matplotlib.collections import LineCollection

    frame = outline()
    axes.fill(frame[:, 0], frame[:, 1], facecolor="0.97", edgecolor="0.3", linewidth=0.8, zorder=0)
    for line in coastlines(GLOBE):
        axes.plot(*project(np.clip(line[:, 0], -180, 180), line[:, 1]), color=COAST, linewidth=0.5, zorder=1)
    senders, receivers = _undirected(graph)
    lengths = np.linalg.norm(mesh.positions[senders] - mesh.positions[receivers], axis=1)
    short = lengths < 1.5 * lengths.min() if (lengths < 1.5 * lengths.min()).sum() <= MOST_EDGES else lengths > np.inf
    background = _arcs(mesh.positions[senders[short]], mesh.positions[receivers[short]], 3)
    axes.add_collection(LineCollection(background, colors=EDGE, linewidths=0.4, zorder=2))
    near = np.argsort(-(mesh.positions @ to_xyz(40.0, 0.0)))[: max(1, mesh.num_nodes // 12)]
    receiver = int(near[np.argmax(graph.in_degrees.numpy()[near])])
    heard = graph.senders[graph.receivers == receiver].numpy()
    arcs = _arcs(mesh.positions[heard], np.broadcast_to(mesh.positions[receiver], (len(heard), 3)), 40)
    axes.add_collection(LineCollection(arcs, colors=SENDER, linewidths=1.3, zorder=3))
    places = np.stack(project(*_degrees(mesh)), axis=1)
    axes.scatter(places[heard, 0], places[heard, 1], s=14, color=SENDER, linewidths=0, zorder=4, label="senders")
    axes.scatter(
        places[receiver, 0], places[receiver, 1], s=34, color=RECEIVER, linewidths=0, zorder=5, label="receiver"
    )
    axes.legend(loc="lower left", fontsize=8, frameon=False)
    axes.set_xlim(frame[:, 0].min() * 1.01, frame[:, 0].max() * 1.01)
    axes.set_ylim(frame[:, 1].min() * 1.02, frame[:, 1].max() * 1.02)
    axes.set_aspect("equal")
    axes.set_axis_off()
    axes.set_title(f"{len(heard)} edges reach the node shown", fontsize=10)


def _draw_link(
    axes: Axes, graph: Graph, senders: Mesh, receivers: Mesh, mesh: Mesh, what: str, sender: str, receiver: str
) -> None:
    """A few triangles of the mesh from near by [km east and north], and the edges that reach one receiver."""
    from matplotlib.collections import LineCollection

    aim = to_xyz(48.0, 9.0) if mesh.domain.kind == "sphere" else _middle(mesh)
    node = int(np.argmax(receivers.positions @ aim))
    origin = receivers.positions[node]
    heard = graph.senders[graph.receivers == node].numpy()
    kilometres = mesh.domain.size / 1e3
    assert mesh.faces is not None
    side = (
        np.linalg.norm(mesh.positions[mesh.faces[:, 0]] - mesh.positions[mesh.faces[:, 1]], axis=1).max() * kilometres
    )
    reach = max(1.5 * side, 1.15 * _seen_from(origin, senders.positions[heard], kilometres).max(initial=0.0))

    mesh_places = _seen_from(origin, mesh.positions, kilometres)
    faces = mesh.faces[(np.linalg.norm(mesh_places, axis=1) < 3 * reach)[mesh.faces].all(axis=1)]
    outlines = mesh_places[np.concatenate([faces, faces[:, :1]], axis=1)]
    axes.add_collection(LineCollection(list(outlines), colors=EDGE, linewidths=0.9, zorder=1))
    grid = senders if senders is not mesh else receivers
    grid_places = _seen_from(origin, grid.positions, kilometres)
    axes.scatter(grid_places[:, 0], grid_places[:, 1], s=5, color="0.55", linewidths=0, zorder=2)
    places = _seen_from(origin, senders.positions[heard], kilometres)
    axes.add_collection(
        LineCollection([np.stack([place, (0.0, 0.0)]) for place in places], colors=SENDER, linewidths=1.2, zorder=3)
    )
    axes.scatter(places[:, 0], places[:, 1], s=22, color=SENDER, linewidths=0, zorder=4, label=f"{sender} that sends")
    axes.scatter(0, 0, s=40, color=RECEIVER, linewidths=0, zorder=5, label=f"{receiver} that receives")
    axes.set_xlim(-reach, reach)
    axes.set_ylim(-reach, reach)
    axes.set_aspect("equal")
    axes.set_xlabel("east [km]")
    axes.set_ylabel("north [km]")
    axes.legend(loc="lower left", ncols=2, fontsize=8, framealpha=1.0)
    place = f"{abs(receivers.latitudes[node]):.1f}°{'N' if receivers.latitudes[node] >= 0 else 'S'}"
    axes.set_title(f"{what}: {graph.num_edges:,} edges, {len(heard)} here at {place}", fontsize=10)


def _seen_from(origin: Array, positions: Array, scale: float) -> Array:
    """[point, (east, north)] of positions in the tangent plane of `origin`, distances true."""
    return np.stack(tangent_displacement(np.broadcast_to(origin, positions.shape), positions), axis=1) * scale


def _undirected(graph: Graph) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Both ends of the edges, each pair once."""
    senders, receivers = graph.edge_index.cpu().numpy()
    once = senders < receivers
    return senders[once], receivers[once]


def _arcs(start: Array, end: Array, points: int) -> list[Array]:
    """Great-circle arcs as lines of the world map, cut where they cross its edge at 180 degrees."""
    share = np.linspace(0, 1, points)[:, None]
    lines = []
    for a, b in zip(start, end, strict=True):
        way = a * (1 - share) + b * share
        longitude, latitude = (
            np.degrees(np.arctan2(way[:, 1], way[:, 0])),
            np.degrees(np.arctan2(way[:, 2], np.hypot(way[:, 0], way[:, 1]))),
        )
        line = np.stack(project(longitude, latitude), axis=1)
        for piece in np.split(line, np.flatnonzero(np.abs(np.diff(longitude)) > 180.0) + 1):
            if len(piece) > 1:
                lines.append(piece)
    return lines


def _degrees(mesh: Mesh) -> tuple[Array, Array]:
    """Longitudes from -180 to 180 and latitudes."""
    return (mesh.longitudes + 180.0) % 360.0 - 180.0, mesh.latitudes


def _around(mesh: Mesh) -> tuple[float, float, float, float]:
    """West, east, south and north [degrees] of what is seen around a limited area."""
    west_or_east, latitudes = (mesh.longitudes - mesh.longitudes[0] + 180.0) % 360.0 - 180.0, mesh.latitudes
    west_or_east = west_or_east + (mesh.longitudes[0] + 180.0) % 360.0 - 180.0
    wide, high = np.ptp(west_or_east), np.ptp(latitudes)
    return (
        float(west_or_east.min() - 2 * wide),
        float(west_or_east.max() + 2 * wide),
        float(max(latitudes.min() - 2 * high, -90.0)),
        float(min(latitudes.max() + 2 * high, 90.0)),
    )


def _middle(mesh: Mesh) -> Array:
    centre = mesh.areas @ mesh.positions
    return centre / np.linalg.norm(centre)


def draw_graph(graph: Graph, mesh: Mesh, output: Path) -> None:
    """Draw the mesh, its edges, and in colour the edges that reach one node in the middle."""
    from matplotlib.collections import LineCollection
    from matplotlib.figure import Figure

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
    figure = Figure(figsize=(7, 6.5 if on_ring else 5), layout="constrained")
    axes = figure.add_subplot()
    if len(lines) <= MOST_EDGES:
        axes.add_collection(LineCollection(list(lines[~wrapped]), colors="0.8", linewidths=0.5, zorder=1))
    axes.scatter(places[:, 0], places[:, 1], s=6, color="0.35", zorder=2, linewidths=0)
    near = (receivers == middle) & ~wrapped
    axes.add_collection(LineCollection(list(lines[near]), colors="#0072B2", linewidths=1.5, zorder=3))
    axes.scatter(places[senders[near], 0], places[senders[near], 1], s=22, color="#0072B2", zorder=4, label="senders")
    axes.scatter(places[middle, 0], places[middle, 1], s=40, color="#D55E00", zorder=5, label="receiver")
    if on_ring:
        axes.set_aspect("equal")
        axes.set_axis_off()
    else:
        axes.set_aspect(1.0 / max(np.cos(np.radians(places[:, 1].mean())), 0.2))
        axes.set_xlabel("longitude [degrees east]")
        axes.set_ylabel("latitude [degrees north]")
    axes.set_title(f"{mesh.describe()}: {graph.num_edges} edges, {int(near.sum())} reach the receiver shown")
    axes.legend(loc="upper right", framealpha=1.0)
    with atomic_file(output) as part:
        figure.savefig(part, dpi=150, format="png")
