"""The neural emulator: its guess, its masks, and rollouts that do not depend on how they are cut."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from emulator.baselines.anomaly_persistence import DampedAnomalyConfig
from emulator.baselines.ridge import RidgeConfig
from emulator.forcings import ComputedForcings, Forcings
from emulator.networks.gnn import GNNConfig
from emulator.protocol import Emulator, rollout
from emulator.state import State
from emulator.training_part import TrainingPart
from tests.emulator.worlds import (
    WAVES,
    WEATHER,
    fitted,
    starting_from,
    wave_fields,
    weather_fields,
    with_persistence,
    with_ridge,
)

FORCINGS = Forcings(ComputedForcings(weather_fields(2).mesh))


def run(emulator: Emulator, state: State, steps: int, start: int = 0) -> list[State]:
    return [following for following, _ in rollout(emulator, state, FORCINGS, steps, start)]


@pytest.mark.parametrize("config", [with_persistence(), with_ridge()], ids=["persistence", "ridge"])
def test_the_untrained_emulator_is_its_first_guess(config: GNNConfig) -> None:
    fields = wave_fields()
    emulator = fitted(WAVES, fields, config, zero=True)
    state = starting_from(fields, WAVES, [0, 3])
    following = run(emulator, state, 1)[0]
    guess = emulator.guess(emulator.inputs.features(state, torch.zeros(2, 2, fields.mesh.num_nodes, 0)))[0]
    expected = emulator.inputs.advance(state, guess)[0]
    assert torch.equal(following.values, expected.values)
    if emulator.first_guess is None:
        torch.testing.assert_close(following.now, state.now, rtol=0, atol=1e-6)


def test_the_first_guess_stays_exact_in_mixed_precision() -> None:
    fields = wave_fields()
    emulator = fitted(WAVES, fields, with_ridge(), zero=True)
    state = starting_from(fields, WAVES, [0])
    exact = run(emulator, state, 1)[0]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        mixed = run(emulator, state, 1)[0]
    assert torch.equal(mixed.now, exact.now)


def test_masked_nodes_stay_masked_and_do_not_spread() -> None:
    fields = weather_fields()
    emulator = fitted(WEATHER, fields)
    state = starting_from(fields, WEATHER, [0, 5])
    land = torch.isnan(state.now[0, 0, :, 1])
    assert 0 < land.sum() < len(land)
    for following, diagnostic in rollout(emulator, state, FORCINGS, 4):
        assert torch.equal(torch.isnan(following.now[..., 1]), land.expand(2, 1, -1))
        assert torch.isfinite(following.now[..., 0]).all()
        assert diagnostic is not None and torch.isfinite(diagnostic).all()


def test_what_stands_on_masked_nodes_is_no_one_elses_business() -> None:
    """The network hears the mean from land, whatever the history holds there."""
    fields = weather_fields()
    emulator = fitted(WEATHER, fields)
    state = starting_from(fields, WEATHER, [0])
    features = emulator.inputs.features(state, FORCINGS.window(state, WEATHER, 0))
    land = torch.isnan(state.now[0, 0, :, 1])
    assert torch.equal(features[0, land, 3], torch.zeros(int(land.sum())))


def test_predictions_keep_to_their_bounds() -> None:
    fields = weather_fields()
    emulator = fitted(WEATHER, fields)
    emulator.network.decoder[-1].bias.fill_(-1e4)
    following, diagnostic = next(iter(rollout(emulator, starting_from(fields, WEATHER, [0]), FORCINGS, 1)))
    sea = following.now[..., 1]
    assert sea[~torch.isnan(sea)].min() == 271.0
    assert diagnostic is not None and diagnostic.min() == 0.0


def emulators() -> dict[str, tuple[Emulator, State]]:
    """Those that keep no memory, and the one that knows its lead time from a forcing."""
    waves, weather = wave_fields(), weather_fields()
    ridge = RidgeConfig(radii=(2,), penalties=(1e-6,)).fit(WAVES, TrainingPart(waves))
    damped = DampedAnomalyConfig(max_lead=6).fit(WEATHER, TrainingPart(weather))
    return {
        "network": (fitted(WEATHER, weather), starting_from(weather, WEATHER, [0, 7, 20])),
        "network on ridge": (fitted(WAVES, waves, with_ridge()), starting_from(waves, WAVES, [0, 2, 5])),
        "ridge": (ridge, starting_from(waves, WAVES, [0, 2, 5])),
        "damped anomaly": (damped, starting_from(weather, WEATHER, [0, 7, 20])),
    }


@pytest.mark.parametrize("name", ["network", "network on ridge", "ridge", "damped anomaly"])
def test_n_then_m_steps_equal_n_plus_m_bit_for_bit(name: str) -> None:
    emulator, state = emulators()[name]
    whole = run(emulator, state, 7)
    first = run(emulator, state, 3)
    second = run(emulator, first[-1], 4, start=3)
    for expected, got in zip(whole, first + second, strict=True):
        assert torch.equal(expected.values.nan_to_num(nan=-1e9), got.values.nan_to_num(nan=-1e9))
        assert np.array_equal(expected.valid_time, got.valid_time)


def test_a_damped_anomaly_that_forgets_its_start_would_differ() -> None:
    emulator, state = emulators()["damped anomaly"]
    right = run(emulator, run(emulator, state, 3)[-1], 1, start=3)[0]
    wrong = run(emulator, run(emulator, state, 3)[-1], 1, start=0)[0]
    assert not torch.allclose(right.now[..., 0], wrong.now[..., 0], atol=1e-3)


@pytest.mark.parametrize("name", ["network", "network on ridge", "ridge", "damped anomaly"])
def test_a_batch_of_cases_equals_them_one_by_one(name: str) -> None:
    emulator, state = emulators()[name]
    together = run(emulator, state, 5)[-1].values
    for case in range(3):
        alone = run(emulator, state.rows(slice(case, case + 1)), 5)[-1].values
        torch.testing.assert_close(together[case : case + 1], alone, rtol=1e-6, atol=1e-6, equal_nan=True)


def test_members_are_forecast_as_cases_are() -> None:
    fields = weather_fields()
    emulator = fitted(WEATHER, fields)
    cases = starting_from(fields, WEATHER, [4, 4])
    cases.values[1] += 0.5
    members = State(cases.values.transpose(0, 1).contiguous(), cases.valid_time[:1])
    by_case, by_member = run(emulator, cases, 3)[-1].values, run(emulator, members, 3)[-1].values
    torch.testing.assert_close(by_member.transpose(0, 1), by_case, rtol=1e-6, atol=1e-6, equal_nan=True)


def test_gradients_of_a_rollout_are_finite_beside_a_mask() -> None:
    fields = weather_fields()
    emulator = fitted(WEATHER, fields).requires_grad_(True)
    last = run(emulator, starting_from(fields, WEATHER, [0]), 3)[-1].now
    last[~torch.isnan(last)].square().mean().backward()
    for name, weight in emulator.named_parameters():
        assert weight.grad is not None and torch.isfinite(weight.grad).all(), name
