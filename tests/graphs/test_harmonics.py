"""Spherical harmonics: orthonormal, exact on Gaussian grids, and the same at any nodes."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from graphs import available_memory
from graphs.errors import MeshcastError
from graphs.harmonics.basis import Degrees, legendre, power_by_degree, truncated
from graphs.harmonics.nodes import Evaluation, NodeProjection, WindProjection, pseudo_inverse_by_blocks
from graphs.harmonics.transform import SphericalTransform
from graphs.mesh import Mesh
from graphs.meshes.gaussian import gaussian, gaussian_latitudes
from graphs.meshes.icosphere import icosphere
from graphs.meshes.latlon import latlon
from graphs.meshes.ring import ring


def evaluate(coefficients: torch.Tensor, mesh: Mesh) -> torch.Tensor:
    """The values [..., node] at a mesh's nodes of coefficients [order, offset, ...]."""
    return Evaluation(mesh, coefficients.shape[0] - 1, cached=False).field(coefficients)


def a_field(truncation: int, columns: int = 2, seed: int = 0) -> torch.Tensor:
    """Random coefficients of real fields."""
    shape = (truncation + 1, truncation + 1, columns)
    draws = torch.randn(shape, dtype=torch.complex128, generator=torch.Generator().manual_seed(seed))
    draws[0] = draws[0].real.to(draws)
    return draws * torch.as_tensor(Degrees(truncation).kept)[..., None]


