"""Baselines against series whose best forecast is known."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from emulator.baselines.anomaly_persistence import (
    AnomalyPersistenceConfig,
    DampedAnomaly,
    DampedAnomalyConfig,
    _add_at_nodes,
    _add_by_area,
)
from emulator.baselines.baseline import Baseline, BaselineConfig
from emulator.baselines.climatology import ClimatologyConfig
from emulator.baselines.linear_inverse import LinearInverse, LinearInverseConfig
from emulator.baselines.persistence import PersistenceConfig
from emulator.baselines.recent_mean import RecentMean, RecentMeanConfig
from emulator.baselines.ridge import RidgeConfig
from emulator.checkpoint import read, save
from emulator.data.arrays import ArrayFields
from emulator.features.departures import DeparturesConfig
from emulator.features.periodic_mean import bin_of
from emulator.forcings import ComputedForcings, Forcings
from emulator.foundation.configuration import load, resolve
from emulator.foundation.time_step import TimeStep, to_seconds
from emulator.protocol import Emulator, rollout
from emulator.state import State
from emulator.task import Task, Variable
from emulator.training_part import TrainingPart
from graphs.errors import MeshcastError
from graphs.meshes.ring import ring

HOUR, MONTH = TimeStep(3600), TimeStep(1, "month")
TASK = Task((Variable("t", "prognostic", "K"),), HOUR)
CONFIGS: list[BaselineConfig] = [
    PersistenceConfig(),
    ClimatologyConfig(),
    AnomalyPersistenceConfig(),
    DampedAnomalyConfig(max_lead=3, per_node=True),
    RecentMeanConfig(period="hour", steps=30),
    LinearInverseConfig(period="hour", modes=2),
    LinearInverseConfig(period="hour", modes=(1, 2), penalties=(0.0, 0.1), rest="damped", rollout_steps=2),
    RidgeConfig(radii=(0, 1), penalties=(1e-6, 1e-2), rollout_steps=3),
    RidgeConfig(radii=(1,), penalties=(1e-3,), departures=DeparturesConfig("hour")),
]
each_baseline = pytest.mark.parametrize("config", CONFIGS, ids=lambda config: config.kind)


def fields_of(values: NDArray[np.floating], time_step: TimeStep = HOUR, start: str = "2019-03-01") -> ArrayFields:
    """Fields on a ring from values [time, ensemble, node] or [time, ensemble, node, variable t, d]."""
    values = (values if values.ndim == 4 else values[..., None]).astype(np.float32)
    names = ("t", "d")[: values.shape[-1]]
    first = to_seconds(np.array([start], dtype="datetime64[s]"))
    times = time_step.advance(first, np.arange(len(values)))
    mesh = ring(values.shape[2])
    return ArrayFields(values, names, ("K",) * len(names), mesh, time_step, times, ensemble_axis="member")


def forecast(emulator: Emulator, fields: ArrayFields, start: int, steps: int) -> NDArray[np.float64]:
    """[step, ensemble, node] of the first variable from the fields at `start`, one member a row of the batch."""
    window = fields.read(np.arange(start - emulator.task.history + 1, start + 1), emulator.task.prognostic)
    state = State(
        torch.from_numpy(window).transpose(0, 1).unsqueeze(1), np.repeat(fields.times[start], window.shape[1])
    )
    steps_of_it = rollout(emulator, state, Forcings(ComputedForcings(fields.mesh)), steps)
    return np.stack([following.now[:, 0, :, 0].numpy() for following, _ in steps_of_it]).astype(np.float64)


def daily_round(days: int, nodes: int = 6) -> NDArray[np.float64]:
    """[time, 1, node] a series that repeats every day, differently at each node."""
    shape = np.random.default_rng(0).normal(280.0, 5.0, size=(24, 1, nodes))
    return np.tile(shape, (days, 1, 1))


def red_noise(memory: float, length: int = 4000, nodes: int = 4, seed: int = 1) -> NDArray[np.float64]:
    """[time, 1, node] of a(t + 1) = memory · a(t) + noise."""
    noise = np.random.default_rng(seed).normal(size=(length, 1, nodes))
    values = np.zeros_like(noise)
    for t in range(1, length):
        values[t] = memory * values[t - 1] + noise[t]
    return values


@each_baseline
def test_a_constant_is_forecast_exactly(config: BaselineConfig) -> None:
    fields = fields_of(np.full((96, 1, 6), 273.0))
    emulator = config.fit(TASK, TrainingPart(fields, slice(0, 72)))
    assert np.array_equal(forecast(emulator, fields, 80, 6), np.full((6, 1, 6), 273.0))


def test_persistence_keeps_the_state_and_moves_the_time() -> None:
    fields = fields_of(red_noise(0.5, 40))
    emulator = PersistenceConfig().fit(TASK, TrainingPart(fields))
    assert np.array_equal(forecast(emulator, fields, 7, 3), np.stack([fields.values[7, :, :, 0]] * 3))
    state = State(torch.zeros(2, 3, 1, 4, 1), np.array([0, 7200]))
    following, diagnostic = emulator.step(state, torch.zeros(2, 2, 4, 0))
    assert following.valid_time.tolist() == [3600, 10800]
    assert diagnostic is None


@pytest.mark.parametrize(
    "config",
    [ClimatologyConfig(), AnomalyPersistenceConfig(), DampedAnomalyConfig(max_lead=4), CONFIGS[-1]],
    ids=lambda config: config.kind,
)
def test_what_repeats_every_day_is_forecast_by_the_hour_of_day(config: BaselineConfig) -> None:
    fields = fields_of(daily_round(5), start="2019-03-01T05")
    emulator = config.fit(TASK, TrainingPart(fields, slice(0, 72)))
    truth = fields.values[81:111, :, :, 0]
    assert forecast(emulator, fields, 80, 30) == pytest.approx(truth, abs=1e-3)


def test_what_repeats_every_year_is_forecast_by_the_calendar_month() -> None:
    shape = np.random.default_rng(0).normal(size=(12, 1, 5))
    fields = fields_of(np.tile(shape, (4, 1, 1)), MONTH, start="1999-11-01")
    task = replace(TASK, time_step=MONTH)
    emulator = ClimatologyConfig(period="month").fit(task, TrainingPart(fields, slice(0, 24)))
    assert forecast(emulator, fields, 25, 20) == pytest.approx(fields.values[26:46, :, :, 0], abs=1e-6)


def test_a_climatology_refuses_a_month_it_has_never_seen() -> None:
    fields = fields_of(np.random.default_rng(0).normal(size=(24, 1, 5)), MONTH, start="1999-01-01")
    task = replace(TASK, time_step=MONTH)
    emulator = ClimatologyConfig(period="month").fit(task, TrainingPart(fields, slice(0, 6)))
    with pytest.raises(MeshcastError, match="no training date like 1999-07-01"):
        forecast(emulator, fields, 5, 1)


def test_bins_follow_the_calendar() -> None:
    times = to_seconds(np.array(["1970-01-01T00:59:59", "2000-02-29T23:00", "1969-12-31T23:30"], dtype="datetime64[s]"))
    assert bin_of(times, "none").tolist() == [0, 0, 0]
    assert bin_of(times, "hour").tolist() == [0, 23, 23]
    assert bin_of(times, "month").tolist() == [0, 1, 11]
    assert bin_of(times, "hour_month").tolist() == [0, 47, 287]


def test_an_anomaly_persists_on_top_of_the_daily_round() -> None:
    fields = fields_of(daily_round(5))
    warm = replace(fields, values=fields.values + 3.0)
    emulator = AnomalyPersistenceConfig().fit(TASK, TrainingPart(fields))
    assert forecast(emulator, warm, 30, 10) == pytest.approx(warm.values[31:41, :, :, 0], abs=1e-3)


@pytest.mark.parametrize("per_node", [False, True])
def test_damping_finds_the_memory_of_red_noise(per_node: bool) -> None:
    fields = fields_of(red_noise(0.9))
    config = DampedAnomalyConfig(period="none", max_lead=5, per_node=per_node)
    emulator = config.fit(TASK, TrainingPart(fields))
    assert isinstance(emulator, DampedAnomaly)
    damping = emulator.damping[:, :, 0].numpy()
    assert damping == pytest.approx(np.broadcast_to(0.9 ** np.arange(6)[:, None], damping.shape), abs=0.05)
    # The rollout follows a(t₀ + n) = r(n) a(t₀), and beyond the last fitted lead stays as it is.
    mean = emulator.mean.mean[0, :, 0].numpy()
    expected = mean + damping[[1, 2, 3, 4, 5, 5, 5]] * (fields.values[100, 0, :, 0] - mean)
    assert forecast(emulator, fields, 100, 7)[:, 0] == pytest.approx(expected, abs=1e-5)


def test_damping_by_node_tells_long_memory_from_short() -> None:
    values = np.concatenate([red_noise(0.95), red_noise(0.3)], axis=2)
    config = DampedAnomalyConfig(period="none", max_lead=1, per_node=True)
    emulator = config.fit(TASK, TrainingPart(fields_of(values)))
    assert isinstance(emulator, DampedAnomaly)
    assert emulator.damping[1, :, 0].numpy() == pytest.approx([0.95] * 4 + [0.3] * 4, abs=0.06)


def test_a_rollout_taken_up_again_damps_as_one_in_one_go() -> None:
    fields = fields_of(red_noise(0.8, 400))
    emulator = DampedAnomalyConfig(period="none", max_lead=8).fit(TASK, TrainingPart(fields))
    state, forcings = State(torch.from_numpy(fields.values[:1][:, :, None]), fields.times[:1]), Forcings()
    whole = [following for following, _ in rollout(emulator, state, forcings, 6)]
    first = [following for following, _ in rollout(emulator, state, forcings, 4)]
    rest = [following for following, _ in rollout(emulator, first[-1], forcings, 2, start=4)]
    assert all(torch.equal(a.values, b.values) for a, b in zip(whole, first + rest, strict=True))


def test_the_recent_mean_is_of_the_last_states_and_stays_with_the_lead() -> None:
    fields = fields_of(daily_round(6) + red_noise(0.8, 144, 6))
    emulator = RecentMeanConfig(period="hour", steps=30).fit(TASK, TrainingPart(fields, slice(0, 48)))
    assert isinstance(emulator, RecentMean)
    assert emulator.task.history == 30
    climatology = emulator.mean.mean[np.arange(144) % 24, :, 0].numpy()
    recent = (fields.values[71:101, 0, :, 0] - climatology[71:101]).mean(axis=0)
    assert forecast(emulator, fields, 100, 40)[:, 0] == pytest.approx(climatology[101:141] + recent, abs=1e-4)


def test_a_rollout_of_the_recent_mean_taken_up_again_goes_on_as_in_one_go() -> None:
    fields = fields_of(red_noise(0.8, 400))
    emulator = RecentMeanConfig(period="none", steps=10).fit(TASK, TrainingPart(fields))
    window = torch.from_numpy(fields.values[20:30]).permute(1, 0, 2, 3)[None]
    state, forcings = State(window, fields.times[29:30]), Forcings()
    whole = [following for following, _ in rollout(emulator, state, forcings, 6)]
    first = [following for following, _ in rollout(emulator, state, forcings, 4)]
    rest = [following for following, _ in rollout(emulator, first[-1], forcings, 2, start=4)]
    assert all(torch.equal(a.values, b.values) for a, b in zip(whole, first + rest, strict=True))


ANGLE = 2 * np.pi * np.arange(8) / 8
PATTERNS = np.stack([np.cos(ANGLE), 2.0 * np.sin(ANGLE)])


def turning_patterns(length: int = 6000) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """[time, 1, node] two patterns that turn into each other under noise, and what turns them [2, 2]."""
    turn = 0.9 * np.array([[np.cos(0.5), -np.sin(0.5)], [np.sin(0.5), np.cos(0.5)]])
    rng = np.random.default_rng(3)
    components = np.zeros((length, 2))
    for t in range(1, length):
        components[t] = turn @ components[t - 1] + rng.normal(size=2)
    return (components @ PATTERNS)[:, None], turn


def test_the_linear_inverse_model_finds_how_patterns_turn_into_each_other() -> None:
    values, turn = turning_patterns()
    fields = fields_of(values)
    emulator = LinearInverseConfig(period="none", modes=2).fit(TASK, TrainingPart(fields))
    assert isinstance(emulator, LinearInverse)
    assert np.linalg.eigvals(emulator.propagator) == pytest.approx(np.linalg.eigvals(turn), abs=0.02)
    areas = torch.from_numpy(fields.mesh.areas)
    gram = torch.einsum("knv,lnv,n->kl", emulator.eofs, emulator.eofs, areas)
    torch.testing.assert_close(gram, torch.eye(2, dtype=torch.float64))
    components = values[100, 0] @ np.linalg.pinv(PATTERNS)
    for step, ahead in enumerate(forecast(emulator, fields, 100, 5), start=1):
        expected = np.linalg.matrix_power(turn, step) @ components @ PATTERNS
        assert ahead[0] == pytest.approx(expected, abs=0.05 * np.abs(values).max())


def test_what_the_patterns_do_not_span_is_forecast_to_be_gone() -> None:
    fields = fields_of(turning_patterns()[0])
    part = TrainingPart(fields, slice(0, 3000))
    narrow, wide = (LinearInverseConfig(period="none", modes=modes).fit(TASK, part) for modes in (2, 5))
    assert forecast(narrow, fields, 4000, 3) == pytest.approx(forecast(wide, fields, 4000, 3), abs=1e-5)
    odd = replace(fields, values=fields.values + np.where(np.arange(8) % 2, 1.0, -1.0).astype(np.float32)[:, None])
    assert forecast(narrow, odd, 4000, 3) == pytest.approx(forecast(narrow, fields, 4000, 3), abs=1e-5)


def test_the_number_of_patterns_and_the_penalty_are_chosen_by_forecasts_of_what_was_held_out() -> None:
    values = turning_patterns()[0][:90]
    noisy = fields_of(values + np.random.default_rng(5).normal(0.0, 0.5, values.shape))
    several = LinearInverseConfig(period="none", modes=(2, 8), penalties=(0.0, 0.1), rest="damped", rollout_steps=3)
    chosen = several.fit(TASK, TrainingPart(noisy, slice(0, 90)))
    assert (chosen.config.modes, chosen.config.penalties) == (2, (0.0,))  # as many as turn, all of them well sampled
    alone = replace(several, modes=2, penalties=(0.0,)).fit(TASK, TrainingPart(noisy, slice(0, 90)))
    for name, array in alone.state_dict().items():
        torch.testing.assert_close(chosen.state_dict()[name], array)
    rebuilt = chosen.config.build(TASK, noisy.mesh)
    rebuilt.load_state_dict(chosen.state_dict())
    assert forecast(rebuilt, noisy, 80, 3) == pytest.approx(forecast(chosen, noisy, 80, 3))


def test_a_penalty_damps_all_patterns_alike_and_the_rest_fades_as_in_the_training_part() -> None:
    red = fields_of(red_noise(0.8, 4000, 8))
    damped = LinearInverseConfig(period="none", modes=3, penalties=(1e9,), rest="damped").fit(TASK, TrainingPart(red))
    assert damped.propagator.numpy() == pytest.approx(damped.propagator[0, 0].item() * np.eye(3), abs=1e-6)
    assert damped.propagator[0, 0].item() == pytest.approx(0.8, abs=0.03)
    assert damped.kept.numpy() == pytest.approx(0.8, abs=0.03)
    fitted = LinearInverseConfig(period="none", modes=3, rest="damped").fit(TASK, TrainingPart(red))
    mean = red.values[:, 0, :, 0].mean(axis=0).astype(np.float64)
    faded = 0.8 * (red.values[100, 0, :, 0] - mean)
    assert forecast(fitted, red, 100, 1)[0, 0] - mean == pytest.approx(faded, abs=0.1)


@each_baseline
def test_the_test_period_leaves_no_trace(config: BaselineConfig) -> None:
    fields = fields_of(daily_round(6) + red_noise(0.8, 144, 6))
    changed = replace(fields, values=fields.values.copy())
    changed.values[96:] = 1e3
    first, again = (config.fit(TASK, TrainingPart(f, slice(0, 96))) for f in (fields, changed))
    assert first.config == again.config
    for name, array in first.state_dict().items():
        assert torch.equal(array, again.state_dict()[name]), name


@each_baseline
def test_other_members_leave_no_trace(config: BaselineConfig) -> None:
    values = np.concatenate([daily_round(4) + red_noise(0.8, 96, 6, seed) for seed in (1, 2, 3)], axis=1)
    fields = fields_of(values)
    changed = replace(fields, values=fields.values.copy())
    changed.values[:, 2] = 1e3
    first, again = (config.fit(TASK, TrainingPart(f, ensemble=[0, 1])) for f in (fields, changed))
    for name, array in first.state_dict().items():
        assert torch.equal(array, again.state_dict()[name]), name


@each_baseline
def test_a_checkpoint_forecasts_as_the_emulator_did(config: BaselineConfig, tmp_path: Path) -> None:
    fields = fields_of(daily_round(5) + red_noise(0.8, 120, 6))
    emulator = config.fit(TASK, TrainingPart(fields, slice(0, 96)))
    save(tmp_path / "emulator.safetensors", emulator.state_dict(), {"config": resolve(emulator.config)})
    arrays, metadata = read(tmp_path / "emulator.safetensors")
    again: Baseline = load(type(config), metadata["config"]).build(TASK, fields.mesh)
    again.load_state_dict(arrays)
    assert again.config == emulator.config
    assert np.array_equal(forecast(again, fields, 100, 10), forecast(emulator, fields, 100, 10))


@each_baseline
def test_masked_nodes_stay_masked_and_leave_no_trace(config: BaselineConfig) -> None:
    values = daily_round(5) + red_noise(0.8, 120, 6)
    values[:, :, 2] = np.nan
    fields = fields_of(values)
    emulator = config.fit(TASK, TrainingPart(fields, slice(0, 96)))
    ahead = forecast(emulator, fields, 100, 5)
    assert np.array_equal(np.isnan(ahead), np.broadcast_to(np.arange(6) == 2, ahead.shape))


@each_baseline
def test_missing_dates_are_skipped(config: BaselineConfig) -> None:
    fields = fields_of(daily_round(5) + red_noise(0.8, 120, 6))
    holes = replace(fields, missing=frozenset({0, 30, 31, 70}), values=fields.values.copy())
    holes.values[[0, 30, 31, 70]] = np.nan  # what a read there would bring, were it not refused
    emulator = config.fit(TASK, TrainingPart(holes, slice(0, 96)))
    assert np.all(np.isfinite(forecast(emulator, fields, 100, 5)))


@each_baseline
def test_diagnostic_variables_come_with_every_member(config: BaselineConfig) -> None:
    task = Task((Variable("t", "prognostic"), Variable("d", "diagnostic")), HOUR)
    series = daily_round(5) + red_noise(0.8, 120, 6)
    fields = fields_of(np.stack([series, 2.0 * series], axis=-1))
    emulator = config.fit(task, TrainingPart(fields))
    state = State(torch.from_numpy(fields.values[:2, :, None, :, :1]).expand(2, 3, 1, 6, 1), fields.times[:2])
    steps = list(rollout(emulator, state, Forcings(), 3))
    for following, diagnostic in steps:
        assert diagnostic is not None
        assert diagnostic.shape == following.now.shape
        assert bool(torch.isfinite(diagnostic).all())
    if config.kind == "climatology":
        torch.testing.assert_close(steps[-1][1], 2.0 * steps[-1][0].now)
    if isinstance(config, RidgeConfig) and config.departures is not None:
        # the truth is linear, and more than half of it known a step ahead
        error = (steps[0][1][:, 0, :, 0].numpy() - fields.values[1:3, 0, :, 1]).std()
        assert error < 0.8 * fields.values[:, 0, :, 1].std()


ERA5_RMSE = {  # [K] at 1, 3, 6, 12 and 24 h, from an independent prototype
    "persistence": (0.58, 1.57, 2.73, 3.72, 1.54),
    "climatology": (1.89, 1.89, 1.91, 1.93, 1.93),
    "damped_anomaly": (0.43, 1.07, 1.68, 2.10, 1.55),
}


def test_a_week_of_real_temperatures_is_as_hard_as_measured_independently(data_folder: Path) -> None:
    from emulator.data.files import read_files
    from graphs.meshes.latlon import latlon

    data = read_files([data_folder / "era5-2mt-2019-03-uk.grib"])
    mesh = latlon(np.unique(data.latitude)[::-1], np.unique((data.longitude + 180.0) % 360.0) - 180.0)
    (name,) = data.data_vars
    values = data[name].transpose("time", "number", "cell").values[..., None].astype(np.float32)
    times = to_seconds(data.time.values)
    fields = ArrayFields(values, ("t",), ("K",), mesh, HOUR, times, ensemble_axis="member")
    part = TrainingPart(fields, slice(0, 21 * 24))
    starts = np.arange(24 * 24, 31 * 24 - 24)
    state = State(torch.from_numpy(values[starts][:, :, None]), times[starts])
    for config in (PersistenceConfig(), ClimatologyConfig(), DampedAnomalyConfig()):
        emulator = config.fit(TASK, part)
        found = []
        for lead, (following, _) in enumerate(rollout(emulator, state, Forcings(), 24), start=1):
            if lead in (1, 3, 6, 12, 24):
                error = following.now[:, 0, :, 0].numpy() - values[starts + lead, 0, :, 0]
                found.append(np.sqrt((error**2 @ mesh.areas).mean()))
        assert found == pytest.approx(ERA5_RMSE[config.kind], abs=0.02)


NCEP_RMSE = {  # [K] at 1, 2, 3 and 6 months, from an independent prototype; of the linear inverse model at 1 month
    "climatology": (1.315, 1.317, 1.317, 1.319),
    "damped_anomaly": (1.099, 1.227, 1.264, 1.295),
    "recent_mean": (1.073, 1.075, 1.079, 1.085),
    "linear_inverse": (1.030, 1.158, 1.220, 1.279),
}


@pytest.mark.slow
def test_monthly_temperatures_of_the_globe_are_as_hard_as_measured_independently(data_folder: Path) -> None:
    from emulator.data.files import read_files
    from graphs.meshes.latlon import latlon

    data = read_files([data_folder / "ncep_t2m_eof20_monthly.nc"], units={"t2m": "degC"})
    mesh = latlon(np.unique(data.latitude)[::-1], np.unique(data.longitude % 360.0))
    (name,) = data.data_vars
    values = data[name].transpose("time", "number", "cell").values[..., None].astype(np.float32)
    fields = ArrayFields(values, ("t",), ("degC",), mesh, MONTH, to_seconds(data.time.values), ensemble_axis="member")
    part = TrainingPart(fields, slice(0, 47 * 12))
    starts = np.arange(52 * 12 - 1, len(values) - 6)
    configs = ClimatologyConfig(period="month"), DampedAnomalyConfig(period="month", max_lead=6, per_node=True)
    for config in (*configs, RecentMeanConfig(), LinearInverseConfig()):
        emulator = config.fit(replace(TASK, time_step=MONTH), part)
        squares = np.zeros(6)
        for some in np.array_split(starts, 10):  # ten years of history each
            window = some[:, None] + np.arange(1 - emulator.task.history, 1)
            state = State(torch.from_numpy(values[window].transpose(0, 2, 1, 3, 4)), fields.times[some])
            for lead, (following, _) in enumerate(rollout(emulator, state, Forcings(), 6), start=1):
                error = following.now[:, 0, :, 0].numpy() - values[some + lead, 0, :, 0]
                squares[lead - 1] += (error**2 @ mesh.areas).sum()
        found = np.sqrt(squares / len(starts))[[0, 1, 2, 5]]
        assert found == pytest.approx(NCEP_RMSE[config.kind], abs=0.003), config.kind


def test_impossible_settings_are_refused() -> None:
    for make in (
        lambda: DampedAnomalyConfig(max_lead=0),
        lambda: RecentMeanConfig(steps=0),
        lambda: LinearInverseConfig(modes=0),
        lambda: LinearInverseConfig(modes=()),
        lambda: LinearInverseConfig(modes=(3, 0)),
        lambda: LinearInverseConfig(penalties=(float("nan"),)),
        lambda: LinearInverseConfig(rollout_steps=0),
        lambda: RidgeConfig(radii=()),
        lambda: RidgeConfig(penalties=()),
    ):
        with pytest.raises(MeshcastError):
            make()
    with pytest.raises(MeshcastError, match="no date that can be read"):
        ClimatologyConfig().fit(TASK, TrainingPart(fields_of(daily_round(1)), slice(0, 0)))


def test_damping_by_area_is_the_sum_of_pairs_with_gaps_and_trajectories() -> None:
    anomaly = np.random.default_rng(3).normal(size=(9, 2, 4, 3))
    anomaly[2, 1, 3, 0] = anomaly[5, 0, 0, 1] = np.nan
    areas = np.array([0.1, 0.2, 0.3, 0.4])
    for known in (0, 4):
        at_nodes = np.zeros((2, 6, 4, 3))
        _add_at_nodes(*at_nodes, anomaly, known)
        by_area = np.zeros((2, 6, 1, 3))
        _add_by_area(*by_area, anomaly, known, areas)
        np.testing.assert_allclose(by_area[:, :, 0], np.einsum("slnv,n->slv", at_nodes, areas), rtol=1e-12)
