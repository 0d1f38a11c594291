"""The guard: each fault stops the case and member it is in, and no other."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch

from emulator.build import TrainedEmulator, build_network
from emulator.data.arrays import ArrayFields
from emulator.data.forcing_sources import forcings_of
from emulator.data.starts import InitialConditions
from emulator.forcings import Forcings
from emulator.foundation.configuration import load
from emulator.networks.ffnn import FFNNConfig
from emulator.networks.gnn import GNNConfig
from emulator.neural import NeuralEmulator
from emulator.normalise import Statistics
from emulator.physics.simulate import SimulationConfig, simulate_arrays
from emulator.state import State
from emulator.task import Task
from emulator.training_part import TrainingPart
from graphs.mesh import Mesh
from graphs.meshes.latlon import latlon
from graphs.meshes.ring import ring
from inference.forecasts import forecast as forecasting
from inference.forecasts.forecast import GuardedRollout, forecast, with_members
from inference.forecasts.guard import Guard
from tests.emulator.networks.questions import drawn
from tests.emulator.worlds import WAVES, WEATHER, fitted, starting_from, wave_fields, weather_fields

NODES = 16


def statistics(low: float = -1.0, high: float = 1.0, spatial_std: float = 0.5) -> Statistics:
    one = np.ones(1)
    return Statistics(("u",), 0 * one, one, one, low * one, high * one, spatial_std * one)


def wave(amplitude: float = 0.7) -> np.ndarray:
    """[node, 1] a sine, whose standard deviation is the amplitude over √2."""
    return (amplitude * np.sin(2 * np.pi * np.arange(NODES) / NODES))[:, None].astype(np.float32)


def checked(field: np.ndarray, guard: Guard | None = None) -> list[str]:
    """What the guard says of one case in one member, at step 3."""
    guard = guard or Guard(statistics(), ring(NODES, length=32.0))
    return [str(stop) for stop in guard.check(field[None, None], 3, np.ones((1, 1), dtype=bool))]


def test_a_field_as_in_training_passes() -> None:
    assert checked(wave()) == []


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_what_is_no_number_is_named_with_its_place(value: float) -> None:
    field = wave()
    field[4] = value
    assert checked(field) == ["case 0, member 0 stopped at step 3: u is not a finite number at x = 8"]


@pytest.mark.parametrize(("value", "passes"), [(1.99, True), (2.01, False), (-1.99, True), (-2.01, False)])
def test_a_value_may_leave_the_training_range_by_half_of_its_width(value: float, passes: bool) -> None:
    field = wave()
    field[4] = value
    said = checked(field)
    assert (said == []) == passes
    if not passes:
        assert said == [f"case 0, member 0 stopped at step 3: u is {value:.5g}, outside -2 to 2 at x = 8"]


def varied(smallest: float, largest: float, mean_field: float) -> Guard:
    """A guard of fields whose values may be anything, which vary over the nodes by 0.5 on average."""
    known = statistics(-100, 100, spatial_std=0.5)
    one = np.ones(1)
    known = replace(
        known, smallest_spatial_std=smallest * one, largest_spatial_std=largest * one, mean_field_std=mean_field * one
    )
    return Guard(known, ring(NODES))


@pytest.mark.parametrize(
    ("guard", "least", "most"),
    [
        (varied(0.4, 0.6, 0.45), 0.08, 2.5),  # a fifth of the flattest field's, five times the mean
        (varied(0.4, 0.6, 0.3), 0.06, 2.5),  # a fifth of the climatology's
        (varied(0.4, 2.0, 0.3), 0.06, 4.0),  # twice the largest
        (varied(0.1, 0.6, 0.1), 0.0, 2.5),  # no climatology to speak of: a damped forecast ends flat
        (Guard(statistics(-100, 100, spatial_std=0.5), ring(NODES)), 0.0, 2.5),  # of version 0.1
    ],
)
def test_the_variation_over_the_nodes_is_bounded_by_training_and_climatology(guard, least, most) -> None:
    def said(spread: float) -> list[str]:
        return checked(wave(spread * np.sqrt(2)), guard)

    assert said(1.01 * least) == said(0.99 * most) == []
    (line,) = said(1.2 * most)
    assert line.endswith(f"step 3: u varies over the nodes {1.2 * most / 0.5:.2g} times as much as in training")
    assert len(said(0.99 * least)) == (least > 0)


def test_a_field_that_is_flatter_than_its_climatology_is_stopped_and_an_anomaly_that_dies_away_is_not() -> None:
    """Fields on a globe whose poles are cold, with weather on them, and the weather alone."""
    generator = np.random.default_rng(0)
    weather = generator.normal(0, 2.0, (40, 1, NODES, 1))
    climate = np.linspace(-20, 20, NODES)[:, None]
    for background, stops in ((climate, 1), (0 * climate, 0)):
        fields = replace(wave_fields(), values=weather + background, mesh=ring(NODES), times=np.arange(40))
        guard = Guard(Statistics.of(fields, ("u",)), fields.mesh)
        for share in (1.0, 0.1, 0.0):
            assert checked((background + share * weather[0, 0]).astype(np.float32), guard) == []
        assert len(checked(np.zeros((NODES, 1), dtype=np.float32), guard)) == stops


def test_waves_that_decay_further_than_any_in_training_are_not_stopped() -> None:
    """Of Burgers' equation, whose trajectories of 51 frames train and of 241 are forecast."""
    config = load(
        SimulationConfig,
        {
            "equation": {"kind": "difficulty", "gamma": [0.0, 1.5], "delta": [-1.5]},
            "time_step": 1.0,
            "num_trajectories": 20,
            "num_frames": 241,
        },
    )
    truth = simulate_arrays(config)[..., None].swapaxes(0, 1)[:, :, None]  # [frame, trajectory, 1, node, 1]
    known = replace(wave_fields(), values=truth[:51, :10, 0], mesh=ring(160), times=np.arange(51))
    guard = Guard(Statistics.of(known, ("u",)), known.mesh)
    assert truth[-1, 10:].std(axis=-2).min() < 0.2 * guard.statistics.spatial_std
    alive = np.ones((10, 1), dtype=bool)
    assert [stop for step in range(241) for stop in guard.check(truth[step, 10:].astype(np.float32), step, alive)] == []


