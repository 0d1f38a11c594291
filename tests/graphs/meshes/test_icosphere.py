"""The icosahedron, refined: as many nodes as it should have, nested, symmetric, and no bit of the sphere left over."""

import numpy as np
import pytest
from scipy.spatial import ConvexHull, SphericalVoronoi, cKDTree

from graphs.errors import MeshcastError
from graphs.geometry import triangle_areas
from graphs.mesh import Mesh
from graphs.meshes import icosphere as module
from graphs.meshes.icosphere import faces_by_level, icosphere, recognised, trim
from graphs.meshes.latlon import latlon

LEVELS = range(6)
TURN = np.array([[-0.5, -np.sqrt(0.75), 0.0], [np.sqrt(0.75), -0.5, 0.0], [0.0, 0.0, 1.0]])  # 120 degrees eastward


def sides(faces: np.ndarray) -> set[tuple[int, int]]:
    return {(int(a), int(b)) for a, b in np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]])}


@pytest.mark.parametrize("level", range(9))
def test_nodes_faces_and_eulers_formula(level: int) -> None:
    positions, faces, levels = module._refined(level)
    assert len(positions) == 10 * 4**level + 2 == levels[-1]
    assert len(faces) == 20 * 4**level
    num_sides = len(np.unique(np.sort(faces[:, [[0, 1], [1, 2], [2, 0]]].reshape(-1, 2)) @ [len(positions), 1]))
    assert len(positions) - num_sides + len(faces) == 2
    assert np.bincount(faces.ravel()).min() == 5  # at the twelve corners of the icosahedron
    assert np.sum(np.bincount(faces.ravel()) == 5) == 12


@pytest.mark.parametrize("level", range(8))
def test_areas_sum_to_the_sphere_before_they_are_normalised(level: int) -> None:
    positions, faces, _ = module._refined(level)
    assert abs(module.voronoi_areas(positions, faces).sum() / (4 * np.pi) - 1) < 1e-12
    assert abs(icosphere(level).areas.sum() - 1) < 1e-12


def test_areas_are_those_of_scipys_voronoi_cells() -> None:
    mesh = icosphere(3)
    expected = SphericalVoronoi(mesh.positions).calculate_areas() / (4 * np.pi)
    assert mesh.areas == pytest.approx(expected, rel=1e-10)


@pytest.mark.parametrize("level", LEVELS)
def test_faces_turn_anticlockwise_and_tile_the_sphere(level: int) -> None:
    mesh = icosphere(level)
    assert mesh.faces is not None
    areas = triangle_areas(*np.moveaxis(mesh.positions[mesh.faces], 1, 0))
    assert areas.min() > 0
    assert areas.sum() == pytest.approx(4 * np.pi, rel=1e-12)
    assert sides(mesh.faces) == {(b, a) for a, b in sides(mesh.faces)}


@pytest.mark.parametrize("level", range(1, 4))
def test_faces_are_the_convex_hulls(level: int) -> None:
    mesh = icosphere(level)
    assert mesh.faces is not None
    hull = ConvexHull(mesh.positions).simplices
    assert {tuple(sorted(face)) for face in mesh.faces.tolist()} == {tuple(sorted(face)) for face in hull.tolist()}


@pytest.mark.parametrize("level", range(1, 7))
def test_the_nodes_of_a_level_are_the_first_of_the_next(level: int) -> None:
    finer, coarser = icosphere(level), icosphere(level - 1)
    assert np.array_equal(finer.positions[: coarser.num_nodes], coarser.positions)
    assert finer.levels[:-1] == coarser.levels
    for mine, theirs in zip(faces_by_level(finer), faces_by_level(coarser), strict=False):
        assert np.array_equal(mine, theirs)


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("matrix", [TURN, -np.eye(3), np.diag([1.0, -1.0, 1.0])], ids=["turn", "inversion", "mirror"])
def test_the_nodes_and_their_areas_stay_under_the_symmetries(level: int, matrix: np.ndarray) -> None:
    mesh = icosphere(level)
    distance, image = cKDTree(mesh.positions).query(mesh.positions @ matrix.T)
    assert distance.max() < 1e-12
    assert len(np.unique(image)) == mesh.num_nodes
    assert mesh.areas[image] == pytest.approx(mesh.areas, rel=1e-9)


