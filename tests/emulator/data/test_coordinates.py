"""Coordinates become the mesh they came from."""

import numpy as np

from emulator.data.coordinates import mesh_from_coordinates, mesh_to_json
from graphs.mesh import EARTH_RADIUS
from graphs.meshes.icosphere import icosphere


def test_the_nodes_of_an_icosphere_come_back_with_faces_and_levels() -> None:
    mesh = icosphere(3, radius=1.0)
    for description, radius in ((mesh_to_json(mesh), 1.0), (None, EARTH_RADIUS)):
        found = mesh_from_coordinates(mesh.latitudes.astype(np.float32), mesh.longitudes, description)
        assert found.same_nodes(mesh, 1e-12)
        assert np.array_equal(found.faces, mesh.faces)
        assert (found.levels, found.domain.size) == (mesh.levels, radius)


def test_a_part_of_an_icosphere_has_no_levels() -> None:
    mesh = icosphere(3)
    found = mesh_from_coordinates(mesh.latitudes[:-1], mesh.longitudes[:-1], mesh_to_json(mesh))
    assert (found.faces, found.levels) == (None, ())
