"""The mirror images of a mesh, north for south and east for west: whose they are, and who has none."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from graphs.mesh import Mesh
from graphs.meshes.icosphere import icosphere
from graphs.meshes.latlon import latlon
from graphs.meshes.mirror import mirrored_nodes, nodes_east_for_west
from graphs.meshes.ring import ring


@pytest.mark.parametrize(
    ("mesh", "turn"),
    [(icosphere(2), 180.0), (latlon(np.linspace(90, -90, 7), np.arange(12) * 30.0), 0.0)],
    ids=["icosphere", "latlon"],
)
def test_a_mirrored_node_lies_as_far_on_the_other_side_of_the_equator(mesh: Mesh, turn: float) -> None:
    nodes = mirrored_nodes(mesh)
    assert nodes is not None
    np.testing.assert_allclose(mesh.latitudes[nodes], -mesh.latitudes, atol=1e-9)
    np.testing.assert_array_equal(nodes[nodes], np.arange(mesh.num_nodes))
    away = np.abs(mesh.latitudes) < 89.0
    east = (mesh.longitudes[nodes] - mesh.longitudes - turn + 180.0) % 360.0 - 180.0
    np.testing.assert_allclose(east[away], 0.0, atol=1e-6)


@pytest.mark.parametrize(
    "mesh", [ring(12), latlon(np.linspace(90, 0, 4), np.arange(12) * 30.0)], ids=["ring", "one hemisphere"]
)
def test_a_mesh_without_the_symmetry_has_no_mirror_image(mesh: Mesh) -> None:
    assert mirrored_nodes(mesh) is None


@pytest.mark.parametrize(
    "mesh",
    [icosphere(2), latlon(np.linspace(90, 0, 4), np.arange(12) * 30.0)],
    ids=["icosphere", "one hemisphere"],
)
def test_east_for_west_leaves_the_latitude_and_turns_the_order_of_longitudes(mesh: Mesh) -> None:
    nodes = nodes_east_for_west(mesh)
    assert nodes is not None and (nodes != np.arange(mesh.num_nodes)).any()
    np.testing.assert_allclose(mesh.latitudes[nodes], mesh.latitudes, atol=1e-9)
    np.testing.assert_array_equal(nodes[nodes], np.arange(mesh.num_nodes))
    away = np.abs(mesh.latitudes) < 89.0
    both = np.radians(mesh.longitudes[nodes] + mesh.longitudes)[away]  # twice the meridian's longitude
    np.testing.assert_allclose(np.exp(1j * both), np.exp(1j * both[0]), atol=1e-6)


def test_on_a_ring_east_for_west_begins_at_the_first_node() -> None:
    np.testing.assert_array_equal(nodes_east_for_west(ring(5)), [0, 4, 3, 2, 1])


def test_points_without_a_meridian_of_symmetry_have_no_image_east_for_west() -> None:
    positions = np.random.default_rng(0).normal(size=(42, 3))
    positions /= np.linalg.norm(positions, axis=1, keepdims=True)
    assert nodes_east_for_west(replace(icosphere(1), positions=positions, faces=None)) is None
    assert nodes_east_for_west(latlon(np.linspace(60, 30, 4), np.arange(5.0))) is None
