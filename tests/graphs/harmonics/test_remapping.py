"""From mesh to mesh by harmonics: the same as their sum there, and turned as the mesh turned the other way."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from graphs.errors import MeshcastError
from graphs.geometry import to_xyz
from graphs.harmonics.nodes import Evaluation
from graphs.harmonics.remapping import HarmonicRemapping, NodeAnalysis, RowAnalysis
from graphs.harmonics.transform import SphericalTransform
from graphs.mesh import Mesh
from graphs.meshes.gaussian import gaussian
from graphs.meshes.icosphere import icosphere
from graphs.meshes.latlon import latlon
from graphs.meshes.ring import ring
from tests.graphs.test_harmonics import a_field

CLOSE = 5e-6  # `Evaluation` looks a millionth of a radian beside a pole
T, TARGET = 7, latlon(90.0 - 15.0 * np.arange(13), 30.0 * np.arange(12), periodic=True)  # with both poles
NORTHWARD = SphericalTransform(T).mesh
MESHES = {
    "Gaussian, from the north": gaussian(8),
    "Gaussian, from the south": NORTHWARD,
    "Gaussian, from 10 E": latlon(gaussian(8).latitudes[::32], 10.0 + 11.25 * np.arange(32), periodic=True),
    "latitudes and longitudes": latlon(75.0 - 15.0 * np.arange(11), 15.0 * np.arange(24), periodic=True),
    "rows with poles and equator": latlon(90.0 - 7.5 * np.arange(25), 15.0 * np.arange(24), periodic=True),
    "rows without a pole": latlon(-87.5 + 5.0 * np.arange(36), -172.5 + 15.0 * np.arange(24), periodic=True),
    "rows of The Well": latlon(np.linspace(1.0, -1.0, 32) * (90.0 - 90.0 / 33), 7.5 * np.arange(48), periodic=True),
    "rows not alike": latlon(np.append(87.5 - 5.0 * np.arange(35), -87.0), 15.0 * np.arange(24), periodic=True),
    "icosphere": icosphere(2),
}


def on(mesh: Mesh) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return a scalar and a wind [3, node] at the nodes of a mesh."""
    nodes, transform = Evaluation(mesh, T, cached=False), SphericalTransform(T)
    vorticity, divergence = (a_field(T, 3, seed) for seed in (1, 2))
    vorticity[0, 0] = divergence[0, 0] = 0.0
    return nodes.field(a_field(T, 3, 0)), *nodes.wind(vorticity, divergence, transform)


def remapped(source: Mesh, target: Mesh = TARGET, turn: float = 0.0) -> np.ndarray:
    """Return the scalar and both components [3, column, node] on another mesh."""
    remapping = HarmonicRemapping(source, target, T)
    scalar, east, north = (part.numpy() for part in on(source))
    packed, fitted = remapping.scalar(scalar)
    winds, fitted_winds = remapping.wind(east, north)
    np.testing.assert_allclose(fitted, scalar, atol=1e-9)
    np.testing.assert_allclose(fitted_winds, [east, north], atol=1e-9)
    both = np.concatenate([packed, *winds]).astype(np.complex64)
    return remapping.values(both, np.repeat([False, True, True], 3), turn).reshape(3, 3, -1)


@pytest.mark.parametrize("name", MESHES)
def test_fields_are_what_their_harmonics_are_at_the_other_nodes(name: str) -> None:
    for target in (TARGET, icosphere(1)):
        expected = torch.stack(on(target)).numpy()
        np.testing.assert_allclose(remapped(MESHES[name], target), expected, atol=CLOSE * np.abs(expected).max())


def test_a_grid_of_enough_rows_is_analysed_by_quadrature_and_every_other_mesh_by_least_squares() -> None:
    others = ("latitudes and longitudes", "icosphere", "rows not alike")
    for name, mesh in MESHES.items():
        kind = NodeAnalysis if name in others else RowAnalysis
        assert isinstance(HarmonicRemapping(mesh, TARGET, T).analysis, kind), name
    assert isinstance(HarmonicRemapping(icosphere(2), TARGET, 11).analysis, NodeAnalysis)


def test_rows_in_single_precision_are_the_rows_that_were_meant() -> None:
    meant = MESHES["rows without a pole"]
    rows = np.float32(meant.latitudes[:: meant.shape[1]]).astype(np.float64)
    source = latlon(rows + np.linspace(-3e-5, 2e-5, len(rows)), meant.longitudes[: meant.shape[1]], periodic=True)
    remapping = HarmonicRemapping(source, TARGET, T)
    assert isinstance(remapping.analysis, RowAnalysis)
    scalar = on(meant)[0].numpy()
    np.testing.assert_allclose(remapping.scalar(scalar)[1], scalar, atol=1e-5 * np.abs(scalar).max())


@pytest.mark.parametrize("turn", [0.125, 0.7])
def test_turned_fields_are_those_that_nodes_further_west_had(turn: float) -> None:
    west = replace(TARGET, positions=to_xyz(TARGET.latitudes, TARGET.longitudes - 360.0 * turn), faces=None)
    expected = torch.stack(on(west)).numpy()
    found = remapped(MESHES["Gaussian, from the north"], turn=turn)
    np.testing.assert_allclose(found, expected, atol=CLOSE * np.abs(expected).max())


def test_a_turned_wind_over_a_pole_blows_as_far_to_the_east_of_where_it_blew() -> None:
    pole = 0
    assert TARGET.latitudes[pole] == 90.0
    _, *still = remapped(NORTHWARD)
    _, *turned = remapped(NORTHWARD, turn=0.25)
    # A quarter turn seen from a fixed meridian: what blew north along it now blows along the one 90 degrees east.
    wind, after = (complex_wind(both, pole) for both in (still, turned))
    np.testing.assert_allclose(after, 1j * wind, atol=1e-6 * np.abs(wind).max())


def complex_wind(components: list[np.ndarray], node: int) -> np.ndarray:
    """Return u + iv [column] at a node."""
    return components[0][:, node] + 1j * components[1][:, node]


def test_what_is_no_whole_sphere_is_refused() -> None:
    with pytest.raises(MeshcastError, match="nodes all over the sphere, but this is a band"):
        _ = HarmonicRemapping(latlon(np.arange(10.0, 60.0, 5.0), 10.0 * np.arange(36)), TARGET, T).analysis
    with pytest.raises(MeshcastError, match="on the whole sphere, but this is a ring"):
        HarmonicRemapping(NORTHWARD, ring(8), T)
    with pytest.raises(MeshcastError, match="64 coefficients, more than the 42 nodes tell"):
        _ = HarmonicRemapping(icosphere(1), TARGET, T).analysis
