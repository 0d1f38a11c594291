"""What an edge knows: where its sender stands as seen from its receiver."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from graphs.geometry import Array, Index, great_circle_distance, parallel_transport, tangent_displacement
from graphs.mesh import Mesh


def edge_features(senders: Mesh, receivers: Mesh, edge_index: Tensor) -> tuple[Tensor, tuple[str, ...]]:
    """Return features [edge, feature] float64 of every edge, and their names.

    Displacements point from the receiver to the sender and are given, like lengths, in units of the longest edge, so
    that they lie in -1 to 1 on every mesh.

    - ring: `displacement`, the short way around, positive where the sender has the larger x; `length`.
    - sphere: `displacement_east`, `displacement_north` in the receiver's tangent frame; `length`; `rotation_cos`,
      `rotation_sin` of the angle by which components of a vector turn when it is carried from the sender's east-north
      frame to the receiver's along the great circle.
    - grid, besides: `offset_north`, `offset_east`, whole rows and columns, the same on every row whatever the distance.
    """
    source, target = (row.cpu().numpy() for row in edge_index)
    if receivers.domain.kind == "ring":
        columns = _ring_columns(senders.positions[source], receivers.positions[target])
    else:
        columns = _sphere_columns(senders.positions[source], receivers.positions[target])
        if receivers.structured and senders.shape == receivers.shape and senders.same_nodes(receivers):
            columns |= _grid_columns(receivers, source, target)
    return torch.from_numpy(np.stack(list(columns.values()), axis=1)), tuple(columns)


def arc_lengths(senders: Mesh, receivers: Mesh, edge_index: Tensor) -> Array:
    """Return the angles [edge, radians] that the edges span on the circle or the sphere."""
    source, target = (row.cpu().numpy() for row in edge_index)
    a, b = senders.positions[source], receivers.positions[target]
    return np.abs(_ring_angle(a, b)) if receivers.domain.kind == "ring" else great_circle_distance(a, b)


def _ring_columns(source: Array, target: Array) -> dict[str, Array]:
    angle = _ring_angle(source, target)
    displacement = angle / _longest(np.abs(angle))
    return {"displacement": displacement, "length": np.abs(displacement)}


def _ring_angle(source: Array, target: Array) -> Array:
    """Return the signed angle [edge] from target to source, the short way around, in (-π, π]."""
    # Through the sine and cosine of the difference, so that there is no wrap to mend.
    sine = target[:, 0] * source[:, 1] - target[:, 1] * source[:, 0]
    return np.arctan2(sine, np.sum(source * target, axis=1))


def _sphere_columns(source: Array, target: Array) -> dict[str, Array]:
    east, north = tangent_displacement(target, source)
    length = np.hypot(east, north)
    longest = _longest(length)
    cosine, sine = parallel_transport(source, target)
    return {
        "displacement_east": east / longest,
        "displacement_north": north / longest,
        "length": length / longest,
        "rotation_cos": cosine,
        "rotation_sin": sine,
    }


def _grid_columns(mesh: Mesh, source: Index, target: Index) -> dict[str, Array]:
    columns = mesh.shape[1]
    latitudes = mesh.latitudes[::columns]
    north = 1 if latitudes[-1] >= latitudes[0] else -1
    di, dj = source // columns - target // columns, source % columns - target % columns
    if mesh.domain.periodic:
        dj = (dj + (columns - 1) // 2) % columns - (columns - 1) // 2  # the short way around
    return {"offset_north": (north * di).astype(np.float64), "offset_east": dj.astype(np.float64)}


def _longest(lengths: Array) -> float:
    return float(lengths.max(initial=0.0)) or 1.0
