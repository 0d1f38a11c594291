"""Fields on grids of the sphere: what lies beyond an edge, regridding, and networks that use both."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from emulator.networks.cnn import CNNConfig
from emulator.networks.fno import AreaWaves, FNOConfig, SphereWaves
from emulator.networks.layers.feature_layout import FeatureLayout
from emulator.networks.resnet import ResNetConfig
from emulator.networks.structured import Edges, Regridding, StructuredConfig
from emulator.networks.unet import UNetConfig
from graphs.errors import MeshcastError
from graphs.geometry import tangent_frames, to_xyz
from graphs.mesh import Mesh
from graphs.meshes.gaussian import gaussian
from graphs.meshes.grids import GaussianGrid, LatLonGrid
from graphs.meshes.icosphere import icosphere
from graphs.meshes.latlon import latlon
from graphs.meshes.ring import ring
from tests.emulator.networks.questions import a_checkpoint_says_the_same, emulator_of, features_of, network_of

SMALL = {
    "cnn": CNNConfig(width=4, num_layers=2),
    "dilated resnet": ResNetConfig(width=4, num_blocks=1, dilations=(1, 2, 1)),
    "unet": UNetConfig(width=4, num_levels=1),
    "fno": FNOConfig(width=4, num_layers=1, modes=3),
}
POLE_ROWS = latlon(np.linspace(90, -90, 9), np.arange(0, 360, 22.5))
POLES_BETWEEN = latlon(np.linspace(78.75, -78.75, 8), np.arange(0, 360, 22.5))  # half a step to the poles
AREA = latlon(np.linspace(56, 50, 9), np.linspace(-8, 2, 13))
GAUSSIAN = gaussian(4)  # 8 x 16


def smooth(positions: np.ndarray) -> np.ndarray:
    x, y, z = np.moveaxis(positions, -1, 0)
    return x + 2 * y * z + 0.5 * x * y + z**2


def as_field(values: np.ndarray, mesh: Mesh) -> Tensor:
    return torch.from_numpy(values).reshape(1, 1, *mesh.shape)


@pytest.mark.parametrize("mesh", [POLE_ROWS, POLES_BETWEEN], ids=["rows on the poles", "poles between rows"])
def test_over_a_pole_a_field_goes_on_at_the_opposite_longitude(mesh: Mesh) -> None:
    reach, step = 2, abs(mesh.latitudes[0] - mesh.latitudes[mesh.shape[1]])
    padded = Edges.of(mesh).pad(as_field(smooth(mesh.positions), mesh), reach)[0, 0]
    latitude = mesh.latitudes[0] - step * np.arange(-reach, mesh.shape[0] + reach)  # beyond 90: down the other side
    longitude = 22.5 * np.arange(-reach, mesh.shape[1] + reach)
    expected = smooth(to_xyz(latitude[:, None], longitude))
    np.testing.assert_allclose(padded, expected, atol=1e-9)


def test_beyond_a_limited_area_its_edge_is_repeated() -> None:
    field = np.random.default_rng(0).normal(size=AREA.shape)
    padded = Edges.of(AREA).pad(as_field(field, AREA), 3)[0, 0]
    np.testing.assert_array_equal(padded, np.pad(field, 3, mode="edge"))


def test_a_band_around_the_globe_ends_before_the_poles() -> None:
    mesh = latlon(np.linspace(50, -50, 6), np.arange(0, 360, 45))
    assert Edges.of(mesh) == Edges(wraps=True, first="replicate", last="replicate")


@pytest.mark.parametrize(
    "mesh", [POLE_ROWS, POLES_BETWEEN, AREA, GAUSSIAN], ids=["poles", "between", "area", "gaussian"]
)
@pytest.mark.parametrize("config", SMALL.values(), ids=SMALL)
def test_gradients_reach_every_parameter_on_every_grid(config: StructuredConfig, mesh: Mesh) -> None:
    if isinstance(config, FNOConfig) and mesh in (POLE_ROWS, POLES_BETWEEN):
        config = replace(config, grid=GaussianGrid(number=4))
    emulator = emulator_of(config, mesh)
    output = emulator.network(features_of(emulator))
    assert output.shape == (3, mesh.num_nodes, 3)
    output.square().sum().backward()
    for name, parameter in emulator.network.named_parameters():
        assert parameter.grad is not None and parameter.grad.any(), name


@pytest.mark.parametrize("config", SMALL.values(), ids=SMALL)
def test_no_longitude_is_special_on_a_global_grid(config: StructuredConfig) -> None:
    network = network_of(config, FeatureLayout(1, 2, 0, 2, 2), GAUSSIAN)
    field = torch.randn(2, *GAUSSIAN.shape, 2, generator=torch.Generator().manual_seed(1))
    answer = network(field.flatten(1, 2)).unflatten(1, GAUSSIAN.shape)
    turned = network(field.roll(4, dims=2).flatten(1, 2)).unflatten(1, GAUSSIAN.shape)
    torch.testing.assert_close(turned, answer.roll(4, dims=2), rtol=0, atol=1e-5)
    assert (turned - answer).abs().max() > 1e-2


def test_harmonics_that_have_weights_go_through_and_others_do_not() -> None:
    waves = SphereWaves(GAUSSIAN, 4)
    x, y, z = GAUSSIAN.positions.T
    low, high = 1 + x - y * z + x * y * z, x**5 - 10 * x**3 * y**2 + 5 * x * y**4  # degrees up to 3, and 5
    values = torch.from_numpy(np.stack([low, low + high], axis=1)).float()[None].repeat(2, 1, 1)
    torch.testing.assert_close(waves.synthesis(waves.analysis(values), 2), values[..., :1].expand(-1, -1, 2))


def test_one_weight_serves_all_orders_of_a_degree() -> None:
    """A degree's weight commutes with any rotation of the sphere, so here with the exchange of x and z."""
    waves = SphereWaves(GAUSSIAN, 4)
    x, y, z = GAUSSIAN.positions.T
    fields = [torch.from_numpy(f).float()[None, :, None] for f in (x, y, z, x * y, y * z, x**2 - z**2)]
    factor = torch.tensor([1.0, 2.0, 3.0, 4.0])[:, None, None]
    for field, expected in zip(fields, (2, 2, 2, 3, 3, 3), strict=True):
        torch.testing.assert_close(waves.synthesis(waves.analysis(field) * factor, 1), expected * field)


