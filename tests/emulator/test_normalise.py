"""Statistics by hand, in chunks, with gaps, of the training part only."""

import logging
from dataclasses import replace

import numpy as np
import pytest

from emulator.data.arrays import ArrayFields
from emulator.foundation.time_step import TimeStep
from emulator.normalise import Statistics, read_in_chunks
from graphs.errors import MeshcastError
from graphs.meshes.ring import ring


def fields_of(values: np.ndarray, names: tuple[str, ...], missing: frozenset[int] = frozenset()) -> ArrayFields:
    """Fields on a ring from values [time, ensemble, node, variable]."""
    units = ("1",) * len(names)
    times = np.arange(len(values), dtype=np.int64)
    return ArrayFields(values, names, units, ring(values.shape[2]), TimeStep(1), times, missing=missing)


@pytest.fixture
def noise() -> np.ndarray:
    return np.random.default_rng(0).normal([5.0, -3.0], [2.0, 0.5], size=(30, 2, 8, 2))


def test_statistics_of_four_numbers_agree_with_the_hand() -> None:
    values = np.zeros((2, 1, 4, 1))
    values[:, 0, :, 0] = [[1, 2, 3, 4], [3, 4, 5, 6]]
    statistics = Statistics.of(fields_of(values, ("u",)), ["u"])
    assert statistics.mean[0] == 3.5
    assert statistics.std[0] == pytest.approx(np.sqrt(2.25))  # deviations -2.5 -1.5 -.5 .5, -.5 .5 1.5 2.5
    assert statistics.tendency_std[0] == 2.0
    assert (statistics.minimum[0], statistics.maximum[0]) == (1.0, 6.0)
    assert statistics.spatial_std[0] == pytest.approx(np.sqrt(1.25))
    assert statistics.mean_field_std == pytest.approx(np.sqrt(1.25))  # of 2 3 4 5


def test_extremes_of_the_variation_over_nodes_and_that_of_the_mean_field(noise: np.ndarray) -> None:
    noise[3, 0, 2, 0] = noise[:, :, 5, 1] = np.nan  # one value missing, and one node masked
    statistics = Statistics.of(fields_of(noise, ("u", "v")), ["u", "v"], chunk=7)
    spread = np.nanstd(noise.astype(np.float32).astype(np.float64), axis=2)
    assert statistics.smallest_spatial_std == pytest.approx(spread.min(axis=(0, 1)))
    assert statistics.largest_spatial_std == pytest.approx(spread.max(axis=(0, 1)))
    u, v = noise[..., 0], np.delete(noise[..., 1], 5, axis=2)
    halves = [[np.nanmean(x[:, row], axis=0) for row in (0, 1)] for x in (u, v)]
    covariance = np.array([np.cov(*pair, bias=True)[0, 1] for pair in halves])
    assert statistics.mean_field_std == pytest.approx(np.sqrt(np.maximum(covariance, 0)), rel=1e-5)


def test_fields_without_a_common_pattern_have_no_mean_field(noise: np.ndarray) -> None:
    pattern = np.linspace(-1, 1, 8)[:, None]
    for share, expected in ((0.0, 0.0), (10.0, 10 * pattern.std())):
        for values in (noise, noise[:, :1]):
            found = Statistics.of(fields_of(values + share * pattern, ("u", "v")), ["u", "v"], chunk=9).mean_field_std
            assert found == pytest.approx([expected] * 2, abs=0.3)


@pytest.mark.parametrize("chunk", [1, 4, 7, 100])
def test_the_chunk_changes_nothing(noise: np.ndarray, chunk: int) -> None:
    noise = noise.astype(np.float32).astype(np.float64)
    statistics = Statistics.of(fields_of(noise, ("u", "v")), ["v", "u"], chunk=chunk)
    assert statistics.mean == pytest.approx(noise.mean(axis=(0, 1, 2))[::-1], rel=1e-12)
    assert statistics.std == pytest.approx(noise.std(axis=(0, 1, 2))[::-1], rel=1e-12)
    tendency = np.sqrt((np.diff(noise, axis=0) ** 2).mean(axis=(0, 1, 2)))
    assert statistics.tendency_std == pytest.approx(tendency[::-1], rel=1e-12)
    assert statistics.spatial_std == pytest.approx(noise.std(axis=2).mean(axis=(0, 1))[::-1], rel=1e-12)


