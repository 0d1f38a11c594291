"""The neural emulator: its guess, its masks, its precision, and rollouts that do not depend on how they are cut."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from emulator.baselines.anomaly_persistence import DampedAnomalyConfig
from emulator.baselines.ridge import RidgeConfig
from emulator.forcings import ComputedForcings, Forcings
from emulator.networks.cnn import CNNConfig
from emulator.networks.ffnn import FFNNConfig
from emulator.networks.fno import FNOConfig
from emulator.networks.gnn import GNNConfig
from emulator.networks.graph_convolution import GraphConvolutionConfig
from emulator.networks.interaction_network import InteractionNetworkConfig
from emulator.networks.lstm import LSTMConfig
from emulator.networks.resnet import ResNetConfig
from emulator.networks.transformer import TransformerConfig
from emulator.networks.unet import UNetConfig
from emulator.neural import in_precision, precision_of
from emulator.protocol import Emulator, rollout
from emulator.state import State
from emulator.training_part import TrainingPart
from graphs.errors import MeshcastError
from graphs.meshes.grids import GaussianGrid
from tests.emulator.networks.questions import MESHES, emulator_of
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
    guess = emulator.guess(emulator.inputs.features(state, torch.zeros(2, 2, fields.mesh.num_nodes, 0)), state)[0]
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


NETWORKS = {
    "gnn": GNNConfig(),
    "graph convolution": GraphConvolutionConfig(),
    "interaction network": InteractionNetworkConfig(),
    "ffnn": FFNNConfig(),
    "lstm": LSTMConfig(),
    "transformer": TransformerConfig(num_heads=2, num_layers=2),
    "cnn": CNNConfig(width=12),
    "resnet": ResNetConfig(width=12),
    "unet": UNetConfig(width=8, num_levels=1),
    "fno": FNOConfig(width=8, modes=3, grid=GaussianGrid(number=4)),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_every_network_in_bfloat16_is_nearly_the_one_in_float32(name: str) -> None:
    mesh = MESHES["globe"]()
    emulator = emulator_of(NETWORKS[name], mesh).eval().requires_grad_(False)
    task, generator = emulator.task, torch.Generator().manual_seed(0)
    state = State(torch.randn(2, 3, task.history, mesh.num_nodes, 3, generator=generator), np.zeros(2, dtype=np.int64))
    forcing = torch.randn(2, task.history + 1, mesh.num_nodes, 1, generator=generator)
    low = in_precision(emulator, "bfloat16")
    weights = [weight.clone() for weight in emulator.parameters()]
    found, exact = low.step(state, forcing)[0], emulator.step(state, forcing)[0]
    assert found.values.dtype == torch.float32 and not torch.equal(found.now, exact.now)
    assert torch.equal(found.values[:, :, :-1], exact.values[:, :, :-1])  # of the history, not a bit is lost
    change = exact.now - state.now
    assert float((found.now - exact.now).square().mean().sqrt()) < 0.02 * float(change.square().mean().sqrt())
    assert all(torch.equal(one, other) for one, other in zip(weights, low.parameters(), strict=True))
    assert all(weight.dtype == torch.float32 for weight in low.parameters())


def test_the_network_alone_runs_in_bfloat16() -> None:
    """A network that says nothing leaves the first guess as it is, to the bit; one that speaks is rounded."""
    fields = wave_fields()
    emulator = fitted(WAVES, fields, with_ridge(), zero=True)
    state, low = starting_from(fields, WAVES, [0, 3]), in_precision(emulator, "bfloat16")
    assert torch.equal(run(low, state, 3)[-1].values, run(emulator, state, 3)[-1].values)
    emulator.network.decoder[-1].bias.fill_(1.01)
    emulator.correction_std.fill_(1.0)
    moved = run(low, state, 1)[0].now - run(emulator, state, 1)[0].now
    rounded = float(torch.tensor(1.01).bfloat16()) - float(torch.tensor(1.01))
    torch.testing.assert_close(moved, torch.full_like(moved, rounded) * emulator.inputs.std, rtol=1e-3, atol=1e-6)


def test_an_emulator_in_another_precision_leaves_the_first_as_it_is() -> None:
    emulator = fitted(WAVES, wave_fields())
    low = in_precision(emulator, "bfloat16")
    assert (precision_of(emulator), precision_of(low)) == ({"precision": "float32"}, {"precision": "bfloat16"})
    assert in_precision(emulator, "float32") is emulator
    assert precision_of(in_precision(low, "float32")) == {"precision": "float32"}
    assert low.state_dict().keys() == emulator.state_dict().keys()


def test_only_networks_of_pytorch_run_in_bfloat16() -> None:
    ridge = RidgeConfig(radii=(2,), penalties=(1e-6,)).fit(WAVES, TrainingPart(wave_fields()))
    assert in_precision(ridge, "float32") is ridge and precision_of(ridge) == {}
    with pytest.raises(MeshcastError, match=r"Only networks in PyTorch .* bfloat16, but .* has no network"):
        in_precision(ridge, "bfloat16")
    with pytest.raises(MeshcastError, match="float32 or bfloat16, but is 'half'"):
        in_precision(fitted(WAVES, wave_fields()), "half")  # type: ignore[arg-type]


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