def test_waves_of_an_area_are_those_of_a_box_half_as_large_again() -> None:
    waves, generator = AreaWaves(4, 6, 3), torch.Generator().manual_seed(0)
    values = torch.randn(2, 24, 3, generator=generator)
    box = torch.fft.fft2(values.unflatten(1, (4, 6)), s=(6, 9), dim=(1, 2), norm="forward")
    kept = box[:, torch.tensor([-2, -1, 0, 1, 2]), :3].flatten(1, 2).transpose(0, 1)
    torch.testing.assert_close(waves.analysis(values), torch.cat([kept.real, kept.imag], dim=-1))
    half = torch.zeros(2, 6, 5, 3, dtype=torch.complex64)
    half[:, torch.tensor([-2, -1, 0, 1, 2]), :3] = kept.transpose(0, 1).unflatten(1, (5, 3))
    expected = torch.fft.irfft2(half, s=(6, 9), dim=(1, 2), norm="forward")[:, :4, :6].flatten(1, 2)
    torch.testing.assert_close(waves.synthesis(waves.analysis(values), 2), expected)


def test_regridding_keeps_a_constant() -> None:
    mesh = icosphere(2)
    for source, target in ((mesh, GAUSSIAN), (GAUSSIAN, mesh)):
        regridded = Regridding(source, target)(torch.full((2, source.num_nodes, 1), 3.0))
        torch.testing.assert_close(regridded, torch.full((2, target.num_nodes, 1), 3.0))