def test_a_fine_mesh_is_read_fewer_times_at_a_go(noise: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    fields = fields_of(noise, ("u", "v"))
    expected = Statistics.of(fields, ["u", "v"])
    monkeypatch.setattr("emulator.normalise.CHUNK_BYTES", 3 * 8 * 8)  # three times of one row and one variable
    sizes = [len(index) - before for index, _, before in read_in_chunks(fields, ["u"], slice(0, 7), [1])]
    assert sizes == [3, 3, 1]
    for name, array in Statistics.of(fields, ["u", "v"]).arrays().items():
        assert array == pytest.approx(expected.arrays()[name], rel=1e-12)


def test_a_large_mean_leaves_the_std_exact(noise: np.ndarray) -> None:
    shifted = (noise * 1024 // 1).clip(-(2**13), 2**13) + 2**23  # whole numbers that float32 holds exactly
    statistics = Statistics.of(fields_of(shifted, ("u", "v")), ["u", "v"])
    assert statistics.std == pytest.approx(shifted.std(axis=(0, 1, 2)), rel=1e-12)


def test_changes_across_a_missing_date_are_not_counted() -> None:
    values = np.array([0.0, 1.0, 99.0, 50.0, 51.0]).reshape(5, 1, 1, 1).repeat(3, axis=2)
    statistics = Statistics.of(fields_of(values, ("u",), frozenset({2})), ["u"])
    assert statistics.tendency_std[0] == 1.0
    assert statistics.maximum[0] == 51.0


def test_changes_over_a_longer_step_count_every_pair_that_far_apart(noise: np.ndarray) -> None:
    noise = noise.astype(np.float32).astype(np.float64)
    fields = fields_of(noise, ("u", "v"), frozenset({4}))
    statistics = Statistics.of(fields, ["u", "v"], chunk=4, stride=3)
    there = np.delete(np.arange(30), 4)
    pairs = [frame for frame in range(27) if frame not in (1, 4)]
    tendency = np.sqrt(((noise[np.array(pairs) + 3] - noise[pairs]) ** 2).mean(axis=(0, 1, 2)))
    assert statistics.tendency_std == pytest.approx(tendency, rel=1e-12)
    assert statistics.mean == pytest.approx(noise[there].mean(axis=(0, 1, 2)), rel=1e-12)


def test_masked_nodes_are_not_counted(noise: np.ndarray) -> None:
    masked = noise.copy()
    masked[:, :, 3:] = np.nan
    kept = Statistics.of(fields_of(noise[:, :, :3], ("u", "v")), ["u", "v"])
    seen = Statistics.of(fields_of(masked, ("u", "v")), ["u", "v"])
    for name, array in seen.arrays().items():
        assert array == pytest.approx(kept.arrays()[name])


def test_partners_share_one_std_and_have_mean_zero() -> None:
    values = np.zeros((2, 1, 4, 2))
    values[0, ..., 0], values[1, ..., 0], values[..., 1] = 3.0, 5.0, 1.0
    statistics = Statistics.of(fields_of(values, ("u", "v")), ["u", "v"], {"u": "v", "v": "u"})
    assert np.all(statistics.mean == 0)
    assert statistics.std == pytest.approx(np.sqrt((9 + 25 + 1 + 1) / 4))
    assert statistics.tendency_std == pytest.approx(np.sqrt(2.0))


def test_a_constant_variable_gets_std_one_and_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        statistics = Statistics.of(fields_of(np.full((6, 1, 4, 1), 273.15), ("t",)), ["t"], chunk=4)
    assert statistics.std[0] == statistics.tendency_std[0] == 1.0
    assert "t is 273.15 everywhere" in caplog.text


def test_the_test_period_leaves_no_trace(noise: np.ndarray) -> None:
    changed = noise.copy()
    changed[20:] += 100.0
    first = Statistics.of(fields_of(noise, ("u", "v")), ["u", "v"], times=slice(0, 20))
    again = Statistics.of(fields_of(changed, ("u", "v")), ["u", "v"], times=np.arange(20))
    for name, array in first.arrays().items():
        assert np.array_equal(array, again.arrays()[name])


def test_normalised_values_have_mean_zero_and_std_one(noise: np.ndarray) -> None:
    fields = fields_of(noise, ("u", "v"))
    statistics = Statistics.of(fields, ["u", "v"])
    values = fields.read(slice(None), ["u", "v"]).astype(np.float64)
    normalised = (values - statistics.mean) / statistics.std
    np.testing.assert_allclose(normalised.mean(axis=(0, 1, 2)), 0.0, atol=1e-12)
    np.testing.assert_allclose(normalised.std(axis=(0, 1, 2)), 1.0)


def test_statistics_survive_a_checkpoint_and_a_selection(noise: np.ndarray) -> None:
    statistics = Statistics.of(fields_of(noise, ("u", "v")), ["u", "v"])
    again = Statistics.from_arrays(["u", "v"], statistics.arrays())
    assert len(statistics.arrays()) == 9
    assert all(np.array_equal(again.arrays()[name], array) for name, array in statistics.arrays().items())
    assert again.select(["v"]).mean.tolist() == [statistics.mean[1]]


def test_a_variable_without_values_is_refused_by_name(noise: np.ndarray) -> None:
    fields = fields_of(noise, ("u", "v"))
    empty = replace(fields, values=np.where(np.array([False, True]), np.nan, fields.values))
    with pytest.raises(MeshcastError, match="no value of v"):
        Statistics.of(empty, ["u", "v"])
    with pytest.raises(MeshcastError, match="infinite values of u"):
        Statistics.of(replace(fields, values=np.where(fields.values > 6, np.inf, fields.values)), ["u", "v"])
    with pytest.raises(MeshcastError, match="no value of u, v"):
        Statistics.of(fields, ["u", "v"], times=slice(0, 0))