def test_the_worst_node_is_named_on_a_map_by_latitude_and_longitude() -> None:
    mesh = latlon(np.linspace(53, 50, 4), np.linspace(-4, -1, 4))
    field = wave()
    field[[3, 9]] = [[2.5], [3.5]]
    assert checked(field, Guard(statistics(), mesh))[0].endswith("outside -2 to 2 at 51.00 N, 357.00 E")


def test_masked_nodes_are_not_looked_at() -> None:
    valid = np.ones((NODES, 1), dtype=bool)
    valid[:4] = False
    field = wave()
    field[:4] = np.nan
    assert checked(field, Guard(statistics(), ring(NODES), valid)) == []
    field[0] = 1e9
    assert checked(field, Guard(statistics(), ring(NODES), valid)) == []
    field[8] = np.nan
    assert len(checked(field, Guard(statistics(), ring(NODES), valid))) == 1


def test_what_never_varied_in_training_may_differ_by_rounding_alone() -> None:
    guard = Guard(statistics(7.0, 7.0, spatial_std=0.0), ring(NODES))
    assert checked(np.full((NODES, 1), 7.0 + 1e-5, dtype=np.float32), guard) == []
    assert len(checked(np.full((NODES, 1), 7.1, dtype=np.float32), guard)) == 1


def test_every_member_is_judged_on_its_own_and_only_while_it_lives() -> None:
    fields = np.stack([np.stack([wave(), wave()]), np.stack([wave(), wave()]), np.stack([wave(), wave()])])
    fields[0, 1, 4], fields[2, 0, 5], fields[1, 0, 0] = np.nan, 3.0, np.nan
    alive = np.ones((3, 2), dtype=bool)
    alive[1, 0] = False
    stops = Guard(statistics(), ring(NODES)).check(fields, 7, alive)
    assert [(stop.case, stop.member, stop.step) for stop in stops] == [(0, 1, 7), (2, 0, 7)]


# Guarded rollouts -----------------------------------------------------------------------------------------------------


class Prescribed:
    """An emulator that keeps its state, but for faults at (case by its initial value, step)."""

    def __init__(self, faults: dict[tuple[float, int], float]) -> None:
        self.task: Task = WAVES
        self.mesh: Mesh = ring(NODES)
        self.faults = faults
        self.computed: list[list[float]] = []  # the marks of the cases' first members, step by step

    def step(self, state: State, forcing: torch.Tensor, generator: torch.Generator | None = None):
        self.computed.append(state.now[:, 0, 0, 0].tolist())
        now, time = state.now.clone(), state.valid_time + 1
        for (mark, step), value in self.faults.items():
            faulty = (state.now[:, :, 0, 0] == mark) & torch.as_tensor(time == step)[:, None]
            now[faulty, 4] = value
        return state.followed_by(now, time), None


def marked_states(*marks: list[float]) -> State:
    """[case, member] waves whose first node tells them apart."""
    values = np.broadcast_to(wave(), (len(marks), len(marks[0]), NODES, 1)).copy()
    values[:, :, 0, 0] = marks
    return State(torch.from_numpy(values)[:, :, None], np.zeros(len(marks), dtype=np.int64))


