"""Interpolation keeps what it says it keeps: constants, integrals, smooth fields, flow across a pole."""

import numpy as np
import pytest
import torch

from graphs.errors import MeshcastError
from graphs.geometry import tangent_frames
from graphs.interpolation.conservative import conservative
from graphs.interpolation.interpolate import bilinear, interpolation, nearest
from graphs.interpolation.weights import Interpolation, uncovered
from graphs.mesh import Mesh
from graphs.meshes.gaussian import gaussian, octahedral
from graphs.meshes.healpix import healpix
from graphs.meshes.icosphere import icosphere, trim
from graphs.meshes.latlon import latlon
from graphs.meshes.points import points
from graphs.meshes.ring import ring

MESHES = {
    "latlon": latlon(np.linspace(90, -90, 37), np.arange(72) * 5.0),
    "coarse": latlon(np.linspace(-80, 80, 9), np.arange(18) * 20.0),
    "gaussian": gaussian(12),
    "octahedral": octahedral(16),
    "healpix": healpix(10),
    "icosphere": icosphere(3),
}
everywhere = pytest.mark.parametrize("source", MESHES.values(), ids=MESHES)
to_everywhere = pytest.mark.parametrize("target", MESHES.values(), ids=MESHES)
every_method = pytest.mark.parametrize("method", ["bilinear", "conservative", "nearest"])


def smooth(mesh: Mesh) -> np.ndarray:
    x, y, z = mesh.positions.T
    return np.stack([x + 0.5 * z, x * y + z**2], axis=1)


def spacing(mesh: Mesh) -> float:
    return float(np.sqrt(4 * np.pi / mesh.num_nodes))


@every_method
@everywhere
@to_everywhere
def test_constants_stay_and_nothing_overshoots(method, source: Mesh, target: Mesh) -> None:
    result = interpolation(method, source, target)
    assert result.apply(np.full((source.num_nodes, 1), 7.0)) == pytest.approx(7.0)
    noise = np.random.default_rng(1).uniform(-1, 1, (source.num_nodes, 1))
    assert np.abs(result.apply(noise)).max() <= 1 + 1e-12


@everywhere
@to_everywhere
def test_bilinear_is_of_second_order_near_smooth_fields(source: Mesh, target: Mesh) -> None:
    error = bilinear(source, target).apply(smooth(source)) - smooth(target)
    widest = max(spacing(source), np.radians(20.0) if source.shape == (9, 18) else 0.0)
    assert np.abs(error).max() < 1.5 * widest**2


def test_bilinear_converges_as_the_square_of_the_spacing() -> None:
    target = points([47.3, -12.1, 88.0], [12.3, 222.2, 5.0], whole_sphere=True, areas=np.ones(3))
    for build, sizes in ((gaussian, (16, 64)), (icosphere, (3, 5)), (octahedral, (16, 64))):
        errors = [
            np.sqrt(np.mean((bilinear(mesh, target).apply(smooth(mesh)) - smooth(target)) ** 2))
            for mesh in map(build, sizes)
        ]
        assert errors[0] / errors[1] > 8  # a fourth of the spacing


@everywhere
@to_everywhere
def test_conservative_keeps_the_integral(source: Mesh, target: Mesh) -> None:
    noise = np.random.default_rng(2).normal(size=(source.num_nodes, 20))
    remapped = conservative(source, target).apply(noise)
    tolerance = 1e-13 if source.structured and target.structured else 1e-3
    assert np.abs(target.areas @ remapped - source.areas @ noise).max() < tolerance


def test_bilinear_does_not_keep_the_integral() -> None:
    source, target = MESHES["latlon"], MESHES["icosphere"]
    noise = np.random.default_rng(2).normal(size=(source.num_nodes, 20))
    assert np.abs(target.areas @ bilinear(source, target).apply(noise) - source.areas @ noise).max() > 5e-3


