"""Nodes at given places: any set of points on the sphere, and the meshes known again by where their nodes lie."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike
from scipy.spatial import ConvexHull, QhullError, SphericalVoronoi, cKDTree

from graphs.errors import MeshcastError
from graphs.geometry import Array, delaunay, to_xyz, voronoi_areas
from graphs.mesh import EARTH_RADIUS, Domain, Mesh
from graphs.meshes.icosphere import recognised
from graphs.meshes.latlon import grid_axes, latlon
from graphs.meshes.ring import ring

SAME_PLACE = 1e-7  # [radians], 0.6 m on Earth: below the resolution of float32 degrees


def mesh_at(
    latitudes: Array, longitudes: Array, kind: str | None = None, size: float = EARTH_RADIUS, areas: Array | None = None
) -> Mesh:
    """Return the mesh with nodes at these places [node, degrees], to float32: a ring, a grid, an icosphere or points.

    kind, size: of the domain; where the kind is None, the sphere or a part of it, judged by the nodes.
    areas: [node] in any unit, where they are known, for points.
    """
    if kind == "ring":
        mesh = ring(len(longitudes), size)
        if np.abs((mesh.longitudes - longitudes + 180.0) % 360.0 - 180.0).max() > 1e-3:
            raise MeshcastError(
                "The nodes should be a ring, but are not evenly spaced around it; a part of a ring is none. Read all "
                "its cells, without `area` or `thinning`."
            )
        return mesh
    whole = None if kind is None else kind == "sphere"
    if (axes := grid_axes(latitudes, longitudes)) is not None:
        return latlon(*axes, periodic=whole, radius=size)
    if whole is not False and (sphere := recognised(latitudes, longitudes, size)) is not None:
        return sphere
    return points(latitudes, longitudes, whole, size, areas)


def points(
    latitudes: ArrayLike,
    longitudes: ArrayLike,
    whole_sphere: bool | None = None,
    radius: float = EARTH_RADIUS,
    areas: ArrayLike | None = None,
) -> Mesh:
    """Return nodes at any places [node, degrees], without structure.

    Areas are those of the spherical Voronoi cells; on a limited area the cells at the rim reach around the globe, and
    their nodes take the area of the nearest node inside.

    whole_sphere: whether the nodes cover the sphere; where None, judged by the widest hole they leave.
    areas: [node] in any unit, where they are known.
    """
    latitude, longitude = _coordinates(latitudes, longitudes)
    positions = to_xyz(latitude, longitude)
    _refuse_duplicates(positions, latitude, longitude)
    if whole_sphere is None:
        whole_sphere = _covers_sphere(positions)
    if areas is not None:
        share = np.asarray(areas, dtype=np.float64).ravel()
        if share.shape != latitude.shape or not (np.all(np.isfinite(share)) and np.all(share > 0)):
            raise MeshcastError(f"areas must be {latitude.size} positive numbers, one a node.")
    elif whole_sphere:
        try:
            share = voronoi_areas(positions, delaunay(positions))
        except (QhullError, ValueError) as error:
            raise MeshcastError(
                f"The cells of {latitude.size} nodes on the whole sphere cannot be found: fewer than four nodes, or "
                "all in one plane. Set whole_sphere to false, or give their areas."
            ) from error
    else:
        share = _local_areas(positions)
    domain = Domain("sphere" if whole_sphere else "limited_area", float(radius))
    return Mesh(positions, share / share.sum(), (latitude.size,), domain)


def _coordinates(latitudes: ArrayLike, longitudes: ArrayLike) -> tuple[Array, Array]:
    latitude, longitude = np.asarray(latitudes, np.float64).ravel(), np.asarray(longitudes, np.float64).ravel()
    if latitude.size != longitude.size or latitude.size == 0:
        raise MeshcastError(
            f"Every node needs one latitude and one longitude, but there are {latitude.size} and {longitude.size}."
        )
    for values, name, limit in ((latitude, "latitude", 90.0), (longitude, "longitude", 360.0)):
        wrong = np.flatnonzero(~(np.abs(values) <= limit + 1e-6))  # NaN is wrong too
        if wrong.size:
            raise MeshcastError(
                f"{wrong.size} of {values.size} nodes have a {name} outside -{limit:g} to {limit:g} degrees; the first "
                f"is node {wrong[0]} with {values[wrong[0]]:g}. Give degrees north and east, in this order."
            )
    return np.clip(latitude, -90.0, 90.0), longitude


def _refuse_duplicates(positions: Array, latitude: Array, longitude: Array) -> None:
    pairs = cKDTree(positions).query_pairs(SAME_PLACE, output_type="ndarray")
    if len(pairs):
        first, second = min((int(a), int(b)) for a, b in pairs)
        raise MeshcastError(
            f"{len(pairs)} pair{'s' * (len(pairs) > 1)} of nodes stand on the same place; the first are nodes {first} "
            f"and {second} at {latitude[first]:g} N, {longitude[first]:g} E. Drop one of each pair; only a whole grid "
            "of latitudes and longitudes may hold a pole more than once."
        )


def _covers_sphere(positions: Array) -> bool:
    """Return true unless the nodes leave a hole wider than a hemisphere, or 8 times wider than their usual spacing."""
    try:
        hull = ConvexHull(positions)
    except (QhullError, ValueError):  # fewer than four nodes, or all in one plane
        return False
    # Each facet is an empty cap, its angular radius the arccos of its plane's distance from the centre.
    caps = np.arccos(np.clip(-hull.equations[:, 3], -1.0, 1.0))
    return bool(caps.max() < np.pi / 2 and caps.max() < 8.0 * np.median(caps))


def _local_areas(positions: Array) -> Array:
    """Return the Voronoi areas [node]; at the rim, where cells run away from their node, the nearest inner node's."""
    uniform = np.ones(len(positions))
    try:
        voronoi = SphericalVoronoi(positions, threshold=SAME_PLACE / 10)
        areas = voronoi.calculate_areas()
    except (QhullError, ValueError):
        return uniform
    spacing = cKDTree(positions).query(positions, k=2)[0][:, 1]
    corners = (voronoi.vertices[region] for region in voronoi.regions)  # of each cell
    reach = np.array([np.linalg.norm(c - node, axis=1).max() for c, node in zip(corners, positions, strict=True)])
    # An even grid's cell reaches 0.7 spacings; rim cells reach the far side of the globe.
    inside = np.flatnonzero(reach < 3.0 * np.maximum(spacing, np.median(spacing)))
    if inside.size == 0:
        return uniform
    nearest = cKDTree(positions[inside]).query(positions)[1]
    return areas[inside[nearest]]
