"""What touches what: edges inside one mesh, or from one mesh to another.

Every function returns an `edge_index` [2, edge] int64, row 0 senders, row 1 receivers, sorted by receiver and, for one
receiver, by sender. Distances are along the great circle, on a ring along its arc.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
import torch
from scipy.spatial import cKDTree
from torch import Tensor

from graphs.available_memory import refuse_too_large
from graphs.errors import MeshcastError
from graphs.geometry import Array, Index, Mask, tangent_frames
from graphs.graph import Graph
from graphs.mesh import Mesh
from graphs.meshes.icosphere import faces_by_level, is_icosphere, sides_by_level

ON_A_SIDE = 1e-9  # barycentric weight below which a point counts as on a face's side
BYTES_PER_EDGE = 250  # while features are computed, measured with five million edges
BYTES_PER_CELL = 16  # of a neighbour table: its senders, and how many there are
POSITIONS = (("offset_north", "offset_east"), ("displacement",), ("displacement_east", "displacement_north"))
MOST_CANDIDATES = 20_000_000  # pairs of a point and a face looked at in one go


def ring_hops(mesh: Mesh, hops: Sequence[int]) -> Tensor:
    """Return edges to every node from those `hop` nodes to its left and to its right, for each of several `hops`."""
    if mesh.domain.kind != "ring":
        raise MeshcastError(f"Hops need a ring, but this is a {mesh.describe()}. Use kind: nearest or stencil.")
    nodes = mesh.num_nodes
    for hop in hops:
        if hop < 1 or 2 * hop >= nodes:
            raise MeshcastError(
                f"Hops on a ring of {nodes} nodes must lie in 1 to {(nodes - 1) // 2}, below half way around, but one "
                f"is {hop}."
            )
    if not hops or len(set(hops)) != len(hops):
        raise MeshcastError(f"Hops must be different and at least one, but are {list(hops)}.")
    receivers = np.arange(nodes)
    offsets = np.array([sign * hop for hop in hops for sign in (-1, 1)])
    senders = (receivers[:, None] + offsets) % nodes
    return _edge_index(senders.ravel(), np.repeat(receivers, offsets.size))


def stencil(mesh: Mesh, radius: int, shape: Literal["square", "disc"] = "square", self_edges: bool = False) -> Tensor:
    """Return edges to every node of a grid from those at most `radius` rows and columns away.

    Columns wrap around where the longitudes close the circle; rows end at the first and the last latitude.

    radius: in rows and columns; the disc keeps offsets with di² + dj² at most radius².
    self_edges: whether a node sends to itself, offset (0, 0).
    """
    if not mesh.structured:
        raise MeshcastError(
            f"A stencil needs a grid of latitudes and longitudes, but this is a {mesh.describe()} without structure. "
            "Use kind: nearest or radius."
        )
    rows, columns = mesh.shape
    periodic = mesh.domain.periodic
    if radius < 1 or (periodic and 2 * radius >= columns):
        raise MeshcastError(
            f"A stencil on a {mesh.describe()} needs a radius of 1 to {(columns - 1) // 2}, but it is {radius}."
        )
    step = np.arange(-radius, radius + 1)
    di, dj = (offset.ravel() for offset in np.meshgrid(step, step, indexing="ij"))
    keep = np.full(di.shape, True) if shape == "square" else di**2 + dj**2 <= radius**2
    if not self_edges:
        keep &= (di != 0) | (dj != 0)
    row, column = np.divmod(np.arange(mesh.num_nodes), columns)
    i, j = row[:, None] + di[keep], column[:, None] + dj[keep]  # [receiver, offset]
    inside = (i >= 0) & (i < rows)
    if periodic:
        j = j % columns
    else:
        inside &= (j >= 0) & (j < columns)
    receivers = np.broadcast_to(np.arange(mesh.num_nodes)[:, None], i.shape)
    return _edge_index((i * columns + j)[inside], receivers[inside])


def multi_mesh(mesh: Mesh, levels: Sequence[int] | None = None) -> Tensor:
    """Return the sides of the faces of several levels of an icosphere, both ways (Lam et al. 2023, arXiv:2212.12794).

    Every node of the finest level receives from its near neighbours, those of coarser ones their far neighbours too:
    all levels of an icosphere of level n have 60 (4^(n + 1) - 1) / 3 directed edges. A part of an icosphere and a
    stretched mesh have those of their own nodes.

    levels: any subset; all where None. Nodes that belong to none of them stay without edges.
    """
    whole = is_icosphere(mesh)
    by_level = faces_by_level(mesh) if whole else sides_by_level(mesh)
    chosen = range(len(by_level)) if levels is None else levels
    if not chosen or len(set(chosen)) != len(chosen) or not all(0 <= level < len(by_level) for level in chosen):
        raise MeshcastError(
            f"Levels of this {mesh.describe()} must be different ones of 0 to {len(by_level) - 1}, at least one, but "
            f"are {list(chosen)}."
        )
    if not whole:
        sides = np.unique(np.concatenate([by_level[level] for level in chosen]), axis=0)
        return _edge_index(*np.concatenate([sides, sides[:, ::-1]]).T)
    faces = np.concatenate([by_level[level] for level in chosen])
    # Faces turn anticlockwise on a closed surface, so that every side is met once in either direction.
    return _edge_index(faces.ravel(), np.roll(faces, -1, axis=1).ravel())


def nearest(senders: Mesh, receivers: Mesh, k: int) -> Tensor:
    """Return edges to every receiver from its `k` nearest senders, inside one mesh without the node itself."""
    _refuse_different_domains(senders, receivers)
    within_one_mesh = senders.same_nodes(receivers)
    available = senders.num_nodes - within_one_mesh
    if not 1 <= k <= available:
        raise MeshcastError(f"Each node can have 1 to {available} nearest neighbours here, but {k} are asked for.")
    # One more inside one mesh, since the nearest is the node itself.
    found = cKDTree(senders.positions).query(receivers.positions, k=k + within_one_mesh)[1]
    found = found.reshape(receivers.num_nodes, -1)
    targets = np.broadcast_to(np.arange(receivers.num_nodes)[:, None], found.shape)
    if within_one_mesh:
        # Rows on a pole hold several nodes on one place, so the node itself need not come first, nor at all.
        other = found != targets
        other &= np.cumsum(other, axis=1) <= k
        found, targets = found[other], targets[other]
    return _edge_index(found.ravel(), targets.ravel())


def within(senders: Mesh, receivers: Mesh, distance: float) -> Tensor:
    """Return edges to every receiver from all senders at most `distance` away, itself left out; maybe none.

    distance: along the great circle [m]; on a ring, along it in the unit of its length.
    """
    _refuse_different_domains(senders, receivers)
    if not (np.isfinite(distance) and distance > 0):
        raise MeshcastError(f"The distance of edges must be positive, but is {distance}.")
    angle = min(distance / arc_radius(receivers), np.pi)
    chord = 2.0 * np.sin(angle / 2.0) * (1.0 + 1e-9)  # the grid's own spacing counts as within reach of itself
    one, other = cKDTree(senders.positions), cKDTree(receivers.positions)
    if senders.num_nodes * receivers.num_nodes > MOST_CANDIDATES:  # else no distance is too large
        count = int(one.count_neighbors(other, chord))
        refuse_too_large(BYTES_PER_EDGE * count, f"A graph of {count:,} edges", "Choose a smaller distance.")
    pairs = one.sparse_distance_matrix(other, chord, output_type="ndarray")
    sources, targets = pairs["i"].astype(np.int64), pairs["j"].astype(np.int64)
    if senders.same_nodes(receivers):
        other = sources != targets
        sources, targets = sources[other], targets[other]
    return _edge_index(sources, targets)


def containing_triangle(mesh: Mesh, grid: Mesh) -> tuple[Tensor, Tensor]:
    """Return edges to every grid point from the corners of the face around it, and their barycentric weights.

    Returns edge_index [2, 3 · grid point], senders on the mesh, and weights [edge] float64, at least zero, that sum to
    one at every receiver: w_a ∝ p · (b × c), linear interpolation in the plane of the face. A point on a side or a
    corner belongs to the face that lies east of it, else north, so that a turn of both meshes turns the edges.
    Raises MeshcastError where a point lies in no face, as outside a limited area.
    """
    _refuse_different_domains(mesh, grid)
    if mesh.faces is None:
        raise MeshcastError(
            f"Edges of kind triangle need a mesh with faces, but this is a {mesh.describe()} without. Use kind: "
            "nearest."
        )
    face, weights = locate(mesh.positions, mesh.faces, grid.positions)
    outside = np.flatnonzero(face < 0)
    if outside.size:
        raise MeshcastError(
            f"{outside.size} of {grid.num_nodes} grid points lie in no triangle of the {mesh.describe()}; the first is "
            f"{grid.place(outside[0])}. Use a mesh that reaches beyond the data, or kind: nearest."
        )
    corners = mesh.faces[face]
    order = np.argsort(corners, axis=1)  # by sender, as everywhere
    senders, weights = np.take_along_axis(corners, order, 1), np.take_along_axis(weights, order, 1)
    receivers = np.repeat(np.arange(grid.num_nodes), 3)
    return torch.from_numpy(np.stack([senders.ravel(), receivers])), torch.from_numpy(weights.ravel())


def arc_radius(mesh: Mesh) -> float:
    """Return the length one radian of arc stands for: the sphere's radius [m], or a ring's length over 2 π."""
    return mesh.domain.size / (2.0 * np.pi) if mesh.domain.kind == "ring" else mesh.domain.size


def refuse_unreached(edge_index: Tensor, receivers: Mesh, what: str = "the processor") -> None:
    """Raise where a receiver has no edge: it would receive nothing and its forecast would be noise."""
    reached = np.zeros(receivers.num_nodes, dtype=bool)
    reached[edge_index[1].numpy()] = True
    missing = np.flatnonzero(~reached)
    if missing.size:
        raise MeshcastError(
            f"{missing.size} of {receivers.num_nodes} receivers of {what} have no sender; the first is "
            f"{receivers.place(missing[0])}. Use a larger distance, or kind: nearest, which reaches every node."
        )


def relative_positions(graph: Graph, decimals: int = 6) -> tuple[Tensor, Tensor]:
    """Return the class [edge] of each edge's relative position, and the table [class, coordinate] of those that occur.

    On a ring these are the displacements, on a grid the offsets in rows and columns, else the displacements east and
    north; edges that agree to `decimals` are of one class.
    """
    names = next((names for names in POSITIONS if set(names) <= set(graph.feature_names)), None)
    if names is None:
        raise MeshcastError(
            f"Relative positions need displacements among the edge features, but these are {list(graph.feature_names)}."
        )
    columns = [graph.feature_names.index(name) for name in names]
    values = graph.edge_features[:, columns].cpu().numpy().round(decimals) + 0.0  # + 0.0 makes -0 and 0 one class
    # Number the rows by their columns' distinct values: np.unique of whole rows takes ten times as long.
    code = np.zeros(len(values), dtype=np.int64)
    for column in values.T:
        distinct, rank = np.unique(column, return_inverse=True)
        code = code * len(distinct) + rank
    _, first, classes = np.unique(code, return_index=True, return_inverse=True)
    return torch.from_numpy(classes.astype(np.int64)), torch.from_numpy(values[first])


def neighbour_table(graph: Graph, classes: Tensor, num_classes: int) -> Tensor:
    """Return the one sender [receiver, class] at each relative position, `num_senders` where there is none."""
    refuse_too_large(
        BYTES_PER_CELL * graph.num_receivers * num_classes,
        f"A table of {graph.num_receivers:,} receivers by {num_classes:,} relative positions",
        "Round less, or connect by hops or a stencil, whose edges repeat few positions.",
    )
    cells = graph.receivers * num_classes + classes.to(graph.receivers)
    counts = torch.bincount(cells, minlength=graph.num_receivers * num_classes)
    if bool((counts > 1).any()):
        cell = int(torch.nonzero(counts > 1)[0])
        raise MeshcastError(
            f"Receiver {cell // num_classes} has {int(counts[cell])} edges at relative position {cell % num_classes}; "
            "a neighbour table holds one. Round less, or connect by hops or a stencil."
        )
    table = cells.new_full((graph.num_receivers * num_classes,), graph.num_senders)
    table[cells] = graph.senders
    return table.view(graph.num_receivers, num_classes)


def _refuse_different_domains(senders: Mesh, receivers: Mesh) -> None:
    if senders.positions.shape[1] != receivers.positions.shape[1]:
        raise MeshcastError(f"A {senders.describe()} cannot be connected with a {receivers.describe()}.")


def _edge_index(senders: Index, receivers: Index) -> Tensor:
    # One sort of one key; a sort by two takes five times as long.
    span = int(senders.max(initial=0)) + 1
    receivers, senders = np.divmod(np.sort(receivers.astype(np.int64) * span + senders), span)
    return torch.from_numpy(np.stack([senders, receivers]))


def locate(positions: Array, faces: Index, targets: Array) -> tuple[Index, Array]:
    """Return the face [target] around each target, -1 where there is none, and barycentric weights [target, corner]."""
    corners = positions[faces]  # [face, corner, xyz]
    opposite = np.cross(np.roll(corners, -1, axis=1), np.roll(corners, -2, axis=1))  # b × c, c × a, a × b
    centres = corners.sum(axis=1)
    centres /= np.linalg.norm(centres, axis=1, keepdims=True)
    tree = cKDTree(centres)
    found = np.full(len(targets), -1, dtype=np.int64)
    weights = np.zeros((len(targets), 3))
    rest = np.arange(len(targets))
    # Among near-equilateral faces the nearest centre is nearly always that of the face; the others ask more of them.
    for k in (1, 8, 64, len(faces)):
        k = min(k, len(faces))
        if k * rest.size > MOST_CANDIDATES:  # slivers are few; what so many cannot find lies outside
            break
        candidates = tree.query(targets[rest], k=k)[1].reshape(-1, k)
        share = np.einsum("tkcx,tx->tkc", opposite[candidates], targets[rest])
        total = share.sum(axis=-1, keepdims=True)
        share = np.divide(share, total, out=np.full_like(share, -1.0), where=total > 0)  # the far side holds nobody
        depth = share.min(axis=-1)  # [target, candidate], negative outside
        if k == 1:
            choice, certain = np.zeros(len(rest), dtype=np.int64), depth[:, 0] > ON_A_SIDE
        else:
            choice = _eastern_most(depth > -ON_A_SIDE, centres[candidates], targets[rest])
            certain = np.take_along_axis(depth, choice[:, None], 1)[:, 0] > -ON_A_SIDE
        rows, chosen = np.flatnonzero(certain), choice[certain]
        found[rest[rows]] = candidates[rows, chosen]
        clipped = np.clip(share[rows, chosen], 0.0, None)
        weights[rest[rows]] = clipped / clipped.sum(axis=1, keepdims=True)
        rest = rest[~certain]
        if rest.size == 0:
            break
    return found, weights


def _eastern_most(allowed: Mask, centres: Array, targets: Array) -> Index:
    """Return the allowed candidate [target] whose centre lies most to the east, else north."""
    east, north = tangent_frames(targets)
    # An irrational direction, in which no two faces around one point can tie.
    lead = np.einsum("tkx,tx->tk", centres - targets[:, None], east + (np.sqrt(5.0) - 2.0) * north)
    return np.where(allowed, lead, -np.inf).argmax(axis=1)
