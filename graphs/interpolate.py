"""Interpolation: sparse weights from the nodes of one mesh to those of another."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Literal, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.sparse import coo_array, csr_array, kron
from scipy.spatial import QhullError, cKDTree
from torch import Tensor

from graphs.edges.connect import locate
from graphs.errors import MeshcastError
from graphs.geometry import great_circle_distance, parallel_transport, to_xyz
from graphs.mesh import Mesh
from graphs.meshes.healpix import healpix
from graphs.meshes.latlon import latitude_bounds
from graphs.triangulation import delaunay

Array = NDArray[np.float64]
Index = NDArray[np.int64]
Values = TypeVar("Values", NDArray[np.floating], Tensor)
Method = Literal["bilinear", "conservative", "nearest"]

SAMPLES = 16  # of each cell of the finer mesh, where overlaps are sampled
WIDEST = 4.0  # usual sides: a longer one bridges a bay of a limited area, or the rest of the globe
BALANCED = 1e-13  # share of a cell's area by which the integral over it may be off


@dataclass(frozen=True, eq=False)
class Interpolation:
    """Values at the target's nodes as weighted means of the source's.

    source, target: the meshes.
    matrix: [target node, source node], sparse; its rows sum to one.
    method: how the weights were found.
    """

    source: Mesh
    target: Mesh
    matrix: csr_array
    method: Method

    def apply(self, values: Values) -> Values:
        """Values [..., node, channel] on the target of those on the source; linear, for tensors differentiable."""
        return _multiply(self.matrix, values)

    def apply_known(self, values: NDArray[np.floating]) -> NDArray[np.floating]:
        """As `apply`, over what is known: NaN takes no part, and comes out only where nothing else went in."""
        known = np.isfinite(values)
        if known.all():
            return self.apply(values)
        total = self.apply(np.where(known, values, 0.0).astype(values.dtype))
        weight = self.apply(known.astype(values.dtype))
        return np.divide(total, weight, out=np.full_like(total, np.nan), where=weight > 1e-6)

    def apply_vector(self, east: Values, north: Values) -> tuple[Values, Values]:
        """Components [..., node, channel] of a horizontal vector.

        Each is carried to the target along the great circle, so that a flow across a pole stays whole.
        """
        cosine, sine = self._turned
        return (
            _multiply(cosine, east) - _multiply(sine, north),
            _multiply(sine, east) + _multiply(cosine, north),
        )

    def describe(self) -> str:
        """The interpolation in half a sentence, for attributes and messages."""
        return f"{self.method} from a {self.source.describe()} to a {self.target.describe()}"

    @cached_property
    def _turned(self) -> tuple[csr_array, csr_array]:
        entries = self.matrix.tocoo()
        turn = parallel_transport(self.source.positions[entries.col], self.target.positions[entries.row])
        cosine, sine = (
            _sparse(entries.row, entries.col, entries.data * factor, self.source, self.target) for factor in turn
        )
        return cosine, sine


def interpolation(method: Method, source: Mesh, target: Mesh) -> Interpolation:
    """The interpolation of this method between two meshes of the sphere."""
    match method:
        case "bilinear":
            return bilinear(source, target)
        case "conservative":
            return conservative(source, target)
        case "nearest":
            return nearest(source, target)
        case _:
            raise MeshcastError(f"Interpolation is bilinear, conservative or nearest, not {method!r}.")


def nearest(source: Mesh, target: Mesh) -> Interpolation:
    """Each target node takes the value of the nearest source node."""
    _refuse_rings(source, target)
    found = cKDTree(source.positions).query(target.positions)[1]
    rows = np.arange(target.num_nodes)
    return Interpolation(source, target, _sparse(rows, found, np.ones(len(rows)), source, target), "nearest")


def bilinear(source: Mesh, target: Mesh) -> Interpolation:
    """Linear interpolation: in latitude and longitude on a grid, else in the triangle around each target node.

    Beyond the last row of a global grid, between that row and its mean, which stands for the pole. Second order.
    Raises MeshcastError where a limited area does not reach a target node.
    """
    _refuse_rings(source, target)
    matrix = _on_grid(source, target) if source.structured else _on_triangles(source, target)
    return Interpolation(source, target, matrix, "bilinear")


def conservative(source: Mesh, target: Mesh) -> Interpolation:
    """First-order conservative remapping: each target node takes the mean over its cell (Jones 1999,
    https://doi.org/10.1175/1520-0493(1999)127<2204:FASOCR>2.0.CO;2).

    The overlaps of cells are exact between two grids of latitudes and longitudes. Elsewhere they are counted at sample
    points, at least 16 a cell, cells being those nearest to a node, and on the whole sphere then balanced so that both
    meshes' areas come out (Sinkhorn and Knopp 1967, https://doi.org/10.2140/pjm.1967.21.343): single weights are off by
    some per cent, the integral by at most a thousandth of the field's standard deviation.
    Raises MeshcastError where a limited area does not reach a target cell.
    """
    _refuse_rings(source, target)
    overlap = _exact_overlap(source, target) if source.structured and target.structured else _sampled(source, target)
    reached = np.asarray(overlap.sum(axis=1)).ravel()
    _refuse_outside(np.flatnonzero(reached <= 0), source, target)
    if source.domain.kind == target.domain.kind == "sphere":
        overlap = _balance(overlap, target.areas, source.areas)
    return Interpolation(source, target, _rows_to_one(overlap), "conservative")


# Bilinear -------------------------------------------------------------------------------------------------------------


def _on_grid(source: Mesh, target: Mesh) -> csr_array:
    latitudes, longitudes = _axes(source)
    rows = np.arange(source.shape[0])
    if latitudes[0] > latitudes[-1]:
        latitudes, rows = latitudes[::-1], rows[::-1]
    lower, along, beyond = _bracket(latitudes, target.latitudes)
    periodic = source.domain.periodic
    shift = (target.longitudes - longitudes[0]) % 360.0  # [target], from the first column eastward
    axis = longitudes - longitudes[0]
    if periodic:
        axis = np.append(axis, 360.0)
    elif len(axis) > 1:
        shift = np.where(shift > (360.0 + axis[-1]) / 2, shift - 360.0, shift)  # nearer from the west
    left, across, aside = _bracket(axis, shift)
    if not periodic:
        steps = [np.diff(latitudes).max() if len(latitudes) > 1 else 0.0, np.diff(axis).max() if len(axis) > 1 else 0.0]
        outside = (beyond > steps[0] / 2 + 1e-6) | (aside > steps[1] / 2 + 1e-6)
        _refuse_outside(np.flatnonzero(outside), source, target)
    columns = source.shape[1]
    nodes = np.arange(target.num_nodes)
    entries = []
    for row, share in ((lower, 1.0 - along), (np.minimum(lower + 1, len(rows) - 1), along)):
        for column, part in ((left, 1.0 - across), ((left + 1) % columns if periodic else left + (across > 0), across)):
            entries.append((nodes, rows[row] * columns + column, share * part))
    if periodic and (polar := np.flatnonzero(beyond > 0)).size:
        # between the last row and the pole: the nearer the pole, the more of the row's mean
        gap = 90.0 - np.abs(latitudes[np.where(along[polar] > 0.5, -1, 0)])
        towards = np.zeros(target.num_nodes)
        towards[polar] = beyond[polar] / gap
        entries = [(node, sender, weight * (1.0 - towards)) for node, sender, weight in entries]
        last = rows[np.where(along[polar] > 0.5, -1, 0)]
        senders = (last[:, None] * columns + np.arange(columns)).ravel()
        entries.append((np.repeat(polar, columns), senders, np.repeat(towards[polar] / columns, columns)))
    row, column, weight = (np.concatenate(parts) for parts in zip(*entries, strict=True))
    return _rows_to_one(_sparse(row, column, weight, source, target))


def _bracket(axis: Array, values: Array) -> tuple[Index, Array, Array]:
    """For each value the lower neighbour on a rising axis, the fraction of the way to the next, and by how much the
    value lies beyond the axis, where it is held at the end."""
    if len(axis) == 1:
        zeros = np.zeros(len(values))
        return zeros.astype(np.int64), zeros, np.abs(values - axis[0])
    held = np.clip(values, axis[0], axis[-1])
    lower = np.clip(np.searchsorted(axis, held, side="right") - 1, 0, len(axis) - 2)
    return lower, (held - axis[lower]) / (axis[lower + 1] - axis[lower]), np.abs(values - held)


def _on_triangles(source: Mesh, target: Mesh) -> csr_array:
    faces = source.faces if source.faces is not None else _triangles(source)
    face, weights = locate(source.positions, faces, target.positions)
    _refuse_outside(np.flatnonzero(face < 0), source, target)
    rows = np.repeat(np.arange(target.num_nodes), 3)
    return _sparse(rows, faces[face].ravel(), weights.ravel(), source, target)


def _triangles(mesh: Mesh) -> Index:
    """Delaunay triangles of nodes that have none; of a limited area those that do not bridge its outside."""
    try:
        faces = delaunay(mesh.positions)
    except QhullError:
        raise MeshcastError(
            f"The nodes of the {mesh.describe()} span no triangles, so nothing lies between them. Use nearest."
        ) from None
    if mesh.domain.kind == "sphere":
        return faces
    sides = mesh.positions[faces]
    longest = great_circle_distance(sides, np.roll(sides, 1, axis=1)).max(axis=1)
    return faces[longest < WIDEST * np.median(longest)]


# Conservative ---------------------------------------------------------------------------------------------------------


def _exact_overlap(source: Mesh, target: Mesh) -> csr_array:
    """[target, source] areas that cells of two grids share: overlaps in the sine of latitude times in longitude."""
    height = csr_array(_overlap(_sine_bounds(target), _sine_bounds(source)))
    theirs, ours = _longitude_bounds(source), _longitude_bounds(target)
    width = csr_array(sum(_overlap(ours, theirs + turn) for turn in (-720.0, -360.0, 0.0, 360.0, 720.0)))
    return csr_array(kron(height, width, format="csr"))


def _overlap(first: Array, second: Array) -> Array:
    """[first, second] lengths that intervals [interval, end] share."""
    upper = np.minimum(first[:, None, 1], second[None, :, 1])
    return np.clip(upper - np.maximum(first[:, None, 0], second[None, :, 0]), 0.0, None)


def _sine_bounds(mesh: Mesh) -> Array:
    """[row, end] sines of latitude between which the cells of each row of a grid lie, the lower first."""
    if mesh.domain.kind == "sphere":
        # by the areas, so that Gaussian weights come out exactly
        share = mesh.areas.reshape(mesh.shape).sum(axis=1)
        bounds = 2.0 * np.concatenate([[0.0], np.cumsum(share)]) - 1.0
        bounds = bounds if mesh.latitudes[0] < mesh.latitudes[-1] else -bounds
    else:
        bounds = np.sin(np.radians(latitude_bounds(_axes(mesh)[0])))
    return np.sort(np.stack([bounds[:-1], bounds[1:]], axis=1), axis=1)


def _longitude_bounds(mesh: Mesh) -> Array:
    """[column, end] longitudes [degrees] between which the cells of each column of a grid lie, west first."""
    columns = _axes(mesh)[1]
    if len(columns) == 1:
        return columns[:, None] + np.array([[-0.5, 0.5]])
    middle = (columns[:-1] + columns[1:]) / 2
    if mesh.domain.periodic:
        seam = (columns[-1] + columns[0] + 360.0) / 2
        middle = np.concatenate([[seam - 360.0], middle, [seam]])
    else:
        middle = np.concatenate([[2 * columns[0] - middle[0]], middle, [2 * columns[-1] - middle[-1]]])
    return np.stack([middle[:-1], middle[1:]], axis=1)


def _sampled(source: Mesh, target: Mesh) -> csr_array:
    """[target, source] areas that cells share, counted at sample points."""
    if target.structured or source.structured:
        grid, other = (target, source) if target.structured else (source, target)
        finer = np.sqrt(max(1.0, other.num_nodes / grid.num_nodes))
        places, cell, weight = _samples_of_grid(grid, int(np.ceil(np.sqrt(SAMPLES) * finer)))
        kept, node = _nearest_cell(other, places)
        places, cell, weight = places[kept], cell[kept], weight[kept]
        receivers, senders = (cell, node) if target.structured else (node, cell)
    else:
        finest = max(source.num_nodes, target.num_nodes)
        places = healpix(int(np.ceil(np.sqrt(SAMPLES * finest / 12)))).positions
        weight = np.full(len(places), 1.0 / len(places))
        kept, receivers = _nearest_cell(target, places)
        places, weight = places[kept], weight[kept]
        kept, senders = _nearest_cell(source, places)
        receivers, weight = receivers[kept], weight[kept]
    # A node is a sample of its own cell, so that no cell goes without.
    everybody = np.arange(target.num_nodes)
    kept, nearest_node = _nearest_cell(source, target.positions)
    few = np.full(nearest_node.size, 1e-3 * float(weight.mean()))
    return _sparse(
        np.concatenate([receivers, everybody[kept]]),
        np.concatenate([senders, nearest_node]),
        np.concatenate([weight, few]),
        source,
        target,
    )


def _samples_of_grid(mesh: Mesh, number: int) -> tuple[Array, Index, Array]:
    """Places [sample, 3], the cell each lies in and the area it stands for: number x number a cell, of equal areas."""
    fractions = (np.arange(number) + 0.5) / number
    sine, longitude = (
        (bounds[:, :1] + (bounds[:, 1:] - bounds[:, :1]) * fractions).ravel()
        for bounds in (_sine_bounds(mesh), _longitude_bounds(mesh))
    )
    places = to_xyz(np.degrees(np.arcsin(np.clip(sine, -1, 1)))[:, None], longitude).reshape(-1, 3)
    row, column = np.repeat(np.arange(mesh.shape[0]), number), np.repeat(np.arange(mesh.shape[1]), number)
    cell = (row[:, None] * mesh.shape[1] + column).ravel()
    return places, cell, mesh.areas[cell] / number**2


def _nearest_cell(mesh: Mesh, places: Array) -> tuple[NDArray[np.bool_], Index]:
    """Which places lie on the mesh [place], and of those the nearest node; the rim of a limited area ends half a
    spacing beyond its nodes."""
    tree = cKDTree(mesh.positions)
    distance, node = tree.query(places)
    if mesh.domain.kind == "sphere":
        return np.full(len(places), True), node.astype(np.int64)
    spacing = tree.query(mesh.positions, k=min(4, mesh.num_nodes))[0].max(axis=-1)  # to a neighbour, not a twin
    kept = distance < 0.75 * spacing[node]
    return kept, node[kept].astype(np.int64)


def _balance(overlap: csr_array, rows: Array, columns: Array, most_rounds: int = 200) -> csr_array:
    """The overlaps scaled by row and by column until they add up to both meshes' areas."""
    scale_rows, scale_columns = np.ones(len(rows)), np.ones(len(columns))
    backward = overlap.T.tocsr()
    for _ in range(most_rounds):
        heard = backward @ scale_rows
        scale_columns = np.divide(columns, heard, out=np.ones_like(columns), where=heard > 0)
        found = scale_rows * (overlap @ scale_columns)
        scale_rows *= rows / found
        if np.abs(found / rows - 1.0).max() < BALANCED:
            break
    entries = overlap.tocoo()
    data = entries.data * scale_rows[entries.row] * scale_columns[entries.col]
    return coo_array((data, (entries.row, entries.col)), shape=overlap.shape).tocsr()


# Common ---------------------------------------------------------------------------------------------------------------


def _axes(mesh: Mesh) -> tuple[Array, Array]:
    """Latitudes and longitudes [degrees] of a grid, the longitudes unrolled eastward."""
    columns = mesh.shape[1]
    longitudes = mesh.longitudes[:columns]
    return mesh.latitudes[::columns], longitudes[0] + np.concatenate([[0.0], np.cumsum(np.diff(longitudes) % 360.0)])


def _multiply(matrix: csr_array, values: Values) -> Values:
    if isinstance(values, Tensor):
        moved = values.movedim(-2, 0)
        flat = moved.reshape(moved.shape[0], -1)
        entries = matrix.tocoo()
        rows, columns = (torch.from_numpy(np.asarray(ends, np.int64)).to(values.device) for ends in entries.coords)
        weights = torch.from_numpy(entries.data).to(values.device, values.dtype)
        product = flat.new_zeros(matrix.shape[0], flat.shape[1])
        product = product.index_add(0, rows, weights[:, None] * flat.index_select(0, columns))
        return product.reshape(-1, *moved.shape[1:]).movedim(0, -2)
    array = np.moveaxis(values, -2, 0)
    flat = matrix @ array.reshape(array.shape[0], -1)
    return np.moveaxis(flat.reshape(-1, *array.shape[1:]), 0, -2).astype(values.dtype)


def _sparse(rows: Index, columns: Index, data: Array, source: Mesh, target: Mesh) -> csr_array:
    """Entries of zero left out, those of one place added."""
    some = data != 0
    shape = (target.num_nodes, source.num_nodes)
    return coo_array((data[some], (rows[some], columns[some])), shape=shape).tocsr()


def _rows_to_one(matrix: csr_array) -> csr_array:
    total = np.asarray(matrix.sum(axis=1)).ravel()
    entries = matrix.tocoo()
    return coo_array((entries.data / total[entries.row], (entries.row, entries.col)), shape=matrix.shape).tocsr()


def _refuse_rings(source: Mesh, target: Mesh) -> None:
    for mesh in (source, target):
        if mesh.domain.kind == "ring":
            raise MeshcastError(f"Interpolation runs between meshes of the sphere, but one is a {mesh.describe()}.")


def _refuse_outside(outside: Index, source: Mesh, target: Mesh) -> None:
    if outside.size:
        first = int(outside[0])
        raise MeshcastError(
            f"{outside.size} of {target.num_nodes} nodes lie beyond the {source.describe()}; the first is node {first} "
            f"at {target.latitudes[first]:.2f} N, {target.longitudes[first]:.2f} E. Take a source that covers them all."
        )
