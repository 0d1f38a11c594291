"""Departures from a climatology and from the mean anomaly of the last states."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from emulator.baselines.first_guess import PersistenceGuess
from emulator.baselines.ridge import RidgeConfig
from emulator.data.arrays import ArrayFields
from emulator.features.departures import DepartureInputs, DeparturesConfig, build_inputs
from emulator.features.inputs import Inputs
from emulator.forcings import ComputedForcings, Forcings
from emulator.foundation.time_step import TimeStep, to_seconds
from emulator.networks.gnn import GNNConfig
from emulator.protocol import rollout
from emulator.state import State
from emulator.task import Task, Variable
from emulator.training_part import TrainingPart
from graphs.errors import MeshcastError
from graphs.meshes.latlon import latlon
from tests.emulator.worlds import SMALL, WEATHER, fitted, starting_from, weather_fields

MONTH = TimeStep(1, "month")
TASK = Task((Variable("2t", "prognostic", "K"), Variable("cos_julian_day", "forcing")), MONTH, history=24)
DEPARTURES = DeparturesConfig(period="month", recent=24, shown=1)


def months(years: int = 30, warming: float = 0.0, memory: float = 0.5) -> ArrayFields:
    """A yearly round of its own at each node, a departure that lasts, and a step of `warming` [K] half-way."""
    rng = np.random.default_rng(0)
    mesh = latlon(np.linspace(60, -60, 5), np.arange(8) * 45.0)
    season = rng.normal(280.0, 10.0, (12, mesh.num_nodes))
    noise = rng.normal(size=(12 * years, mesh.num_nodes))
    departure = np.zeros_like(noise)
    for t in range(1, len(noise)):
        departure[t] = memory * departure[t - 1] + noise[t]
    values = np.tile(season, (years, 1)) + departure
    values[len(values) // 2 :] += warming
    times = MONTH.advance(to_seconds(np.array(["1950-01-01"], dtype="datetime64[s]")), np.arange(len(values)))
    return ArrayFields(values[:, None, :, None].astype(np.float32), ("2t",), ("K",), mesh, MONTH, times, "member")


def inputs_of(fields: ArrayFields, part: TrainingPart) -> DepartureInputs:
    inputs = build_inputs(DEPARTURES, TASK, fields.mesh)
    assert isinstance(inputs, DepartureInputs)
    inputs.take(part)
    return inputs


def test_features_and_targets_are_departures_from_the_month_and_from_the_last_two_years() -> None:
    fields = months()
    inputs = inputs_of(fields, TrainingPart(fields, slice(0, 240)))
    state = starting_from(fields, TASK, [250, 283])
    values = fields.values[:, 0, :, 0].astype(np.float64)
    anomaly = values - np.tile(values[:240].reshape(20, 12, -1).mean(axis=0), (30, 1))
    forcing = Forcings(ComputedForcings(fields.mesh)).window(state, TASK, 0)
    features = inputs.features(state, forcing)
    assert features.shape == (2, 40, inputs.num_fields + inputs.num_own) == (2, 40, 1 + 2)
    for row, now in enumerate([273, 306]):
        recent = anomaly[now - 23 : now + 1].mean(axis=0)
        assert features[row, :, 0].numpy() * inputs.std.numpy() == pytest.approx(anomaly[now] - recent, abs=1e-4)
        target = inputs.targets(state, torch.from_numpy(fields.values[[274, 307], 0]))[row, :, 0]
        assert target.numpy() * inputs.std.numpy() == pytest.approx(anomaly[now + 1] - recent, abs=1e-4)
    season = (forcing[:, -2:, 0, 0] - inputs.forcing_mean) / inputs.forcing_std
    torch.testing.assert_close(features[:, 3, 1:], season)  # of now and of the target alone


def test_what_is_predicted_comes_back_in_physical_units() -> None:
    fields = months()
    inputs = inputs_of(fields, TrainingPart(fields, slice(0, 240)))
    state = starting_from(fields, TASK, [250])
    truth = torch.from_numpy(fields.values[[274], 0])
    following, _ = inputs.advance(state, inputs.targets(state, truth))
    torch.testing.assert_close(following.now[:, 0], truth)
    assert following.valid_time.tolist() == [fields.times[274]]


def test_the_scale_is_that_of_the_targets() -> None:
    fields = months()
    inputs = inputs_of(fields, TrainingPart(fields, slice(0, 240)))
    state = starting_from(fields, TASK, list(range(216)))
    targets = inputs.targets(state, torch.from_numpy(fields.values[24:240, 0]))
    assert float(targets.square().mean()) == pytest.approx(1.0, abs=1e-3)


def test_a_regression_of_departures_follows_a_climate_that_has_left_its_training() -> None:
    fields = months(warming=3.0, memory=0.5)
    part = TrainingPart(fields, slice(0, 180))
    ridge = RidgeConfig(radii=(0,), penalties=(1e-6,))
    task = replace(TASK, variables=TASK.variables[:1])
    state, truth = starting_from(fields, task, list(range(210, 330))), fields.values[234:354, 0]
    errors = {}
    for recent in (0, 24):
        emulator = replace(ridge, departures=DeparturesConfig("month", recent, 1)).fit(task, part)
        following, _ = next(rollout(emulator, state, Forcings(), 1))
        errors[recent] = float((following.now[:, 0] - truth).square().mean().sqrt())
    assert emulator.map.weights[0, 0] == pytest.approx(0.5, abs=0.06)
    assert errors[24] < 1.1 < 1.5 < errors[0]  # the noise has std 1; half the warming is damped away without


@pytest.mark.parametrize("departures", [DeparturesConfig("hour"), DeparturesConfig("hour", 2, 1)])
def test_a_network_of_departures_runs_with_everything_a_task_can_have(departures: DeparturesConfig) -> None:
    fields = weather_fields(96)
    config = GNNConfig(processor=SMALL, first_guess=RidgeConfig(radii=(1,), penalties=(1e-3,)), departures=departures)
    assert config.first_guess.departures == departures  # type: ignore[union-attr]
    emulator = fitted(WEATHER, fields, config)
    state = starting_from(fields, WEATHER, [0, 40])
    for following, rain in rollout(emulator, state, Forcings(ComputedForcings(fields.mesh)), 3):
        masked = np.arange(24) % 6 >= 4
        np.testing.assert_array_equal(np.isnan(following.now[..., 1]), np.broadcast_to(masked, (2, 1, 24)))
        assert torch.isfinite(following.now[..., 0]).all() and rain is not None and torch.isfinite(rain).all()


@pytest.mark.parametrize("recent", [0, 24])
def test_members_of_an_ensemble_are_forecast_as_each_alone(recent: int) -> None:
    fields = months()
    config = GNNConfig(processor=SMALL, departures=DeparturesConfig("month", recent, 1))
    emulator = fitted(TASK, fields, config, part=TrainingPart(fields, slice(0, 240)))
    one, other = (starting_from(fields, TASK, [start]) for start in (250, 262))  # of the same month
    together = State(torch.cat([one.values, other.values], dim=1), one.valid_time)
    provider = Forcings(ComputedForcings(fields.mesh))
    both, *alone = (next(rollout(emulator, state, provider, 1))[0].now for state in (together, one, other))
    torch.testing.assert_close(both, torch.cat(alone, dim=1), rtol=0, atol=0.01)  # a leap year's sun, and rounding [K]


def test_an_untrained_network_of_departures_forecasts_that_they_persist() -> None:
    fields = months()
    config = GNNConfig(processor=SMALL, first_guess=PersistenceGuess(), departures=DEPARTURES)
    emulator = fitted(TASK, fields, config, zero=True, part=TrainingPart(fields, slice(0, 240)))
    state = starting_from(fields, TASK, [250])
    following, _ = next(rollout(emulator, state, Forcings(ComputedForcings(fields.mesh)), 1))
    values = fields.values[:240, 0, :, 0].astype(np.float64).reshape(20, 12, -1).mean(axis=0)
    expected = fields.values[273, 0, :, 0] + values[274 % 12] - values[273 % 12]
    assert following.now[0, 0, :, 0].numpy() == pytest.approx(expected, abs=1e-3)


def test_states_as_they_are_stay_the_default() -> None:
    assert type(build_inputs(None, TASK, months(2).mesh)) is Inputs


def test_departures_that_the_history_cannot_give_are_refused() -> None:
    mesh = months(2).mesh
    for config, match in ((DeparturesConfig(recent=25), "recent asks for 25"), (DeparturesConfig(shown=30), "shown")):
        with pytest.raises(MeshcastError, match=match):
            build_inputs(config, TASK, mesh)
    for wrong in ({"recent": -1}, {"shown": 0}):
        with pytest.raises(MeshcastError, match=f"departures.{next(iter(wrong))}"):
            DeparturesConfig(**wrong)  # type: ignore[arg-type]
    with pytest.raises(MeshcastError, match="Give departures alone"):
        GNNConfig(first_guess=RidgeConfig(departures=DEPARTURES))
    fields = months(2)
    with pytest.raises(MeshcastError, match="no 25 consecutive dates"):
        inputs_of(fields, TrainingPart(fields, slice(0, 20)))