def test_conservative_between_grids_is_the_mean_of_whole_cells() -> None:
    fine = latlon(np.arange(-85, 90, 10.0), np.arange(5, 360, 10.0))
    coarse = latlon(np.arange(-80, 90, 20.0), np.arange(10, 360, 20.0))  # two by two cells each
    values = np.random.default_rng(0).normal(size=(fine.num_nodes, 1))
    weighted = (fine.areas[:, None] * values).reshape(9, 2, 18, 2).sum(axis=(1, 3))
    expected = weighted / fine.areas.reshape(9, 2, 18, 2).sum(axis=(1, 3))
    assert conservative(fine, coarse).apply(values).reshape(9, 18) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("source", [MESHES["latlon"], MESHES["healpix"]], ids=["grid", "points"])
def test_sampled_overlaps_come_near_the_mean_over_the_cell(source: Mesh) -> None:
    target = icosphere(2)  # cells far larger than the source's
    error = conservative(source, target).apply(smooth(source)) - smooth(target)
    assert np.abs(error).max() < spacing(target) ** 2 / 2


@pytest.mark.parametrize("method", ["bilinear", "nearest", "conservative"])
@everywhere
def test_the_same_mesh_takes_its_values_unchanged(method, source: Mesh) -> None:
    values = smooth(source)
    assert interpolation(method, source, source).apply(values) == pytest.approx(values, abs=2e-12)


def test_nearest_takes_the_nearest() -> None:
    source, target = MESHES["healpix"], MESHES["icosphere"]
    closeness = target.positions @ source.positions.T
    chosen = nearest(source, target).apply(np.arange(source.num_nodes, dtype=np.float64)[:, None])[:, 0].astype(int)
    assert closeness[np.arange(target.num_nodes), chosen] == pytest.approx(closeness.max(axis=1), abs=1e-14)


def test_flow_across_the_pole_stays_whole() -> None:
    source = latlon(np.linspace(87.5, -87.5, 36), np.arange(72) * 5.0)  # no row on the poles
    target = points([89.9, 89.0, 88.0, -89.5], [30.0, 200.0, 311.0, 77.0], whole_sphere=True, areas=np.ones(4))
    flow = np.array([1.0, 0.5, 0.0])  # the same direction in space everywhere near the poles
    parts = [np.stack([axis @ flow for axis in tangent_frames(mesh.positions)]) for mesh in (source, target)]
    found = bilinear(source, target).apply_vector(parts[0][0][:, None], parts[0][1][:, None])
    for component, expected in zip(found, parts[1], strict=True):
        assert component[:, 0] == pytest.approx(expected, abs=0.01)
    scalar = bilinear(source, target).apply(parts[0][0][:, None])[:, 0]
    assert np.abs(scalar - parts[1][0]).max() > 0.5  # components taken for scalars lose the flow


def test_unknown_values_take_no_part() -> None:
    source, target = MESHES["latlon"], MESHES["icosphere"]
    values = np.where(source.longitudes[:, None] < 180, 3.0, np.nan).astype(np.float32)
    found = bilinear(source, target).apply_known(values)
    known = np.isfinite(found[:, 0])
    assert found.dtype == np.float32
    assert found[known] == pytest.approx(3.0)
    assert known[(target.longitudes < 175)].all()
    assert not known[(target.longitudes > 185) & (target.longitudes < 350) & (np.abs(target.latitudes) < 80)].any()


def test_tensors_and_arrays_agree_and_gradients_flow() -> None:
    result = bilinear(MESHES["gaussian"], MESHES["icosphere"])
    values = np.random.default_rng(0).normal(size=(2, 3, result.source.num_nodes, 4))
    tensor = torch.from_numpy(values).requires_grad_()
    assert result.apply(tensor).detach().numpy() == pytest.approx(result.apply(values), abs=1e-13)
    result.apply(tensor).sum().backward()
    assert tensor.grad is not None
    assert tensor.grad[0, 0, :, 0].numpy() == pytest.approx(np.asarray(result.matrix.sum(axis=0)).ravel())


def test_grids_run_north_or_south_east_from_anywhere() -> None:
    target = MESHES["icosphere"]
    north = latlon(np.linspace(-90, 90, 37), (np.arange(72) * 5.0 - 180.0))
    for method in (bilinear, conservative):
        one, other = (method(mesh, target).apply(smooth(mesh)) for mesh in (north, MESHES["latlon"]))
        assert one == pytest.approx(other, abs=1e-9)