def test_a_stopped_member_turns_to_nan_and_the_others_go_on_unchanged() -> None:
    state = marked_states([0.1, 0.2], [0.3, 0.4])
    faults = {(np.float32(0.2), 3): np.nan, (np.float32(0.3), 2): 9.0}
    guard = Guard(statistics(), ring(NODES))
    rolled = GuardedRollout(Prescribed(faults), state, Forcings(), guard)
    steps = np.stack(list(rolled.steps(5)), axis=2)  # [case, member, lead, node, 1]
    free = np.stack(list(GuardedRollout(Prescribed({}), state, Forcings()).steps(5)), axis=2)

    finite = np.isfinite(steps).all(axis=(3, 4))
    assert finite.tolist() == [
        [[True] * 5, [True, True, False, False, False]],
        [[True, False, False, False, False], [True] * 5],
    ]
    np.testing.assert_array_equal(steps[finite], free[finite])
    assert [str(stop) for stop in rolled.stops] == [
        "case 1, member 0 stopped at step 2: u is 9, outside -2 to 2 at x = 0.25",
        "case 0, member 1 stopped at step 3: u is not a finite number at x = 0.25",
    ]


def test_a_rollout_ends_once_all_have_stopped() -> None:
    rolled = GuardedRollout(
        Prescribed({(np.float32(0.1), 2): np.inf}), marked_states([0.1]), Forcings(), Guard(statistics(), ring(NODES))
    )
    assert len(list(rolled.steps(50))) == 2


def test_a_case_is_computed_until_its_last_member_has_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    marks = np.float32([[0.1, 0.2], [0.3, 0.4], [0.5, 0.6], [0.7, 0.8], [0.9, 1.0]])
    stops_at = {0.3: 1, 0.4: 3, 0.5: 2, 0.6: 2, 0.7: 3}
    emulator = Prescribed({(np.float32(mark), step): np.nan for mark, step in stops_at.items()})
    state = marked_states(*marks.tolist())
    monkeypatch.setattr(forecasting, "BATCH_VALUES", 3 * state.values[0].numel())  # cases 0 to 2, and 3 and 4
    rolled = GuardedRollout(emulator, state, Forcings(), Guard(statistics(), ring(NODES)))
    steps = np.stack(list(rolled.steps(5)))  # [lead, case, member, node, 1]
    first, second = emulator.computed[::2], emulator.computed[1::2]
    assert [[round(mark, 1) for mark in step] for step in first] == [[0.1, 0.3, 0.5]] * 2 + [[0.1, 0.3]] + [[0.1]] * 2
    # the second member of case 3 goes on, and the case with it
    assert np.isfinite(steps[:, 3, 1]).all() and not np.isfinite(steps[2:, 3, 0]).any()
    assert [len(step) for step in second] == [2] * 5


def test_without_a_guard_everyone_goes_on() -> None:
    rolled = GuardedRollout(Prescribed({(np.float32(0.1), 2): 1e9}), marked_states([0.1]), Forcings())
    assert np.stack(list(rolled.steps(3)))[:, 0, 0, 4, 0].tolist() == [wave()[4, 0], 1e9, 1e9]


def test_a_rollout_taken_up_again_leaves_out_who_had_stopped() -> None:
    state = marked_states([0.1, 0.2])
    faults = {(np.float32(0.2), 2): np.nan}
    whole = GuardedRollout(Prescribed(faults), state, Forcings(), Guard(statistics(), ring(NODES)))
    steps = list(whole.steps(5))
    last = State(torch.from_numpy(steps[2])[:, :, None], np.array([3]))
    again = GuardedRollout(Prescribed(faults), last, Forcings(), Guard(statistics(), ring(NODES)), start=3)
    np.testing.assert_array_equal(np.stack(list(again.steps(2))), np.stack(steps[3:]))
    assert again.stops == []


# Forecasts ------------------------------------------------------------------------------------------------------------


def trained(emulator, fields) -> TrainedEmulator:
    names = tuple(variable.name for variable in emulator.task.predicted)
    return TrainedEmulator("GNN", emulator, GNNConfig(), Statistics.of(fields, names))


def wide_guard(emulator, fields) -> Guard:
    """A guard that lets a network of random weights pass, as long as it stays within 500 of the training range."""
    wide = trained(emulator, fields).statistics
    wide = replace(wide, minimum=wide.minimum - 500, maximum=wide.maximum + 500, spatial_std=0 * wide.spatial_std)
    return Guard(wide, fields.mesh, np.isfinite(fields.read(slice(1), wide.names)[0, 0]))