def test_a_wind_over_the_poles_survives_the_way_there_and_back() -> None:
    mesh, grid = icosphere(4), gaussian(16)

    def wind(place: Mesh) -> Tensor:
        over_the_poles = np.cross([1.0, 0.0, 0.0], place.positions)
        parts = [np.sum(over_the_poles * axis, axis=1) for axis in tangent_frames(place.positions)]
        return torch.from_numpy(np.stack(parts, axis=1)).float()[None]

    there = Regridding(mesh, grid, ((0, 1),))(wind(mesh))
    back = Regridding(grid, mesh, ((0, 1),))(there)
    assert (there - wind(grid)).norm(dim=2).max() < 5e-3
    polar = torch.from_numpy(np.abs(mesh.latitudes) > 80)
    assert (back - wind(mesh))[0, polar].norm(dim=1).max() < 2e-2
    # The components by themselves change sign across the pole, and their means are nothing there.
    scalars = Regridding(grid, mesh)(there)
    assert (scalars - wind(mesh))[0, polar].norm(dim=1).max() > 0.2


@pytest.mark.parametrize("config", SMALL.values(), ids=SMALL)
def test_a_network_regrids_from_an_icosphere_and_says_so(config: StructuredConfig) -> None:
    emulator = emulator_of(replace(config, grid=GaussianGrid(number=4)), icosphere(1))
    assert (
        emulator.network.regridding == "regridded from icosphere of 42 nodes to 8 x 16 gaussian grid and back, bilinear"
    )
    output = emulator.network(features_of(emulator))
    output.square().sum().backward()
    assert output.shape == (3, 42, 3)
    assert all(parameter.grad is not None for parameter in emulator.network.parameters())


def test_a_grid_the_data_are_on_already_is_no_regridding() -> None:
    emulator = emulator_of(replace(SMALL["fno"], grid=GaussianGrid(number=4)), GAUSSIAN)
    assert emulator.network.regridding == ""


@pytest.mark.parametrize("config", SMALL.values(), ids=SMALL)
@pytest.mark.parametrize("mesh", [ring(24), AREA, icosphere(1)], ids=["ring", "area", "icosphere"])
def test_a_checkpoint_gives_the_same_emulator_back(config: StructuredConfig, mesh: Mesh, tmp_path: Path) -> None:
    grid = GaussianGrid(number=4) if mesh.levels else None
    a_checkpoint_says_the_same(replace(config, grid=grid), mesh, tmp_path)


def test_under_mixed_precision_spectra_stay_whole() -> None:
    emulator = emulator_of(SMALL["fno"], GAUSSIAN)
    features = features_of(emulator)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        mixed = emulator.network(features)
    torch.testing.assert_close(mixed.float(), emulator.network(features), rtol=0, atol=0.1)


@pytest.mark.parametrize(
    ("config", "mesh", "message"),
    [
        (CNNConfig(), icosphere(3), r"cnn needs a structured mesh, but this icosphere has shape \(642,\). Give grid: "
         r"\{kind: gaussian, number: 16\}, which regrids there and back, or use kind: gnn."),
        (FNOConfig(), POLE_ROWS, "fno on the sphere needs a Gaussian grid, but this grid of 9 x 16 is none"),
        (CNNConfig(grid=GaussianGrid(number=4)), ring(24), "needs no grid on a ring of 24 nodes"),
        (CNNConfig(grid=LatLonGrid(spacing=10, south=30, north=60, west=0, east=40)), icosphere(1), "lie beyond"),
        (FNOConfig(modes=12), GAUSSIAN, "8 x 16 carries 8 waves, fewer than modes: 12"),
        (FNOConfig(modes=12), AREA, "9 x 13 nodes carries 7 waves"),
        (UNetConfig(num_levels=4), POLE_ROWS, "until nothing is left to halve. Use num_levels: 2"),
        (ResNetConfig(dilations=(1, 16)), POLES_BETWEEN, "reaches 16 nodes"),
    ],
    ids=["mesh", "not gaussian", "ring", "too small", "modes", "modes of an area", "levels", "dilations"],
)  # fmt: skip
def test_what_cannot_be_is_refused_with_a_way_out(config: StructuredConfig, mesh: Mesh, message: str) -> None:
    with pytest.raises(MeshcastError, match=message):
        emulator = emulator_of(config, mesh)
        emulator.network(features_of(emulator))
