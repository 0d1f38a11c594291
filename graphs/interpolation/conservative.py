"""First-order conservative remapping, by the overlaps of cells."""

from __future__ import annotations

import numpy as np
from scipy.sparse import coo_array, csr_array, kron
from scipy.spatial import cKDTree

from graphs.geometry import Array, Index, Mask, to_xyz
from graphs.interpolation import weights
from graphs.interpolation.weights import Interpolation, axes_of, sparse
from graphs.mesh import Mesh
from graphs.meshes.healpix import healpix
from graphs.meshes.latlon import latitude_bounds

SAMPLES = 16  # of each cell of the finer mesh, where overlaps are sampled
BALANCED = 1e-13  # share of a cell's area by which the integral over it may be off


def conservative(source: Mesh, target: Mesh) -> Interpolation:
    """Remap conservatively to first order: each target node takes the mean over its cell (Jones 1999,
    https://doi.org/10.1175/1520-0493(1999)127<2204:FASOCR>2.0.CO;2).

    The overlaps of cells are exact between two grids of latitudes and longitudes. Elsewhere they are counted at sample
    points, at least 16 a cell, cells being those nearest to a node, and on the whole sphere then balanced so that both
    meshes' areas come out (Sinkhorn and Knopp 1967, https://doi.org/10.2140/pjm.1967.21.343): single weights are off by
    some per cent, the integral by at most a thousandth of the field's standard deviation.
    Raises MeshcastError where the source does not reach a target cell.
    """
    weights.refuse_rings(source, target)
    overlap = _exact_overlap(source, target) if source.structured and target.structured else _sampled(source, target)
    outside = (np.asarray(overlap.sum(axis=1)).ravel() <= 0) | weights.beyond(source, target.positions)
    weights.refuse_outside(np.flatnonzero(outside), source, target)
    if all(mesh.whole_sphere for mesh in (source, target)):
        overlap = _balance(overlap, target.areas, source.areas)
    return Interpolation(source, target, weights.rows_to_one(overlap), "conservative")


def _exact_overlap(source: Mesh, target: Mesh) -> csr_array:
    """Return areas [target, source] that cells share: overlaps in the sine of latitude times in longitude."""
    height = csr_array(_overlap(_sine_bounds(target), _sine_bounds(source)))
    theirs, ours = _longitude_bounds(source), _longitude_bounds(target)
    width = csr_array(sum(_overlap(ours, theirs + turn) for turn in (-720.0, -360.0, 0.0, 360.0, 720.0)))
    return csr_array(kron(height, width, format="csr"))


def _overlap(first: Array, second: Array) -> Array:
    """Return lengths [first, second] that intervals [interval, end] share."""
    upper = np.minimum(first[:, None, 1], second[None, :, 1])
    return np.clip(upper - np.maximum(first[:, None, 0], second[None, :, 0]), 0.0, None)


def _sine_bounds(mesh: Mesh) -> Array:
    """Return sines [row, end] of latitude between which the cells of each row of a grid lie, the lower first."""
    if mesh.whole_sphere:
        # by the areas, so that Gaussian weights come out exactly
        share = mesh.areas.reshape(mesh.shape).sum(axis=1)
        bounds = 2.0 * np.concatenate([[0.0], np.cumsum(share)]) - 1.0
        bounds = bounds if mesh.latitudes[0] < mesh.latitudes[-1] else -bounds
    else:
        bounds = np.sin(np.radians(latitude_bounds(axes_of(mesh)[0])))
    return np.sort(np.stack([bounds[:-1], bounds[1:]], axis=1), axis=1)


def _longitude_bounds(mesh: Mesh) -> Array:
    """Return longitudes [column, end] [degrees] between which the cells of each column of a grid lie, west first."""
    columns = axes_of(mesh)[1]
    if len(columns) == 1:
        return columns[:, None] + np.array([[-0.5, 0.5]])
    middle = (columns[:-1] + columns[1:]) / 2
    if mesh.domain.periodic:
        seam = (columns[-1] + columns[0] + 360.0) / 2
        first, last = seam - 360.0, seam
    else:
        first, last = 2 * columns[0] - middle[0], 2 * columns[-1] - middle[-1]
    bounds = np.concatenate([[first], middle, [last]])
    return np.stack([bounds[:-1], bounds[1:]], axis=1)


def _sampled(source: Mesh, target: Mesh) -> csr_array:
    """Return areas [target, source] that cells share, counted at sample points."""
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
        reached, senders = _nearest_cell(source, places[kept])
        receivers, weight = receivers[reached], weight[kept][reached]
    # A node is a sample of its own cell, so that no cell goes without.
    kept, nearest_node = _nearest_cell(source, target.positions)
    receivers, senders = np.append(receivers, np.flatnonzero(kept)), np.append(senders, nearest_node)
    weight = np.append(weight, np.full(nearest_node.size, 1e-3 * float(weight.mean())))
    return sparse(receivers, senders, weight, source, target)


def _samples_of_grid(mesh: Mesh, number: int) -> tuple[Array, Index, Array]:
    """Return places [sample, 3], number x number a cell, the cell each lies in and the area it stands for."""
    fractions = (np.arange(number) + 0.5) / number
    sine, longitude = (
        (bounds[:, :1] + (bounds[:, 1:] - bounds[:, :1]) * fractions).ravel()
        for bounds in (_sine_bounds(mesh), _longitude_bounds(mesh))
    )
    places = to_xyz(np.degrees(np.arcsin(np.clip(sine, -1, 1)))[:, None], longitude).reshape(-1, 3)
    row, column = np.repeat(np.arange(mesh.shape[0]), number), np.repeat(np.arange(mesh.shape[1]), number)
    cell = (row[:, None] * mesh.shape[1] + column).ravel()
    return places, cell, mesh.areas[cell] / number**2


def _nearest_cell(mesh: Mesh, places: Array) -> tuple[Mask, Index]:
    """Return which places lie on the mesh [place], at most half a spacing beyond its nodes, and their nearest node."""
    kept = ~weights.beyond(mesh, places)
    return kept, cKDTree(mesh.positions).query(places[kept])[1].astype(np.int64)


def _balance(overlap: csr_array, rows: Array, columns: Array, most_rounds: int = 200) -> csr_array:
    """Return the overlaps scaled by row and by column until they add up to both meshes' areas."""
    scale_rows, scale_columns = np.ones(len(rows)), np.ones(len(columns))
    backward = overlap.T.tocsr()
    for _ in range(most_rounds):
        sent = backward @ scale_rows
        scale_columns = np.divide(columns, sent, out=np.ones_like(columns), where=sent > 0)
        found = scale_rows * (overlap @ scale_columns)
        scale_rows *= rows / found
        if np.abs(found / rows - 1.0).max() < BALANCED:
            break
    entries = overlap.tocoo()
    data = entries.data * scale_rows[entries.row] * scale_columns[entries.col]
    return coo_array((data, (entries.row, entries.col)), shape=overlap.shape).tocsr()