def test_a_forecast_does_not_depend_on_how_many_cases_run_together(monkeypatch: pytest.MonkeyPatch) -> None:
    fields = weather_fields()
    emulator = fitted(WEATHER, fields)
    state = starting_from(fields, WEATHER, [0, 3, 9, 20, 31])
    initial = InitialConditions(state, np.full(5, -1), {"licence": "CC0-1.0"})
    forcings = forcings_of(WEATHER, fields.mesh)
    whole, _ = forecast(trained(emulator, fields), initial, forcings, 6)
    monkeypatch.setattr(forecasting, "BATCH_VALUES", 2 * state.values[0].numel())
    parts, _ = forecast(trained(emulator, fields), initial, forcings, 6)
    np.testing.assert_allclose(parts.values, whole.values, rtol=1e-6, atol=1e-6)
    assert whole.values.shape == (5, 1, 6, fields.mesh.num_nodes, 3)
    assert whole.variables == ("2t", "sst", "tp") and whole.units == ("K", "K", "m")
    assert (whole.valid_time[:, 0] - state.valid_time).tolist() == [3600] * 5
    assert whole.attributes["licence"] == "CC0-1.0"


def feed_forward(task: Task, fields: ArrayFields) -> NeuralEmulator:
    """A network whose products are rounded by how many rows they have."""
    torch.manual_seed(0)
    emulator = drawn(build_network(FFNNConfig(), task, fields.mesh, len(task.static)))
    emulator.inputs.take(TrainingPart(fields))
    return emulator.eval()


@pytest.mark.parametrize("network", [fitted, feed_forward])
def test_the_other_cases_keep_their_values_when_some_are_stopped(network: Callable[..., NeuralEmulator]) -> None:
    fields = weather_fields()
    emulator = network(WEATHER, fields)
    state = starting_from(fields, WEATHER, [0, 3, 9, 20, 31])
    state.values[[0, 1, 3, 4]] += 1600.0
    forcings = forcings_of(WEATHER, fields.mesh)
    free = np.stack(list(GuardedRollout(emulator, state, forcings).steps(4)))  # [lead, case, member, node, variable]
    rolled = GuardedRollout(emulator, state, forcings, wide_guard(emulator, fields))
    guarded = np.stack(list(rolled.steps(4)))
    assert {(stop.case, stop.step) for stop in rolled.stops} == {(case, 1) for case in (0, 1, 3, 4)}
    assert np.isnan(guarded[:, [0, 1, 3, 4]]).all() and np.isfinite(guarded[:, 2, ..., 0]).all()
    np.testing.assert_array_equal(guarded[0, 2], free[0, 2])
    np.testing.assert_allclose(guarded[:, 2], free[:, 2], rtol=1e-6, atol=1e-6)


def test_a_guarded_rollout_of_three_and_then_four_steps_is_one_of_seven() -> None:
    fields = weather_fields()
    emulator = fitted(WEATHER, fields)
    forcings = forcings_of(WEATHER, fields.mesh)
    state = starting_from(fields, WEATHER, [0, 3, 9])
    guard = wide_guard(emulator, fields)
    whole = list(GuardedRollout(emulator, state, forcings, guard).steps(7))
    first = list(GuardedRollout(emulator, state, forcings, guard).steps(3))
    prognostic = torch.from_numpy(np.stack(first, axis=2)[..., : len(WEATHER.prognostic)])
    history = torch.cat([state.values, prognostic], dim=2)[:, :, -WEATHER.history :]
    middle = State(history, WEATHER.time_step.advance(state.valid_time, 3))
    rest = list(GuardedRollout(emulator, middle, forcings, guard, start=3).steps(4))
    np.testing.assert_array_equal(np.stack(first + rest), np.stack(whole))
    assert np.isfinite(np.stack(whole)[..., 0]).all()


def test_member_zero_is_unperturbed_and_the_others_differ_as_asked() -> None:
    fields = wave_fields()
    state = starting_from(fields, WAVES, [0, 3])
    ensemble = with_members(state, 40, perturb=0.1, std=[2.0], seed=3)
    assert ensemble.values.shape == (2, 40, 1, 24, 1)
    assert torch.equal(ensemble.values[:, :1], state.values)
    noise = ensemble.values[:, 1:] - state.values
    assert abs(float(noise.std()) - 0.2) < 0.01 and abs(float(noise.mean())) < 0.01
    again = with_members(state, 40, perturb=0.1, std=[2.0], seed=3)
    assert torch.equal(again.values, ensemble.values)
    assert not torch.equal(with_members(state, 40, 0.1, [2.0], seed=4).values, ensemble.values)
    assert with_members(state, 1, 0.1, [2.0], seed=3) is state
