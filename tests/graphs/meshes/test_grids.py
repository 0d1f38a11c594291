"""Grids of the field: as many points as their names say, areas that integrate."""

import numpy as np
import pytest
from scipy.spatial import SphericalVoronoi

from graphs.errors import MeshcastError
from graphs.geometry import delaunay, voronoi_areas
from graphs.mesh import Mesh
from graphs.meshes.gaussian import gaussian, octahedral, reduced_gaussian
from graphs.meshes.grids import (
    GaussianGrid,
    GridConfig,
    HealpixGrid,
    IconGrid,
    LatLonGrid,
    OctahedralGrid,
    ReducedGaussianGrid,
    RingGrid,
    build_grid,
    planned,
)
from graphs.meshes.healpix import healpix
from graphs.meshes.icosphere import IcosphereMesh, icon, icosphere
from graphs.meshes.points import points

GRIDS: list[GridConfig] = [
    LatLonGrid(spacing=10.0),
    GaussianGrid(number=16),
    OctahedralGrid(number=16),
    ReducedGaussianGrid((20, 24, 28, 28, 24, 20)),
    HealpixGrid(nside=5),
    IconGrid(level=3),
    IcosphereMesh(level=3),
    RingGrid(num_nodes=12),
]


@pytest.mark.parametrize("config", GRIDS, ids=lambda config: config.kind)
def test_points_are_counted_before_they_are_built(config: GridConfig) -> None:
    mesh = build_grid(config)
    assert mesh.num_nodes == planned(config)[0]
    assert mesh.areas.sum() == pytest.approx(1, abs=1e-12)


@pytest.mark.parametrize(
    "mesh", [gaussian(16), octahedral(16), healpix(8), icon(4)], ids=lambda mesh: f"{mesh.num_nodes}-nodes"
)
def test_areas_integrate_smooth_fields(mesh: Mesh) -> None:
    x, y, z = mesh.positions.T
    for field, mean in ((x, 0.0), (z, 0.0), (z**2, 1 / 3), (x * x * y * y, 1 / 15), (z**4, 1 / 5)):
        assert mesh.areas @ field == pytest.approx(mean, abs=1e-3)


def test_gaussian_quadrature_is_exact_up_to_its_degree() -> None:
    mesh = gaussian(8)  # 16 latitudes: exact to degree 31
    z = mesh.positions[:, 2]
    assert mesh.areas @ z**30 == pytest.approx(1 / 31, rel=1e-12)
    assert abs(mesh.areas @ z**32 * 33 - 1) > 1e-9
    assert mesh.shape == (16, 32)
    assert mesh.latitudes[0] > mesh.latitudes[-1]


def test_the_octahedral_grid_has_ecmwfs_number_of_points() -> None:
    mesh = octahedral(96)
    assert mesh.num_nodes == 40_320
    assert mesh.latitudes[0] == pytest.approx(89.284228, abs=1e-6)  # eccodes, first latitude of O96
    assert np.sum(mesh.latitudes == mesh.latitudes[0]) == 20


def test_a_reduced_grid_with_equal_rows_is_the_full_one() -> None:
    full, reduced = gaussian(4), reduced_gaussian([16] * 8)
    assert np.allclose(full.positions, reduced.positions, atol=1e-15)
    assert np.allclose(full.areas, reduced.areas, rtol=1e-12)


def test_the_first_rings_of_healpix_are_those_of_the_paper() -> None:
    one = healpix(1)
    assert np.sin(np.radians(one.latitudes)) == pytest.approx(np.repeat([2 / 3, 0, -2 / 3], 4))
    assert one.longitudes == pytest.approx([45, 135, 225, 315, 0, 90, 180, 270, 45, 135, 225, 315])
    two = healpix(2)
    assert np.sin(np.radians(two.latitudes)) == pytest.approx(
        np.repeat([11 / 12, 2 / 3, 1 / 3, 0, -1 / 3, -2 / 3, -11 / 12], [4, 8, 8, 8, 8, 8, 4])
    )
    assert two.longitudes[[0, 4, 12, 20, 28]] == pytest.approx([45, 22.5, 0, 22.5, 0])


@pytest.mark.parametrize("nside", [1, 3, 8])
def test_healpix_areas_are_equal_and_its_points_balance(nside: int) -> None:
    mesh = healpix(nside)
    assert np.all(mesh.areas == mesh.areas[0])
    assert np.abs(mesh.areas @ mesh.positions).max() < 1e-14


def test_triangle_centres_have_one_on_each_pole() -> None:
    mesh = icon(3)
    assert mesh.num_nodes == 20 * 4**3
    assert np.sort(np.abs(mesh.latitudes))[-2:] == pytest.approx([90, 90], abs=1e-6)
    assert mesh.areas.max() / mesh.areas.min() < 2


@pytest.mark.parametrize(
    "mesh", [octahedral(8), healpix(4), icosphere(3), icon(3)], ids=lambda mesh: f"{mesh.num_nodes}-nodes"
)
def test_voronoi_areas_of_any_points_are_scipys(mesh: Mesh) -> None:
    expected = SphericalVoronoi(mesh.positions).calculate_areas()
    assert voronoi_areas(mesh.positions, delaunay(mesh.positions)) == pytest.approx(expected, rel=1e-9)


def test_voronoi_areas_hold_where_circumcentres_lie_outside_their_triangles() -> None:
    generator = np.random.default_rng(3)
    mesh = points(np.degrees(np.arcsin(generator.uniform(-1, 1, 300))), generator.uniform(0, 360, 300), True)
    expected = SphericalVoronoi(mesh.positions).calculate_areas() / (4 * np.pi)
    assert mesh.areas == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize(
    ("config", "match"),
    [
        (LatLonGrid(spacing=7.0), "does not divide"),
        (LatLonGrid(spacing=0.0), "must be positive degrees"),
        (LatLonGrid(spacing=10.0, south=-100.0), "must lie in -90 to 90 degrees"),
        (LatLonGrid(spacing=10.0, west=10.0, east=0.0), "must run eastward"),
        (LatLonGrid(spacing=1e-4), "Choose a coarser one"),
        (GaussianGrid(number=0), "at least 1 latitude"),
        (ReducedGaussianGrid((20, 24, 20)), "an even number of them"),
        (ReducedGaussianGrid((20, 2)), "at least 3 points, but number 1 has 2"),
        (HealpixGrid(nside=0), "nside of at least 1"),
        (HealpixGrid(nside=10**6), "Choose a coarser one"),
        (IcosphereMesh(level=-2), "whole number from 0"),
    ],
)
def test_grids_that_cannot_be_are_refused(config: GridConfig, match: str) -> None:
    with pytest.raises(MeshcastError, match=match):
        build_grid(config)