@pytest.mark.parametrize("truncation", [5, 42, 106])
def test_legendre_functions_are_orthonormal_under_gaussian_quadrature(truncation: int) -> None:
    latitudes, weights = gaussian_latitudes(truncation + 2)
    table = legendre(np.sin(np.radians(latitudes)), truncation)
    for order in (0, 1, truncation // 2, truncation):
        functions = table[:, order, : truncation + 1 - order]
        assert np.allclose(np.einsum("i,ik,il->kl", weights, functions, functions), np.eye(functions.shape[1]))


def test_the_first_functions_are_those_of_the_textbook() -> None:
    """With mean square one: sqrt(3) μ, sqrt(5/4) (3 μ² - 1), sqrt(3/2) cos φ, sqrt(15/2) μ cos φ."""
    mu = np.linspace(-0.9, 0.9, 7)
    cosine = np.sqrt(1 - mu**2)
    table = legendre(mu, 2)
    assert np.allclose(table[:, 0, 1], np.sqrt(3) * mu) and np.allclose(
        table[:, 0, 2], np.sqrt(5 / 4) * (3 * mu**2 - 1)
    )
    assert np.allclose(table[:, 1, 0], np.sqrt(3 / 2) * cosine)
    assert np.allclose(table[:, 1, 1], np.sqrt(15 / 2) * mu * cosine)


def test_functions_agree_with_scipys() -> None:
    from scipy.special import sph_harm_y

    latitude, order, degree = np.radians(np.array([-70.0, -3.0, 20.0, 61.0])), 7, 12
    theirs = np.sqrt(4 * np.pi) * (-1) ** order * sph_harm_y(degree, order, np.pi / 2 - latitude, 0.0).real
    assert np.allclose(legendre(np.sin(latitude), 15)[:, order, degree - order], theirs)


@pytest.mark.parametrize(("truncation", "latitudes", "longitudes"), [(21, None, None), (21, 22, 44), (10, 24, 45)])
def test_analysis_inverts_synthesis(truncation: int, latitudes: int | None, longitudes: int | None) -> None:
    transform = SphericalTransform(truncation, latitudes, longitudes)
    coefficients = a_field(truncation)
    assert (transform.analysis(transform.synthesis(coefficients)) - coefficients).abs().max() < 1e-12


def test_the_default_grid_is_free_of_aliasing_in_products() -> None:
    """The product of two fields, analysed, is what a grid twice as fine gives."""
    coarse, fine = SphericalTransform(21), SphericalTransform(21, 64, 128)
    first, second = a_field(21), a_field(21, seed=1)
    products = [grid.analysis(grid.synthesis(first) * grid.synthesis(second)) for grid in (coarse, fine)]
    assert (coarse.num_latitudes, coarse.num_longitudes) == (32, 64)
    assert (products[0] - products[1]).abs().max() < 1e-11


def test_power_by_degree_sums_to_the_area_mean_of_the_square() -> None:
    transform, coefficients = SphericalTransform(15), a_field(15)
    square = transform.synthesis(coefficients).square()
    mean = torch.from_numpy(transform.mesh.areas) @ square.transpose(0, 1).flatten(1).T
    assert torch.allclose(power_by_degree(coefficients).sum(dim=0), mean)
    assert power_by_degree(truncated(coefficients, 6))[:7].equal(power_by_degree(coefficients)[:7])
    assert truncated(truncated(coefficients, 20), 15).equal(coefficients)


def test_wind_of_a_vorticity_has_that_curl_and_no_divergence() -> None:
    transform = SphericalTransform(21)
    vorticity, divergence = a_field(21), a_field(21, seed=1)
    vorticity[0, 0], divergence[0, 0] = 0, 0
    u, v = (transform.synthesis(part) for part in transform.wind(vorticity, divergence))
    again = transform.divergence_and_curl(u, v)
    assert (again[0] - divergence).abs().max() < 1e-11 and (again[1] - vorticity).abs().max() < 1e-11


def test_wind_of_a_zonal_stream_function_is_its_slope() -> None:
    """ψ = -μ: u = cos φ, solid rotation, whose vorticity is 2 μ."""
    transform = SphericalTransform(5)
    vorticity = torch.zeros(6, 6, 1, dtype=torch.complex128)
    vorticity[0, 1] = 2.0 / np.sqrt(3.0)
    u, v = (transform.synthesis(part) / transform.cos_latitude for part in transform.wind(vorticity, 0 * vorticity))
    assert torch.allclose(u, transform.cos_latitude.expand_as(u)) and v.abs().max() < 1e-14


def test_sums_at_nodes_agree_with_the_grid() -> None:
    transform, coefficients = SphericalTransform(21), a_field(21)
    on_grid = transform.synthesis(coefficients).transpose(0, 1).flatten(1)
    assert (evaluate(coefficients, transform.mesh) - on_grid).abs().max() < 1e-11
    vorticity, divergence = a_field(21), a_field(21, seed=1)
    nodes = Evaluation(transform.mesh, 21)
    for _ in range(2):  # the second time from what is kept
        east, north = nodes.wind(vorticity, divergence, transform)
    u, v = (transform.synthesis(part) / transform.cos_latitude for part in transform.wind(vorticity, divergence))
    assert (east - u.transpose(0, 1).flatten(1)).abs().max() < 1e-10
    assert (north - v.transpose(0, 1).flatten(1)).abs().max() < 1e-10


def test_coefficients_are_found_from_nodes() -> None:
    mesh, transform = icosphere(2), SphericalTransform(10)
    coefficients = a_field(10)
    assert (NodeProjection(mesh, 10).coefficients(evaluate(coefficients, mesh)) - coefficients).abs().max() < 1e-11
    vorticity, divergence = a_field(10), a_field(10, seed=1)
    vorticity[0, 0], divergence[0, 0] = 0, 0
    wind = Evaluation(mesh, 10).wind(vorticity, divergence, transform)
    turning, opening = WindProjection(mesh, transform).coefficients(*wind)
    assert (turning - vorticity).abs().max() < 1e-10 and (opening - divergence).abs().max() < 1e-10


@pytest.mark.parametrize("mesh", [gaussian(6), icosphere(2)], ids=["grid", "icosphere"])
def test_a_wind_fitted_in_blocks_is_that_fitted_at_once(mesh: Mesh) -> None:
    fits = [WindProjection(mesh, SphericalTransform(7), *by).matrix for by in ((), (pseudo_inverse_by_blocks,))]
    torch.testing.assert_close(fits[1], fits[0], rtol=1e-10, atol=1e-12 * float(fits[0].abs().max()))


def test_gradients_flow_through_the_transforms() -> None:
    transform = SphericalTransform(4)
    values = torch.randn(
        transform.num_latitudes, 1, transform.num_longitudes, dtype=torch.float64,
        generator=torch.Generator().manual_seed(0), requires_grad=True,
    )  # fmt: skip
    transform.synthesis(transform.analysis(values)).square().sum().backward()
    assert values.grad is not None and values.grad.abs().max() > 0


def test_what_cannot_be_transformed_is_refused() -> None:
    with pytest.raises(MeshcastError, match="T21 needs an even number of at least 22 latitudes"):
        SphericalTransform(21, 20, 64)
    with pytest.raises(MeshcastError, match="more than the 42 nodes tell"):
        NodeProjection(icosphere(1), 10)
    with pytest.raises(MeshcastError, match="whole sphere"):
        NodeProjection(latlon(np.linspace(40, 60, 20), np.linspace(0, 20, 20)), 3)
    with pytest.raises(MeshcastError, match="need nodes on the sphere"):
        Evaluation(ring(8), 3)
    with pytest.raises(MeshcastError, match="at least 120 nodes"):
        WindProjection(icosphere(1), SphericalTransform(10))


def test_a_truncation_that_does_not_fit_in_memory_is_refused_before_its_grid_is_made(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(available_memory, "available_memory", lambda: 2**30)
    SphericalTransform(42)
    with pytest.raises(MeshcastError, match=r"T20000 .*30,\d+ x 61,\d+ .* truncation"):
        SphericalTransform(20_000)