@pytest.mark.parametrize("level", LEVELS)
def test_the_centre_of_a_face_lies_at_each_pole(level: int) -> None:
    mesh = icosphere(level)
    assert mesh.faces is not None
    centres = mesh.positions[mesh.faces].sum(axis=1)
    centres /= np.linalg.norm(centres, axis=1, keepdims=True)
    for pole in ([0, 0, 1], [0, 0, -1]):
        assert np.linalg.norm(centres - pole, axis=1).min() < 1e-14


def test_a_turn_by_another_angle_is_no_symmetry() -> None:
    mesh = icosphere(2)
    half = np.array([[-1.0, 0.0, 0.0], [0.0, -1.0, 0.0], [0.0, 0.0, 1.0]])
    assert cKDTree(mesh.positions).query(mesh.positions @ half.T)[0].max() > 0.01


@pytest.mark.parametrize("level", [0, 1, 3, 5])
def test_an_icosphere_is_known_by_its_coordinates(level: int) -> None:
    mesh = icosphere(level, radius=7e6)
    found = recognised(mesh.latitudes.astype(np.float32), mesh.longitudes.astype(np.float32) - 360.0, radius=7e6)
    assert isinstance(found, Mesh)
    assert np.array_equal(found.positions, mesh.positions)
    assert np.array_equal(found.faces, mesh.faces)
    assert (found.levels, found.domain) == (mesh.levels, mesh.domain)


def test_other_points_are_no_icosphere() -> None:
    mesh = icosphere(3)
    latitudes, longitudes = mesh.latitudes.copy(), mesh.longitudes.copy()
    assert recognised(latitudes[:-1], longitudes[:-1]) is None
    assert recognised(latitudes[::-1], longitudes[::-1]) is None  # its nodes, but in an order without levels
    assert recognised(latitudes, longitudes + 0.1) is None
    latitudes[-1] += 0.1
    assert recognised(latitudes, longitudes) is None
    grid = latlon(np.linspace(80, -80, 6), np.arange(7) * 360 / 7)  # 42 nodes, as many as level 1
    assert recognised(grid.latitudes, grid.longitudes) is None


def test_a_trimmed_mesh_keeps_whole_faces_and_counts_its_levels() -> None:
    mesh = icosphere(3)
    north = trim(mesh, mesh.latitudes > 30)
    assert north.faces is not None
    assert north.domain.kind == "limited_area"
    assert north.areas.sum() == pytest.approx(1)
    assert north.levels == tuple(int((mesh.latitudes[:count] > 30).sum()) for count in mesh.levels)
    areas = triangle_areas(*np.moveaxis(north.positions[north.faces], 1, 0))
    assert areas.min() > 0
    assert mesh.faces is not None
    assert len(areas) == np.sum((mesh.latitudes[mesh.faces] > 30).all(axis=1))


@pytest.mark.parametrize("level", [-1, 2.5, True, "4"])
def test_what_is_no_level_is_refused(level: object) -> None:
    with pytest.raises(MeshcastError, match="whole number from 0"):
        icosphere(level)  # type: ignore[arg-type]


def test_a_level_that_does_not_fit_is_refused_before_it_is_built() -> None:
    with pytest.raises(MeshcastError, match=r"level 15, 10,737,418,242 nodes.* 6\.8 TiB .* level"):
        icosphere(15)


def test_the_estimate_of_memory_grows_fourfold() -> None:
    assert module.memory_estimate(7) / module.memory_estimate(6) == pytest.approx(4, rel=1e-3)
