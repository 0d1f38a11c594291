"""Closed forms of a forced climate: found again where the truth is one, refused where nothing forces."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from emulator.baselines.forced_response import (
    ForcedConfig,
    ForcedResponse,
    ForcedResponseConfig,
    ImpulseResponseConfig,
    PatternScalingConfig,
)
from emulator.build import build_network
from emulator.data.arrays import ArrayFields
from emulator.data.forcing_sources import forcings_of
from emulator.foundation.time_step import TimeStep, to_seconds
from emulator.global_scalars import GlobalScalars
from emulator.networks.gnn import GNNConfig
from emulator.protocol import rollout
from emulator.state import State
from emulator.task import Task, Variable
from emulator.training_part import TrainingPart
from graphs.errors import MeshcastError
from graphs.meshes.icosphere import icosphere

MESH = icosphere(1)
YEARS = np.arange(1850, 2101)
TIMES = to_seconds((YEARS - 1970).astype("datetime64[Y]"))
TASK = Task(
    (Variable("t", "prognostic", "K"), Variable("p", "prognostic", bounds=(0.0, None)), Variable("fast", "forcing"),
     Variable("slow", "forcing")),
    TimeStep(12, "month"),
)  # fmt: skip
RNG = np.random.default_rng(0)
PATTERN = 1 + 0.5 * RNG.standard_normal((3, MESH.num_nodes, 2))
PATTERN[:, :, 0] /= PATTERN[:, :, 0] @ MESH.areas[:, None]  # of the mean of t one


def pathway(low: bool) -> np.ndarray:
    """Fast and slow forcing [time, 2] that rise until 2020, and then go on rising or turn."""
    rise = 0.03 * np.maximum(YEARS - 1900, 0)
    fast = np.where(YEARS > 2020, 3.6 - 0.02 * (YEARS - 2020), rise) if low else rise
    return np.stack([fast, 0.3 * np.cumsum(fast) / 100], axis=1)


def fields(curvature: float = 0.0, local: float = 0.0, noise: float = 0.0) -> ArrayFields:
    """Two runs, of the high and the low pathway."""
    values = []
    for low in (False, True):
        forcing = pathway(low)
        straight = forcing @ [0.4, 0.8]
        warming = straight + curvature * straight**2
        mean = 280 + warming[:, None, None] * PATTERN[0] + local * forcing[:, 1][:, None, None] * PATTERN[1]
        values.append(mean + noise * RNG.standard_normal(mean.shape))
    scalars = GlobalScalars(
        ("fast", "slow"), ("W m-2", "W m-2"), TIMES, (0, 1), np.stack([pathway(False), pathway(True)], axis=1)
    )
    return ArrayFields(
        np.stack(values, axis=1).astype(np.float64), ("t", "p"), ("K", "1"), MESH, TimeStep(12, "month"), TIMES,
        trajectories=[0, 1], scalars=scalars,
    )  # fmt: skip


def fitted(
    config: ForcedConfig, data: ArrayFields, rows: list[int], last: int = 2100, task: Task = TASK
) -> ForcedResponse:
    part = TrainingPart(
        data, times=np.flatnonzero(last >= YEARS), ensemble=rows, forcings=forcings_of(task, MESH, data)
    )
    found = config.fit(task, part)
    assert isinstance(found, ForcedResponse)
    return found


def forecast(emulator: ForcedResponse, data: ArrayFields, row: int) -> np.ndarray:
    """Return [time, node, variable] from the second year on."""
    state = State(torch.from_numpy(data.values[:1, row][:, None, None]), TIMES[:1], np.array([row]))
    steps = rollout(emulator, state, forcings_of(TASK, MESH, data), len(YEARS) - 1)
    return np.stack([following.now[0, 0].numpy(force=True) for following, _ in steps])


@pytest.mark.parametrize(
    ("config", "truth"),
    [
        (PatternScalingConfig(), {}),
        (ImpulseResponseConfig(penalties=(0.0,)), {"local": 0.3}),
        (ForcedResponseConfig(penalties=(0.0,), curvature=(0.0, 1.0)), {"curvature": 0.04}),
        (ForcedResponseConfig(penalties=(0.0,), curvature=(0.0, 1.0)), {"local": 0.3}),
    ],
)  # fmt: skip
def test_a_truth_of_its_own_form_is_found_again(config: ForcedConfig, truth: dict[str, float]) -> None:
    """Fitted on the high pathway alone, the low one follows to rounding."""
    data = fields(**truth)
    error = forecast(fitted(config, data, [0]), data, 1) - data.values[1:, 1]
    assert np.abs(error).max() < 2e-3


def test_the_curved_response_tells_how_curved_it_is() -> None:
    found = fitted(ForcedResponseConfig(curvature=(0.0, 1.0)), fields(curvature=0.04, noise=0.1), [0, 1])
    assert float(found.curvature) == pytest.approx(0.04, abs=0.01)
    assert found.slopes.tolist() == pytest.approx([0.4, 0.8], abs=0.05)


def test_what_is_expected_counts_where_data_say_little() -> None:
    data = fields(noise=0.3)
    alone = fitted(ForcedResponseConfig(), data, [0], last=1960)
    told = fitted(ForcedResponseConfig(expected={"fast": (0.4, 0.01), "slow": (0.8, 0.01)}), data, [0], last=1960)
    assert told.slopes.tolist() == pytest.approx([0.4, 0.8], abs=0.03)
    assert abs(alone.slopes[1] - 0.8) > abs(told.slopes[1] - 0.8)


def test_a_penalty_is_chosen_on_what_was_not_seen() -> None:
    """Noise asks for a large one; a pattern that follows another forcing asks for none."""
    noisy = fitted(ForcedResponseConfig(), fields(noise=0.5), [0])
    clear = fitted(ForcedResponseConfig(), fields(local=0.8, noise=0.01), [0, 1])
    assert noisy.config.penalties[0] >= 1.0 > 0.01 >= clear.config.penalties[0]


def test_what_the_past_tells_badly_apart_does_not_run_away() -> None:
    """Up to 2020 fast and slow rise together; after it the low pathway parts them."""
    data = fields(noise=0.4)
    late = slice(2081 - YEARS[0] - 1, None)
    errors = [
        np.sqrt(np.mean((forecast(fitted(config, data, [1], last=2020), data, 1) - data.values[1:, 1])[late] ** 2))
        for config in (ForcedResponseConfig(), ForcedResponseConfig(penalties=(0.0,)))
    ]
    assert errors[0] < 0.6 < errors[1]  # .4 of it is noise


def test_each_variable_has_a_penalty_and_one_that_follows_nothing_no_pattern() -> None:
    data = fields(local=0.8, noise=0.01)
    data.values[..., 1] = 290 + np.random.default_rng(0).standard_normal(data.values[..., 1].shape)
    found = fitted(ForcedResponseConfig(), data, [0, 1])
    assert found.config.penalties[0] <= 0.01 < 1.0 <= found.config.penalties[1]
    size = np.abs(found.weights[0, 1:].numpy()).mean(axis=(0, 1))
    assert size[1] < 0.2 * size[0]


def test_the_state_does_not_matter_and_bounds_are_kept() -> None:
    data = fields()
    data.values[..., 1] -= 281.0  # so that p would go below zero
    emulator = fitted(PatternScalingConfig(), data, [0])
    following = forecast(emulator, data, 0)
    data.values[0] += 100.0
    assert np.array_equal(forecast(emulator, data, 0), following)
    assert following[:20, :, 1].max() == 0.0 < following[..., 1].max()


def test_each_month_has_its_own_pattern() -> None:
    months = np.arange("1950-01", "2000-01", dtype="datetime64[M]")
    times, month = to_seconds(months), months.astype(int) % 12
    forcing = np.linspace(0, 4, len(times))
    values = (
        280 + (forcing * (1 + month / 12))[:, None, None, None] * PATTERN[0][None, None] + month[:, None, None, None]
    )
    scalars = GlobalScalars(("f",), ("W m-2",), times, (0,), forcing[:, None, None])
    data = ArrayFields(
        values, ("t", "p"), ("K", "1"), MESH, TimeStep(1, "month"), times, trajectories=[0], scalars=scalars
    )
    task = Task((*TASK.variables[:2], Variable("f", "forcing")), TimeStep(1, "month"))
    part = TrainingPart(data, forcings=forcings_of(task, MESH, data))
    errors = {}
    for by in ("none", "month"):
        emulator = PatternScalingConfig(by=by).fit(task, part)
        state = State(torch.from_numpy(values[:1, 0][:, None, None]), times[:1], np.array([0]))
        found = np.stack([step.now[0, 0].numpy() for step, _ in rollout(emulator, state, part.provider, 30)])
        errors[by] = np.abs(found - values[1:31, 0]).max()
    assert errors["month"] < 0.4 < errors["none"]
    summer = replace(part, times=np.flatnonzero((month >= 5) & (month <= 7)))
    emulator = PatternScalingConfig(by="month").fit(task, summer)
    with pytest.raises(MeshcastError, match="fitted on no month such as"):
        next(rollout(emulator, state, part.provider, 1))


def test_what_is_no_forced_climate_is_refused() -> None:
    data = fields()
    with pytest.raises(MeshcastError, match="needs forcings, but the task has none"):
        PatternScalingConfig().fit(replace(TASK, variables=TASK.variables[:2]), TrainingPart(data))
    local = Task((*TASK.variables[:2], Variable("insolation", "forcing")), TASK.time_step)
    with pytest.raises(MeshcastError, match="insolation differs from node to node"):
        PatternScalingConfig().fit(local, TrainingPart(data))
    with pytest.raises(MeshcastError, match="expected names co2, but the forcings are fast, slow"):
        fitted(ForcedResponseConfig(expected={"co2": (1.0, 1.0)}), data, [0])
    with pytest.raises(MeshcastError, match="a mean and a standard deviation"):
        ForcedResponseConfig(expected={"fast": (1.0, -1.0)})
    with pytest.raises(MeshcastError, match="one or more numbers from 0"):
        PatternScalingConfig(penalties=())
    still = replace(data, scalars=replace(data.scalars, values=np.ones_like(data.scalars.values)))
    with pytest.raises(MeshcastError, match="None of fast, slow varies"):
        fitted(PatternScalingConfig(), still, [0])


def test_a_network_may_correct_it() -> None:
    """Untrained, it forecasts what the closed form does, in the precision of a network."""
    data = fields(local=0.2)
    response = fitted(ForcedResponseConfig(penalties=(1e-3,)), data, [0])
    part = TrainingPart(data, ensemble=[0], forcings=forcings_of(TASK, MESH, data))
    network = build_network(GNNConfig(first_guess=response.config), TASK, MESH, 0)
    network.inputs.take(part)
    network.first_guess.model.load_state_dict(response.state_dict())
    network.correction_std.fill_(0.0)
    assert np.abs(forecast(network, data, 1) - forecast(response, data, 1)).max() < 1e-3


def test_a_network_may_correct_one_that_knows_the_month() -> None:
    months = np.arange("1950-01", "2000-01", dtype="datetime64[M]")
    times, month = to_seconds(months), np.arange(len(months)) % 12
    forcing = np.linspace(0, 4, len(times))
    pattern = np.where(month < 6, 2.0, 0.0)[:, None, None, None] * np.ones((1, 1, MESH.num_nodes, 2))
    scalars = GlobalScalars(("f",), ("W m-2",), times, (0,), forcing[:, None, None])
    data = ArrayFields(
        280 + forcing[:, None, None, None] * pattern, ("t", "p"), ("K", "1"), MESH, TimeStep(1, "month"), times,
        trajectories=[0], scalars=scalars,
    )  # fmt: skip
    task = Task((*TASK.variables[:2], Variable("f", "forcing")), TimeStep(1, "month"))
    part = TrainingPart(data, forcings=forcings_of(task, MESH, data))
    response = ImpulseResponseConfig(by="month", penalties=(0.0,)).fit(task, part)
    network = build_network(GNNConfig(first_guess=response.config), task, MESH, 0)
    network.inputs.take(part)
    network.first_guess.model.load_state_dict(response.state_dict())
    network.correction_std.fill_(0.0)
    state = State(torch.from_numpy(data.values[:1, 0][:, None, None]), times[:1], np.array([0]))
    found = np.stack([step.now[0, 0].numpy(force=True) for step, _ in rollout(network, state, part.provider, 599)])
    assert np.abs(found - data.values[1:, 0]).max() < 5e-3


def test_a_further_predictor_by_year_helps_where_it_says_something() -> None:
    """A column more in the table of forcings: land use that warms some nodes, or numbers at random."""
    draw = np.random.default_rng(1)
    base = fields(noise=0.1)
    informative = np.sin(np.arange(len(YEARS)) / 15.0)
    base.values[..., 0] += informative[:, None, None] * PATTERN[2, :, 0]
    errors = {}
    for name, column in (("none", None), ("informative", informative), ("random", draw.standard_normal(len(YEARS)))):
        task, scalars = TASK, base.scalars
        if column is not None:
            task = replace(TASK, variables=(*TASK.variables, Variable("further", "forcing")))
            columns = np.broadcast_to(column[:, None, None], (len(YEARS), 2, 1))
            scalars = replace(
                scalars,
                names=(*scalars.names, "further"),
                units=(*scalars.units, "1"),
                values=np.concatenate([scalars.values, columns], axis=2),
            )
        data = replace(base, scalars=scalars)
        emulator = fitted(ForcedResponseConfig(), data, [0], task=task)
        state = State(torch.from_numpy(data.values[:1, 1][:, None, None]), TIMES[:1], np.array([1]))
        steps = rollout(emulator, state, forcings_of(task, MESH, data), len(YEARS) - 1)
        found = np.stack([following.now[0, 0].numpy(force=True) for following, _ in steps])
        errors[name] = float(np.sqrt(np.mean((found - data.values[1:, 1])[..., 0] ** 2)))
    assert errors["informative"] < 0.5 * errors["none"]
    assert 0.98 * errors["none"] < errors["random"] < 1.2 * errors["none"]
