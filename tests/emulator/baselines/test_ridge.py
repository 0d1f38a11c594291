"""Ridge regression: closed form, exact on linear physics, honest about what it may see."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from emulator.baselines.neighbourhood import NeighbourhoodMap, surroundings
from emulator.baselines.ridge import NormalEquations, Ridge, RidgeConfig, split, starts
from emulator.data.arrays import ArrayFields
from emulator.forcings import ComputedForcings, Forcings
from emulator.foundation.time_step import TimeStep
from emulator.protocol import rollout
from emulator.state import State
from emulator.task import Task, Variable
from emulator.training_part import TrainingPart
from graphs.errors import MeshcastError
from graphs.mesh import Mesh
from graphs.meshes.latlon import latlon
from graphs.meshes.points import points
from graphs.meshes.ring import ring

STEP = TimeStep(1, "second", 1.0, "frame")
TASK = Task((Variable("u", "prognostic"),), STEP)


def fields_on(mesh: Mesh, values: NDArray[np.floating]) -> ArrayFields:
    """Trajectories from values [time, trajectory, node, variable]."""
    names = ("u", "v")[: values.shape[-1]]
    times = np.arange(len(values), dtype=np.int64)
    return ArrayFields(values.astype(np.float32), names, ("1",) * len(names), mesh, STEP, times)


@pytest.mark.parametrize("own", [0, 3])
def test_blocks_of_nodes_are_combined_as_all_at_once(own: int, monkeypatch: pytest.MonkeyPatch) -> None:
    random, mesh = torch.Generator().manual_seed(0), latlon(np.linspace(-75, 75, 6), np.arange(0, 360, 30))
    linear = NeighbourhoodMap(mesh, 1, 2, own, 2)
    for buffer in (linear.weights, linear.intercept):
        buffer.copy_(torch.randn(buffer.shape, generator=random, dtype=torch.float64))
    sizes = [(5, mesh.num_nodes, count) for count in (2, own)]
    features = [torch.randn(size, generator=random, dtype=torch.float64) for size in sizes]
    expected = linear.combine(*features)
    for values in (250_000, 700, 1):
        monkeypatch.setattr("emulator.baselines.neighbourhood.BLOCK_VALUES", values)
        torch.testing.assert_close(linear.combine_blocks(*features), expected, rtol=1e-12, atol=1e-12)


def moving_waves(num: int, frames: int, nodes: int = 40, shift: int = 3, seed: int = 0) -> NDArray[np.float64]:
    """[time, trajectory, node, 1] random waves that move `shift` nodes to the right each step."""
    rng = np.random.default_rng(seed)
    x, k = 2 * np.pi * np.arange(nodes) / nodes, np.arange(1, 6)[:, None]
    waves = np.sin(k * x + rng.uniform(0, 2 * np.pi, (num, 5, 1)))
    start = np.einsum("tk,tkx->tx", rng.uniform(-1, 1, (num, 5)), waves)
    return np.stack([np.roll(start, shift * t, axis=1) for t in range(frames)])[..., None]


def errors(emulator: Ridge, fields: ArrayFields, steps: int) -> NDArray[np.float64]:
    """[step] normalised RMSE of a rollout from the first frames."""
    history = emulator.task.history
    values = torch.from_numpy(fields.values).transpose(0, 1).unsqueeze(1)
    state = State(values[:, :, :history], np.repeat(fields.times[history - 1], len(values)))
    out = []
    for step, (following, _) in enumerate(rollout(emulator, state, Forcings(ComputedForcings(fields.mesh)), steps)):
        truth = values[:, 0, history + step]
        out.append(float(torch.linalg.norm(following.now[:, 0] - truth) / torch.linalg.norm(truth)))
    return np.array(out)


def fit_linear(features: Tensor, targets: Tensor, penalty: float = 0.0) -> tuple[Tensor, Tensor]:
    """Weights [feature, target] and intercepts [target] of the ridge regression of targets on features."""
    equations = NormalEquations.zero(features.shape[-1], targets.shape[-1]).with_rows(features, targets)
    weights, intercepts = equations.solve([penalty])
    return weights[0], intercepts[0]


def test_regression_of_four_numbers_agrees_with_the_hand() -> None:
    x, y = torch.tensor([[0.0], [1.0], [2.0], [3.0]]), torch.tensor([[1.0], [3.0], [5.0], [7.0]])
    weights, intercept = fit_linear(x, y)
    assert (weights.item(), intercept.item()) == pytest.approx((2.0, 1.0))
    # Variance 1.25, covariance 2.5: the slope is 2.5 / (1.25 + penalty), and the line still passes the means.
    weights, intercept = fit_linear(x, y, penalty=1.25)
    assert (weights.item(), intercept.item()) == pytest.approx((1.0, 2.5))


def test_regression_agrees_with_the_normal_equations_written_out() -> None:
    rng = np.random.default_rng(0)
    x, y = rng.normal(1.0, 2.0, (200, 5)), rng.normal(size=(200, 3))
    equations = NormalEquations.zero(5, 3)
    for rows in np.array_split(np.arange(200), 7):
        equations = equations.with_rows(torch.from_numpy(x[rows]), torch.from_numpy(y[rows]))
    weights, intercepts = equations.solve([0.0, 0.3])
    xc, yc = x - x.mean(0), y - y.mean(0)
    for index, penalty in enumerate((0.0, 0.3)):
        expected = np.linalg.solve(xc.T @ xc / 200 + penalty * np.eye(5), xc.T @ yc / 200)
        assert weights[index].numpy() == pytest.approx(expected)
        assert intercepts[index].numpy() == pytest.approx(y.mean(0) - x.mean(0) @ expected)
    part = torch.tensor([3, 1])
    assert equations.select(part).solve([0.1])[0].numpy() == pytest.approx(
        fit_linear(torch.from_numpy(x[:, part]), torch.from_numpy(y), 0.1)[0][None].numpy()
    )


def test_a_missing_target_leaves_its_row_out_for_itself_alone() -> None:
    rng = np.random.default_rng(0)
    x, y = torch.from_numpy(rng.normal(size=(50, 3))), torch.from_numpy(rng.normal(size=(50, 2)))
    y[::3, 1] = torch.nan
    y[7] = torch.nan
    weights, intercepts = fit_linear(x, y, 0.1)
    for target in range(2):
        there = ~torch.isnan(y[:, target])
        alone = fit_linear(x[there], y[there, target : target + 1], 0.1)
        torch.testing.assert_close(weights[:, target : target + 1], alone[0])
        torch.testing.assert_close(intercepts[target : target + 1], alone[1])


def test_collinear_features_share_the_weight() -> None:
    x = torch.randn(100, 1, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    weights, _ = fit_linear(torch.cat([x, x, torch.zeros_like(x)], dim=1), 2 * x)
    torch.testing.assert_close(weights[:, 0], torch.tensor([1.0, 1.0, 0.0], dtype=torch.float64))


def test_surroundings_hold_each_neighbour_once() -> None:
    neighbours, distance = surroundings(ring(9), 3)
    assert neighbours[:, 0].tolist() == [6, 7, 8, 0, 1, 2, 3]
    assert distance.tolist() == [3, 2, 1, 0, 1, 2, 3]
    grid = latlon([50.0, 51.0, 52.0], [0.0, 1.0, 2.0, 3.0])
    neighbours, distance = surroundings(grid, 1)
    assert sorted(neighbours[:, 5].tolist()) == [0, 1, 2, 4, 5, 6, 8, 9, 10]
    assert sorted(neighbours[:, 3].tolist()) == [2] + [3] * 6 + [6, 7]  # beyond the edge stands the node itself
    assert sorted(distance.tolist()) == [0] + [1] * 8
    assert surroundings(points([0.0, 10.0, 20.0], [0.0, 5.0, 30.0]), 0)[0].tolist() == [[0, 1, 2]]


def test_the_map_equals_its_regressors_times_its_weights() -> None:
    mesh = latlon([50.0, 51.0, 52.0, 53.0], [0.0, 1.0, 2.0, 3.0, 4.0])
    linear = NeighbourhoodMap(mesh, 1, num_fields=2, num_own=3, num_outputs=2)
    generator = torch.Generator().manual_seed(0)
    linear.weights.normal_(generator=generator)
    linear.intercept.normal_(generator=generator)
    features = torch.randn(3, 20, 5, generator=generator, dtype=torch.float64)
    torch.testing.assert_close(linear(features), linear.regressors(features) @ linear.weights + linear.intercept)
    inner = NeighbourhoodMap(mesh, 0, num_fields=2, num_own=3, num_outputs=2)
    torch.testing.assert_close(linear.regressors(features)[..., linear.columns_within(0)], inner.regressors(features))


def test_an_exact_shift_is_recovered_and_stays_exact() -> None:
    part = TrainingPart(fields_on(ring(40), moving_waves(12, 12)))
    config = RidgeConfig(radii=(1, 3, 6), penalties=(1e-12, 1e-3), rollout_steps=8)
    emulator = config.fit(TASK, part)
    assert emulator.config.radii[0] >= 3  # a wave that moves three nodes is beyond the reach of one
    assert emulator.config.penalties == (1e-12,)
    assert errors(emulator, fields_on(ring(40), moving_waves(5, 101, seed=1)), 100)[-1] < 1e-3


def test_a_longer_time_step_learns_a_longer_shift() -> None:
    fields = fields_on(ring(40), moving_waves(6, 13))
    config = RidgeConfig(radii=(2, 6), penalties=(1e-12,), rollout_steps=4)
    emulator = config.fit(Task(TASK.variables, STEP.times(2)), TrainingPart(fields))
    assert emulator.config.radii == (6,)  # two frames of three nodes
    every_second = fields_on(ring(40), moving_waves(6, 13)[::2])
    assert errors(emulator, every_second, 6).max() < 1e-5


def test_every_step_of_the_training_part_counts_once_in_the_final_fit() -> None:
    fields = fields_on(ring(40), moving_waves(10, 60))
    part = TrainingPart(fields)
    task = Task(TASK.variables, STEP, history=3)
    emulator = RidgeConfig(radii=(1, 3), penalties=(1e-6, 1e-1), rollout_steps=8).fit(task, part)
    assert emulator.equations(part).count.item() == (60 - 3) * 10 * 40
    alone = emulator.config.fit(task, part)  # nothing left to choose, so nothing held out
    torch.testing.assert_close(emulator.map.weights, alone.map.weights)


def test_white_noise_shifted_gives_one_weight_of_one() -> None:
    noise = np.random.default_rng(0).normal(size=(20, 30))
    values = np.stack([np.roll(noise, 2 * t, axis=1) for t in range(6)])[..., None]
    emulator = RidgeConfig(radii=(3,), penalties=(1e-12,)).fit(TASK, TrainingPart(fields_on(ring(30), values)))
    expected = np.zeros(7)
    expected[1] = 1.0  # the node two to the left, where x is smaller
    assert emulator.map.weights[:, 0].numpy() == pytest.approx(expected, abs=1e-5)


def test_two_variables_and_history_solve_a_wave_equation() -> None:
    # u(t + 1) = 2 u(t) − u(t − 1) + u_xx, exact with two states; v merely follows u.
    rng = np.random.default_rng(0)
    u = [rng.normal(size=(8, 20)), rng.normal(size=(8, 20))]
    for _ in range(10):
        around = np.roll(u[-1], 1, axis=1) + np.roll(u[-1], -1, axis=1)
        u.append(2 * u[-1] - u[-2] + 0.1 * (around - 2 * u[-1]))
    series = np.stack(u)
    values = np.stack([series, 3.0 + 2.0 * np.roll(series, 1, axis=2)], axis=-1)
    task = Task((Variable("u", "prognostic"), Variable("v", "prognostic")), STEP, history=2)
    fields = fields_on(ring(20), values)
    emulator = RidgeConfig(radii=(2,), penalties=(1e-13,)).fit(task, TrainingPart(fields, slice(0, 9)))
    assert errors(emulator, fields, 8).max() < 1e-4


def test_forcings_and_statics_are_heard_at_the_node() -> None:
    mesh = ring(24)
    hours = TimeStep(3600)
    times = np.arange(72, dtype=np.int64) * 3600
    sun = Forcings(ComputedForcings(mesh)).at(times, ["cos_local_time"], 24)[..., 0]
    here = np.cos(np.radians(mesh.longitudes))
    u = np.zeros((72, 24))
    u[0] = 1.0
    for t in range(71):
        u[t + 1] = 0.5 * u[t] + sun[t + 1] + 0.3 * here
    fields = ArrayFields(u[:, None, :, None], ("u",), ("1",), mesh, hours, times, ensemble_axis="member")
    forcing, static = Variable("cos_local_time", "forcing"), Variable("cos_longitude", "static")
    task = Task((Variable("u", "prognostic"), forcing, static), hours)
    emulator = RidgeConfig(radii=(0,), penalties=(1e-13,)).fit(task, TrainingPart(fields, slice(0, 48)))
    assert errors(emulator, fields, 70).max() < 1e-3


class CountedForcings(ComputedForcings):
    """Computed forcings that count how often they are asked for."""

    asked = 0

    def at(self, valid_time: NDArray[np.int64]) -> NDArray[np.float64]:
        self.asked += 1
        return super().at(valid_time)


def test_the_choice_is_the_rival_of_the_best_rollout_and_the_rivals_share_their_forcings() -> None:
    mesh = ring(40)
    task = Task((Variable("u", "prognostic"), Variable("sin_local_time", "forcing")), STEP)
    values = moving_waves(6, 12) + 0.1 * np.random.default_rng(1).standard_normal((12, 6, 40, 1))
    fields, source = fields_on(mesh, values), CountedForcings(mesh)
    part = TrainingPart(fields, forcings=Forcings(source))
    config = RidgeConfig(radii=(1, 3), penalties=(1e-6, 1e-1, 10.0), rollout_steps=5)
    widest = Ridge(config, task, mesh)
    widest.inputs.take(part)
    seen, held_out = split(part, config.held_out)
    equations = widest.equations(seen)
    source.asked = 0
    chosen = widest.choose(equations, held_out)
    assert source.asked == 5
    rivals = [rival for radius in config.radii for rival in widest.narrowed(radius, config.penalties, equations)]
    state, truth = starts(held_out, task, 5)
    scores = []
    for rival in rivals:
        rolled = torch.stack([following.now for following, _ in rollout(rival, state, part.provider, 5)])
        scores.append(float((rolled - truth).square().mean(dim=(1, 2, 3, 4)).log().mean()))
    assert chosen == rivals[int(np.argmin(scores))].config


def test_held_out_trajectories_and_dates_are_not_those_it_fits() -> None:
    fields = fields_on(ring(40), moving_waves(10, 20))
    seen, held_out = split(TrainingPart(fields), 0.2)
    assert (seen.rows, held_out.rows) == (list(range(8)), [8, 9])
    one = fields_on(ring(40), moving_waves(1, 20))
    seen, held_out = split(TrainingPart(one, slice(0, 10)), 0.2)
    assert (seen.available.tolist(), held_out.available.tolist()) == (list(range(8)), [8, 9])


def test_starts_are_followed_by_their_truth() -> None:
    fields = fields_on(ring(40), moving_waves(2, 20))
    state, truth = starts(TrainingPart(fields, slice(5, 15)), TASK, steps=3)
    for row, moment in enumerate(state.valid_time):
        assert np.array_equal(state.values[row, 0, 0].numpy(), fields.values[moment, row % 2])
        assert np.array_equal(truth[:, row, 0].numpy(), fields.values[moment + 1 : moment + 4, row % 2])
    assert len(starts(TrainingPart(fields, slice(5, 8)), TASK, steps=30)[1]) == 2  # no longer one is there
    with pytest.raises(MeshcastError, match="consecutive dates"):
        starts(TrainingPart(fields, np.array([3, 5, 7])), TASK, steps=3)


def test_a_mesh_without_structure_is_refused_beyond_the_node_itself() -> None:
    with pytest.raises(MeshcastError, match=r"radii: \[0\]"):
        Ridge(RidgeConfig(radii=(1,)), TASK, points([0.0, 10.0, 20.0], [0.0, 5.0, 30.0]))
