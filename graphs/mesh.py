"""The mesh: where a field's values live."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from graphs.errors import MeshcastError

EARTH_RADIUS = 6_371_229.0  # [m], the sphere of GRIB's shapeOfTheEarth = 6 (WMO FM 92, code table 3.2)


@dataclass(frozen=True)
class Domain:
    """What the mesh covers.

    kind: a periodic ring, the whole sphere, or a limited area of the sphere.
    size: the ring's length in its own unit, or the sphere's radius [m].
    """

    kind: Literal["ring", "sphere", "limited_area"]
    size: float

    def __post_init__(self) -> None:
        if self.kind not in ("ring", "sphere", "limited_area"):
            raise MeshcastError(f"A domain is a ring, a sphere or a limited_area, not {self.kind!r}.")
        if not (np.isfinite(self.size) and self.size > 0):
            raise MeshcastError(f"A domain's size must be a positive length, but it is {self.size}.")

    @property
    def periodic(self) -> bool:
        """Return whether a walk around the first or last axis comes home."""
        return self.kind != "limited_area"


@dataclass(frozen=True, eq=False)
class Mesh:
    """Nodes on the unit circle or the unit sphere, with the share of the domain each stands for.

    positions: [node, 2] on the unit circle, or [node, 3] on the unit sphere, float64.
    areas: [node], positive, summing to one, float64.
    shape: the nodes' structure in C order, `(node,)` without one; `(latitude, longitude)` on a regular grid.
    domain: what is covered.
    faces: [face, 3] node indices of a triangulation, or None.
    levels: number of nodes of each nested level, coarsest first; the first levels[k] nodes form level k.
    boundary: [node] true where values are given at every step, as around a window, and not forecast; None without.
    """

    positions: NDArray[np.float64]
    areas: NDArray[np.float64]
    shape: tuple[int, ...]
    domain: Domain
    faces: NDArray[np.int64] | None = None
    levels: tuple[int, ...] = field(default=())
    boundary: NDArray[np.bool_] | None = None

    def __post_init__(self) -> None:
        dimension = 2 if self.domain.kind == "ring" else 3
        if self.positions.ndim != 2 or self.positions.shape[1] != dimension:
            raise MeshcastError(
                f"A {self.domain.kind} mesh needs positions of shape [node, {dimension}], but they have shape "
                f"{self.positions.shape}."
            )
        if not np.allclose(np.linalg.norm(self.positions, axis=1), 1.0, atol=1e-9):
            raise MeshcastError("Mesh positions must be unit vectors; divide them by the radius first.")
        if self.areas.shape != (self.num_nodes,):
            raise MeshcastError(f"Mesh areas must have shape [{self.num_nodes}], but have {self.areas.shape}.")
        if not (np.all(np.isfinite(self.areas)) and np.all(self.areas > 0) and abs(self.areas.sum() - 1.0) < 1e-9):
            raise MeshcastError(f"Mesh areas must be positive and sum to one, but sum to {self.areas.sum():.6g}.")
        if len(self.shape) not in (1, 2) or min(self.shape) < 1 or math.prod(self.shape) != self.num_nodes:
            raise MeshcastError(f"A mesh of shape {self.shape} cannot have {self.num_nodes} nodes.")
        if not all(0 <= level <= self.num_nodes for level in self.levels):
            raise MeshcastError(f"Levels of a mesh of {self.num_nodes} nodes cannot have {self.levels} nodes.")
        if (
            self.faces is not None
            and len(self.faces)
            and not 0 <= self.faces.min() <= self.faces.max() < self.num_nodes
        ):
            raise MeshcastError(f"Faces of a mesh name its nodes 0 to {self.num_nodes - 1}, but these others.")
        if self.boundary is None:
            return
        if self.boundary.shape != (self.num_nodes,) or self.boundary.dtype != bool:
            raise MeshcastError(
                f"A mesh's boundary must be [{self.num_nodes}] of true and false, but is "
                f"{list(self.boundary.shape)} of {self.boundary.dtype}."
            )
        given = int(self.boundary.sum())
        if not 0 < given < self.num_nodes:
            raise MeshcastError(f"{given} of {self.num_nodes} nodes are boundary; some must be, and some not.")

    @property
    def num_nodes(self) -> int:
        return self.positions.shape[0]

    @property
    def structured(self) -> bool:
        """Return whether the nodes form a grid of latitudes and longitudes."""
        return len(self.shape) == 2

    @property
    def whole_sphere(self) -> bool:
        """Return whether the nodes cover all of the sphere."""
        return self.domain.kind == "sphere" and self.band is None

    @cached_property
    def band(self) -> tuple[float, float] | None:
        """Return the latitudes [degrees] between which the cells of a grid around the globe lie.

        None where they reach both poles, the last row at most its own spacing away, and on every other mesh.
        """
        if self.domain.kind != "sphere" or not self.structured or self.shape[0] < 2:
            return None
        rows = np.sort(self.latitudes[:: self.shape[1]])
        steps = rows[1] - rows[0], rows[-1] - rows[-2]
        reached = rows[0] - 1.01 * steps[0] <= -90.0, rows[-1] + 1.01 * steps[1] >= 90.0
        if all(reached):
            return None
        return (
            -90.0 if reached[0] else round(float(rows[0] - steps[0] / 2.0), 6),
            90.0 if reached[1] else round(float(rows[-1] + steps[1] / 2.0), 6),
        )

    @cached_property
    def latitudes(self) -> NDArray[np.float64]:
        """Return degrees north [node]; zero on a ring."""
        if self.domain.kind == "ring":
            return np.zeros(self.num_nodes)
        return np.degrees(np.arcsin(np.clip(self.positions[:, 2], -1.0, 1.0)))

    @cached_property
    def longitudes(self) -> NDArray[np.float64]:
        """Return degrees east [node] in [0, 360)."""
        degrees = np.degrees(np.arctan2(self.positions[:, 1], self.positions[:, 0])) % 360.0
        return np.where(degrees > 360.0 - 1e-9, 0.0, degrees)

    @cached_property
    def weights(self) -> NDArray[np.float64]:
        """Return each node's weight [node] in losses and scores, its area, zero on the boundary; they sum to one."""
        if self.boundary is None:
            return self.areas
        inside = np.where(self.boundary, 0.0, self.areas)
        return inside / inside.sum()

    def at_nodes(self, nodes: NDArray[np.int64]) -> Mesh:
        """Return some nodes alone, in this order, as a mesh without faces; its areas are shares of theirs."""
        areas = self.areas[nodes]
        boundary = None if self.boundary is None else self.boundary[nodes]
        return Mesh(self.positions[nodes], areas / areas.sum(), (len(nodes),), self.domain, boundary=boundary)

    def same_nodes(self, other: Mesh, tolerance: float = 1e-4) -> bool:
        """Return whether both meshes have the same nodes in the same order, to `tolerance` [radians]."""
        a, b = self.positions, other.positions
        return a.shape == b.shape and bool(np.all(np.linalg.norm(a - b, axis=1) < tolerance))

    def place(self, node: int) -> str:
        """Return a node's number and where it lies, for messages."""
        return f"node {node} at {self.latitudes[node]:.2f} N, {self.longitudes[node]:.2f} E"

    def describe(self) -> str:
        """Return the mesh in half a sentence, for messages and reports."""
        grid = " x ".join(str(n) for n in self.shape)
        if self.domain.kind == "ring":
            return f"ring of {self.num_nodes} nodes, length {self.domain.size:g}"
        if self.band is not None:
            south, north = self.band
            return f"band of {grid} nodes around the globe from {south:g} to {north:g} degrees north"
        if self.domain.kind == "sphere":
            return f"global mesh of {grid} nodes"
        given = "" if self.boundary is None else f", {int(self.boundary.sum())} of them boundary"
        return f"limited area of {grid} nodes{given}"
