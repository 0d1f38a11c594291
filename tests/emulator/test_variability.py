"""Internal variability: what it was fitted on found again, in size, in space, in time and in distribution."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.signal import lfilter

from emulator.foundation.time_step import to_seconds
from emulator.task import Variable
from emulator.variability import Variability, VariabilityConfig
from graphs.errors import MeshcastError

NODES = 12
AREAS = np.full(NODES, 1 / NODES)
TIMES = to_seconds(np.arange("1800-07", "2300-07", 12, dtype="datetime64[M]"))
T, P = Variable("t", "prognostic", "K"), Variable("p", "prognostic", bounds=(0.0, None))
PATTERN = np.stack([np.cos(np.linspace(0, np.pi, NODES)), np.ones(NODES)])
CLIMATE = 280 + 0.01 * np.arange(500)[:, None, None] * np.ones((NODES, 1))


def weather(rows: int = 2, years: int = 500, seed: int = 0) -> np.ndarray:
    """[row, time, node] of a see-saw of 1 K, .8 from year to year, another that does not last, and noise of .3."""
    draw = np.random.default_rng(seed)
    shocks = draw.standard_normal((rows, years + 100, 2))
    lasting = lfilter([1.0], [1.0, -0.8], shocks[..., 0] * 0.6, axis=1)[:, 100:]
    modes = np.stack([lasting, 0.5 * shocks[:, 100:, 1]], axis=-1)
    return modes @ PATTERN + 0.3 * draw.standard_normal((rows, years, NODES))


def fitted(truth: np.ndarray, **options: object) -> Variability:
    config = VariabilityConfig(**options)  # type: ignore[arg-type]
    expected = np.broadcast_to(CLIMATE, truth.shape)
    return Variability.of(config, (T,), TIMES, truth, expected, AREAS)


@pytest.fixture(scope="module")
def found() -> Variability:
    return fitted(CLIMATE + weather(12)[..., None], modes=2)


def lag(series: np.ndarray) -> float:
    """Correlation from one year to the next, of [member, time]."""
    return float(np.corrcoef(series[:, 1:].ravel(), series[:, :-1].ravel())[0, 1])


def test_members_are_as_large_as_alike_and_as_lasting_as_the_weather(found: Variability) -> None:
    truth = weather(40, seed=1)
    members = found.applied(TIMES, CLIMATE, found.draw(len(TIMES), 40, np.random.default_rng(0)))[..., 0]
    members = members - CLIMATE[..., 0]
    assert np.allclose(members.std(axis=(0, 1)), truth.std(axis=(0, 1)), rtol=0.1)
    between = [np.corrcoef(np.moveaxis(one, 2, 0).reshape(NODES, -1)) for one in (members, truth)]
    assert np.abs(between[0] - between[1]).max() < 0.15
    assert lag(members @ PATTERN[0]) == pytest.approx(lag(truth @ PATTERN[0]), abs=0.05)
    assert lag(truth @ PATTERN[0]) > 0.7  # so that the line above could fail
    assert abs(lag(members.mean(axis=2))) < 0.05
    assert np.abs(members.mean(axis=(0, 1))).max() < 0.1


def test_long_means_of_another_run_lie_within_the_band_of_a_response_learned_from_two() -> None:
    """The response has taken on the trend of the weather of the two, which another run does not share."""
    years, inside = np.linspace(-1, 1, 500), {True: [], False: []}
    for seed in range(12):
        runs = weather(3, seed=seed)
        slopes = runs[:2].mean(axis=0).T @ years / (years @ years)  # [node]
        learned = CLIMATE + (years[:, None] * slopes)[..., None]
        truth = CLIMATE + runs[:2, ..., None]
        found = Variability.of(
            VariabilityConfig(order=1), (T,), TIMES, truth, np.broadcast_to(learned, truth.shape), AREAS
        )
        for slow in inside:
            one = found if slow else replace(found, slow=np.zeros_like(found.slow))
            members = one.applied(TIMES, learned, one.draw(500, 100, np.random.default_rng(seed)))[..., 0]
            drawn, seen = (
                part.reshape(-1, 10, 50, NODES).mean(axis=2) for part in (members, (CLIMATE[..., 0] + runs[2])[None])
            )
            low, high = np.percentile(drawn, (5, 95), axis=0)
            inside[slow].append(((seen[0] >= low) & (seen[0] <= high)).mean())
    with_slow, without = np.mean(inside[True]), np.mean(inside[False])
    assert without < 0.88 and (without + 0.02 < with_slow < 0.97), with_slow


def test_rain_keeps_its_distribution_whatever_is_slow() -> None:
    positive = replace(fitted(CLIMATE + weather(1)[..., None], modes=2), positive=np.array([True]))
    assert positive.slow.max() > 0.2
    drawn = positive.draw(500, 100, np.random.default_rng(0))
    assert drawn.std() == pytest.approx(
        replace(positive, slow=np.zeros(2)).draw(500, 100, np.random.default_rng(0)).std(), rel=0.02
    )


def test_a_series_begins_as_it_goes_on(found: Variability) -> None:
    drawn = found.draw(3, 4000, np.random.default_rng(0))[..., 0] @ PATTERN[0]
    assert drawn[:, 0].std() == pytest.approx(drawn[:, 2].std(), rel=0.05)
    assert drawn[:, 0].std() > 1.0


def test_missing_years_do_not_count() -> None:
    truth = CLIMATE + weather()[..., None]
    truth[:, 100:150] = np.nan
    one = fitted(truth, modes=2)
    assert np.isfinite(one.size).all() and np.isfinite(one.patterns).all()
    assert one.memory[0].sum() == pytest.approx(0.8, abs=0.08)


def test_masked_nodes_stay_masked() -> None:
    truth = CLIMATE + weather()[..., None]
    truth[:, :, 3] = np.nan
    one = fitted(truth, modes=2)
    members = one.applied(
        TIMES, np.where(np.arange(NODES)[:, None] == 3, np.nan, CLIMATE), one.draw(500, 2, np.random.default_rng(0))
    )
    assert np.isnan(members[:, :, 3]).all() and np.isfinite(np.delete(members, 3, axis=2)).all()


def test_rain_is_never_negative_has_its_mean_and_its_heavy_tail() -> None:
    draw = np.random.default_rng(0)
    mean = 1 + np.linspace(0, 3, NODES)[:, None] * np.linspace(1, 1.5, 500)[:, None, None]
    truth = mean * draw.gamma(0.7, 1 / 0.7, size=(2, *mean.shape))
    one = Variability.of(VariabilityConfig(), (P,), TIMES, truth, np.broadcast_to(mean, truth.shape), AREAS)
    assert np.allclose(one.size, 0.7, rtol=0.3)
    wetter = 2 * mean
    members = one.applied(TIMES, wetter, one.draw(500, 20, np.random.default_rng(1)))
    assert members.min() >= 0
    assert np.allclose(members.mean(axis=(0, 1)), wetter.mean(axis=0), rtol=0.1)
    share = members / wetter
    assert (share > 4).mean() == pytest.approx((truth / mean > 4).mean(), rel=0.25)
    assert (truth / mean > 4).mean() > 0.005


def test_each_month_has_its_size_and_an_unseen_one_is_refused() -> None:
    times = to_seconds(np.arange("1900-01", "1940-01", dtype="datetime64[M]"))
    months = np.arange(len(times)) % 12
    size = np.where(months < 3, 3.0, 1.0)
    truth = size[:, None, None] * np.random.default_rng(0).standard_normal((1, len(times), NODES, 1))
    known = months != 7
    config = VariabilityConfig(by="month")
    one = Variability.of(config, (T,), times[known], truth[:, known], np.zeros_like(truth)[:, known], AREAS)
    members = one.applied(times[:3], np.zeros((3, NODES, 1)), one.draw(3, 200, np.random.default_rng(0)))
    assert members.std() == pytest.approx(3, rel=0.1)
    with pytest.raises(MeshcastError, match="no month such as"):
        one.applied(times[:12], np.zeros((12, NODES, 1)), np.zeros((12, NODES, 1)))


def test_too_few_years_and_senseless_numbers_are_refused() -> None:
    with pytest.raises(MeshcastError, match="needs 20 steps of training, but there are 12"):
        Variability.of(
            VariabilityConfig(), (T,), TIMES[:6], np.ones((2, 6, NODES, 1)), np.ones((2, 6, NODES, 1)), AREAS
        )
    with pytest.raises(MeshcastError, match="modes from 1"):
        VariabilityConfig(modes=0)


def test_a_climate_without_weather_draws_none() -> None:
    still = fitted(np.broadcast_to(CLIMATE, (2, *CLIMATE.shape)).copy())
    members = still.applied(TIMES, CLIMATE, still.draw(len(TIMES), 2, np.random.default_rng(0)))
    assert np.array_equal(members, np.broadcast_to(CLIMATE, members.shape))


def test_it_comes_back_from_its_arrays_and_others_are_refused(found: Variability, tmp_path: Path) -> None:
    arrays = {name: torch.from_numpy(np.asarray(value)) for name, value in found.arrays().items()}
    again = Variability.from_arrays(found.config, arrays, (NODES, 1))
    one, other = (each.draw(5, 2, np.random.default_rng(3)) for each in (found, again))
    assert np.allclose(one, other, atol=1e-5)
    with pytest.raises(MeshcastError, match="has the shape"):
        Variability.from_arrays(found.config, arrays, (NODES + 1, 1))
    with pytest.raises(MeshcastError, match="has the shape"):
        Variability.from_arrays(replace(found.config, order=7), arrays, (NODES, 1))