def test_a_limited_area_inside_another_takes_its_values() -> None:
    outer = latlon(np.linspace(70, 30, 41), np.linspace(-20, 40, 61))
    inner = latlon(np.linspace(60, 40, 9), np.linspace(-9.3, 29.2, 11))
    for method in (bilinear, conservative, nearest):
        assert method(outer, inner).apply(smooth(outer)) == pytest.approx(smooth(inner), abs=0.02)
    sphere = icosphere(4)
    part = trim(sphere, (sphere.latitudes > 20) & (sphere.longitudes < 90))
    bare = points(part.latitudes, part.longitudes)
    within = points([45.0, 40.0, 60.0], [40.0, 30.0, 50.0])
    for mesh in (part, bare):
        assert bilinear(mesh, within).apply(smooth(mesh)) == pytest.approx(smooth(within), abs=0.01)


@pytest.mark.parametrize("method", [bilinear, conservative, nearest])
@pytest.mark.parametrize("kind", ["grid", "points"])
def test_a_target_beyond_the_source_is_named(method, kind: str) -> None:
    source = latlon(np.linspace(60, 40, 21), np.linspace(0, 30, 31))
    if kind == "points":
        source = points(source.latitudes, source.longitudes)
    with pytest.raises(MeshcastError, match=r"1 of 3 nodes lie beyond the limited area .* node 1 at 10.00 N, 20.00 E"):
        method(source, points([50.0, 10.0, 51.0], [10.0, 20.0, 11.0]))


@every_method
@pytest.mark.parametrize("kind", ["grid", "points"])
def test_targets_in_the_hole_of_a_source_around_the_globe_are_counted_and_placed(method, kind: str) -> None:
    source = latlon(np.linspace(90, -30, 25), np.arange(72) * 5.0)
    if kind == "points":  # the pole once
        source = points(source.latitudes[71:], source.longitudes[71:], whole_sphere=True)
    assert source.domain.kind == "sphere" and uncovered(source) == pytest.approx(0.23, abs=0.05)
    target = MESHES["latlon"]
    with pytest.raises(MeshcastError, match=r"\d+ of 2664 nodes lie beyond the .*; the first is node 1\d\d\d at -"):
        interpolation(method, source, target)
    rows = np.linspace(85, -25, 23)
    within = latlon(rows, np.arange(72) * 5.0)
    assert interpolation(method, source, within).apply(smooth(source)) == pytest.approx(smooth(within), abs=0.05)


def test_a_band_around_the_globe_keeps_its_means_and_its_last_rows() -> None:
    source, target = latlon(np.arange(59, -60, -2.0), np.arange(90) * 4.0), latlon([-50, 0, 50], np.arange(9) * 40.0)
    values = source.latitudes[:, None] ** 2
    assert source.band == (-60, 60) and "from -60 to 60 degrees" in source.describe()
    assert bilinear(source, target).apply(values) == pytest.approx(target.latitudes[:, None] ** 2, abs=1.1)
    coarse = latlon(np.arange(50, -51, -20.0), np.arange(9) * 40.0)
    sine = np.sin(np.radians([[60, 40], [40, 20], [20, 0]]))
    fine = np.sin(np.radians(np.arange(60, -1, -2.0)))
    mean = [
        np.sum(-np.diff(fine)[10 * row : 10 * row + 10] * np.arange(59, 0, -2.0)[10 * row : 10 * row + 10] ** 2)
        / (sine[row, 0] - sine[row, 1])
        for row in range(3)
    ]
    assert conservative(source, coarse).apply(values)[::9, 0] == pytest.approx([*mean, *mean[::-1]])


def test_rings_are_refused() -> None:
    with pytest.raises(MeshcastError, match="one is a ring of 5 nodes"):
        bilinear(ring(5), MESHES["coarse"])


def test_an_interpolation_describes_itself() -> None:
    result: Interpolation = bilinear(MESHES["coarse"], MESHES["icosphere"])
    assert result.describe() == "bilinear from a global mesh of 9 x 18 nodes to a global mesh of 642 nodes"
