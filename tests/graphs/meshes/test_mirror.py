"""The mirror image of a mesh at the equator: whose it is, and who has none."""

from __future__ import annotations

import numpy as np
import pytest

from graphs.mesh import Mesh
from graphs.meshes.icosphere import icosphere
from graphs.meshes.latlon import latlon
from graphs.meshes.mirror import mirrored_nodes
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
