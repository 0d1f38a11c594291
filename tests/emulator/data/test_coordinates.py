"""Coordinates become the mesh they came from."""

import logging
import re

import numpy as np
import pytest

from emulator.data.convert import convert, describe
from emulator.data.coordinates import mesh_from_coordinates, mesh_to_json, remarks_on
from emulator.data.sources import open_fields
from graphs.edges.build import GraphConfig, MultiMeshEdges, build_graphs
from graphs.mesh import EARTH_RADIUS
from graphs.meshes.gaussian import gaussian, octahedral
from graphs.meshes.healpix import healpix
from graphs.meshes.icosphere import IcosphereMesh, icon, icosphere
from graphs.meshes.latlon import latlon
from graphs.meshes.points import points
from graphs.meshes.ring import ring


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


@pytest.mark.parametrize("scale", [1.0, 180 / np.pi])
def test_radians_that_were_read_as_degrees_are_said_wherever_they_are_opened(write_store, tmp_path, scale) -> None:
    mesh = icon(2)
    write_store(
        "icon.zarr", np.radians(mesh.latitudes) * scale, np.radians((mesh.longitudes + 180) % 360 - 180) * scale
    )
    notices = open_fields(str(tmp_path / "icon.zarr")).notices
    assert bool(notices) == (scale == 1.0)
    assert all("are these radians of the globe?" in notice and "icon.zarr" in notice for notice in notices)


def test_what_goes_around_the_globe_and_leaves_a_hole_is_said(write_netcdf, tmp_path) -> None:
    path = write_netcdf(latitudes=np.linspace(-30, 90, 13))
    written = convert([path], tmp_path / "band.zarr")
    assert "around the globe from -35 to 90 degrees north" in written["mesh"]
    for said in (describe(written), *open_fields(str(path)).notices, *open_fields(str(tmp_path / "band.zarr")).notices):
        assert re.search("leave 2[12]% of it without any", said), said
    ocean = icosphere(3)
    land = ocean.positions[:, 0] > 0.7
    holed = points(ocean.latitudes[~land], ocean.longitudes[~land], whole_sphere=True)
    assert "leave" in remarks_on(holed)[0]


def test_whole_grids_and_small_areas_are_not_suspicious() -> None:
    whole = [
        latlon(np.linspace(-88, 88, 89), np.arange(180) * 2.0),
        gaussian(8),
        octahedral(8),
        healpix(4),
        icosphere(2),
    ]
    listed = [points(mesh.latitudes, mesh.longitudes) for mesh in (octahedral(8), healpix(4), icon(2))]
    areas = [
        latlon(np.linspace(-1.5, 1.5, 7), np.linspace(0, 3, 7)),
        latlon(np.linspace(50, 60, 5), np.linspace(0, 5, 5)),
    ]
    for mesh in (*whole, *listed, *areas, ring(8)):
        assert remarks_on(mesh) == (), mesh.describe()


def test_an_icosphere_with_hardly_a_node_on_the_data_is_said(caplog) -> None:
    small = points(np.random.default_rng(0).uniform(44, 47, 60), np.random.default_rng(1).uniform(5, 8, 60))
    config = GraphConfig(MultiMeshEdges(), IcosphereMesh(level=2))
    with caplog.at_level(logging.WARNING, "graphs"):
        graphs = build_graphs(config, small)
        assert f"Messages pass on {graphs.mesh.num_nodes} nodes only" in caplog.text and "span" in caplog.text
        caplog.clear()
        build_graphs(GraphConfig(MultiMeshEdges(), IcosphereMesh(level=7)), small)
    assert caplog.text == ""
