"""Windows: what belongs together in time stays together, and noise is a function of seed, epoch and sample."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from emulator.data.arrays import ArrayFields
from emulator.data.forcing_sources import forcings_of
from emulator.forcings import Forcings
from emulator.foundation.time_step import TimeStep
from emulator.protocol import rollout
from emulator.task import Task, Variable
from graphs.errors import MeshcastError
from graphs.meshes.ring import ring
from tests.emulator.worlds import FRAME, WAVES, wave_fields
from training.preparation.windows import NOISE_SIZE, ShuffledStream, WindowForcings, Windows

# The forcing is the value itself, so that a forcing one step early or late is seen at once.
MIRRORED = Task((Variable("u", "prognostic"), Variable("mirror", "forcing")), FRAME, history=2)


def mirrored_fields(step: TimeStep = FRAME, late: int = 0) -> ArrayFields:
    """u counts the frames, and so does the forcing; planted faults move it `late` frames."""
    frame = np.arange(10.0)
    times = step.advance(np.zeros(10, dtype=np.int64), np.arange(10))
    both = np.stack([frame, np.roll(frame, late)], axis=-1)[:, None, None]
    values = np.broadcast_to(both, (10, 1, 8, 2)).astype(np.float32)
    return ArrayFields(values, ("u", "mirror"), ("1", "1"), ring(8), step, times)


def windows_on(fields: ArrayFields, task: Task = MIRRORED, steps: int = 3, **options) -> Windows:
    return Windows(fields, task, steps, forcings_of(task, fields.mesh, fields), **options)


def test_an_item_holds_history_and_targets_of_one_trajectory() -> None:
    fields = wave_fields(trajectories=3, frames=12)
    windows = Windows(fields, replace(WAVES, history=2), 4, Forcings())
    assert len(windows) == 3 * (12 - 6 + 1)
    for index in (0, 8, len(windows) - 1):
        trajectory, start = divmod(index, 7)
        item = windows[index]
        assert item["values"].shape == (6, 24, 1) and item["forcing"].shape == (6, 24, 0)
        np.testing.assert_array_equal(item["values"], fields.values[start : start + 6, trajectory])
        assert int(item["valid_time"]) == fields.times[start + 1]


def test_a_batch_starts_from_its_history() -> None:
    windows = windows_on(mirrored_fields())
    batch = next(iter(DataLoader(windows, batch_size=2)))
    state, forcings = windows.start_of(batch)
    assert state.values.shape == (2, 1, 2, 8, 1)
    assert state.now[:, 0, 0, 0].tolist() == [1.0, 2.0]
    assert state.valid_time.tolist() == [1, 2]
    assert isinstance(forcings, WindowForcings)


class Recorder:
    """An emulator that moves one frame on, and keeps what it was given."""

    def __init__(self, task: Task, mesh) -> None:
        self.task, self.mesh, self.given = task, mesh, []

    def step(self, state, forcing, generator=None):
        self.given.append((state, forcing))
        return state.followed_by(state.now + 1.0, self.task.time_step.advance(state.valid_time)), None


def misaligned(fields: ArrayFields, provider: str) -> int:
    """Over a rollout, the forcings that differ from the value at their time: history then target."""
    task = replace(MIRRORED, time_step=fields.time_step)
    windows = windows_on(fields, task)
    state, brought = windows.start_of(next(iter(DataLoader(windows, batch_size=4))))
    emulator = Recorder(task, fields.mesh)
    forcings = brought if provider == "window" else forcings_of(task, fields.mesh, fields)
    list(rollout(emulator, state, forcings, 3))
    wrong = 0
    for given, forcing in emulator.given:
        expected = torch.cat([given.values[:, 0], given.now + 1.0], dim=1)  # [batch, history + 1, node, 1]
        wrong += int((forcing != expected).sum())
    return wrong


@pytest.mark.parametrize("provider", ["window", "dataset"])
@pytest.mark.parametrize("step", [FRAME, TimeStep.parse("6h"), TimeStep.parse("1 month")], ids=str)
def test_forcings_stand_at_the_times_of_the_history_and_the_target(provider: str, step: TimeStep) -> None:
    assert misaligned(mirrored_fields(step), provider) == 0


@pytest.mark.parametrize("provider", ["window", "dataset"])
def test_a_forcing_one_step_late_is_found(provider: str) -> None:
    assert misaligned(mirrored_fields(late=1), provider) > 0


def test_the_lead_time_counts_from_the_initial_time_in_windows_and_in_forecasts() -> None:
    task = Task((Variable("u", "prognostic"), Variable("lead_time", "forcing")), FRAME, history=2)
    fields = mirrored_fields()
    windows = windows_on(fields, task)
    state, brought = windows.start_of(next(iter(DataLoader(windows, batch_size=1))))
    provider = forcings_of(task, fields.mesh, fields)
    for done in range(3):
        expected = [done - 1.0, float(done), done + 1.0]
        assert brought.window(state, task, done)[0, :, 0, 0].tolist() == expected
        assert provider.window(state, task, done)[0, :, 0, 0].tolist() == expected


def test_windows_that_touch_a_missing_date_are_skipped() -> None:
    fields = replace(mirrored_fields(), missing=frozenset({4}))
    windows = windows_on(fields, steps=1)
    assert windows.pairs[:, 1].tolist() == [0, 1, 5, 6, 7]
    for index in range(len(windows)):
        assert np.diff(windows[index]["values"][:, 0, 0]).tolist() == [1.0, 1.0]


def test_a_longer_time_step_takes_every_third_frame_from_any_start() -> None:
    fields = mirrored_fields()
    task = replace(MIRRORED, time_step=FRAME.times(3))
    windows = windows_on(fields, task, steps=1)
    assert windows.pairs[:, 1].tolist() == [0, 1, 2, 3]
    for start in range(4):
        item = windows[start]
        assert item["values"][:, 0, 0].tolist() == [start, start + 3, start + 6]
        assert item["forcing"][:, 0, 0].tolist() == item["values"][:, 0, 0].tolist()
        assert int(item["valid_time"]) == fields.times[start + 3]
    gap = windows_on(replace(fields, missing=frozenset({4})), task, steps=1)
    assert gap.pairs[:, 1].tolist() == [0, 2, 3]  # a missing date between those a window takes does no harm


def test_a_series_without_a_whole_window_says_what_to_do() -> None:
    for fields, steps in ((mirrored_fields(), 9), (replace(mirrored_fields(), missing=frozenset(range(0, 10, 2))), 1)):
        with pytest.raises(MeshcastError, match=r"Shorten training\.unroll, its curriculum or validation\.steps"):
            windows_on(fields, steps=steps)


def test_validation_starts_are_spread_over_the_part() -> None:
    windows = Windows(wave_fields(trajectories=4, frames=12), WAVES, 3, Forcings(), most=4)
    assert windows.pairs.tolist() == [[0, 0], [1, 3], [2, 5], [3, 8]]


def test_noise_is_a_function_of_seed_epoch_and_sample() -> None:
    def noise(seed: int, epoch: int, sample: int) -> torch.Tensor:
        return windows_on(mirrored_fields(), seed=seed, noise="white")[epoch, sample]["noise"]

    first = noise(0, 0, 0)
    assert first.shape == (2, 8, 1)
    assert torch.equal(first, noise(0, 0, 0))
    for other in (noise(1, 0, 0), noise(0, 1, 0), noise(0, 0, 1)):
        assert not torch.equal(first, other)
    assert "noise" not in windows_on(mirrored_fields())[0]


def test_a_random_amplitude_weakens_a_samples_noise_by_up_to_ten() -> None:
    plain = windows_on(mirrored_fields(), noise="white")
    windows = windows_on(mirrored_fields(), noise="random_amplitude")
    factors = []
    for epoch in range(60):
        for sample in range(len(windows)):
            ratio = windows[epoch, sample]["noise"] / plain[epoch, sample]["noise"]
            torch.testing.assert_close(ratio, ratio.flatten()[0].expand_as(ratio))  # one factor for the whole sample
            factors.append(float(ratio.flatten()[0]))
    assert 0.1 <= min(factors) < 0.12 and 0.88 < max(factors) <= 1.0
    assert abs(np.mean(np.log10(factors)) + 0.5) < 0.06
    assert np.sqrt(np.mean(np.square(factors))) == pytest.approx(NOISE_SIZE["random_amplitude"], rel=0.1)


def test_noise_is_standard_normal_and_independent() -> None:
    windows = windows_on(mirrored_fields(), noise="white")
    drawn = torch.stack([windows[epoch, sample]["noise"].flatten() for epoch in range(60) for sample in range(6)])
    assert abs(float(drawn.mean())) < 0.05 and abs(float(drawn.std()) - 1.0) < 0.03
    correlation = torch.corrcoef(drawn.T)
    assert (correlation - torch.eye(len(correlation))).abs().max() < 0.25


def test_the_stream_takes_every_sample_once_an_epoch_in_an_order_of_its_own() -> None:
    drawn = list(ShuffledStream(num_samples=7, batch_size=2, updates=14, seed=3))
    assert len(drawn) == 28
    for epoch in range(4):
        assert sorted(sample for e, sample in drawn if e == epoch) == list(range(7))
    orders = {tuple(sample for e, sample in drawn if e == epoch) for epoch in range(4)}
    assert len(orders) > 1
    assert drawn != list(ShuffledStream(num_samples=7, batch_size=2, updates=14, seed=4))


def test_a_resumed_stream_goes_on_where_it_stopped() -> None:
    whole = list(ShuffledStream(7, 2, 10, seed=3))
    assert list(ShuffledStream(7, 2, 10, seed=3, start=6)) == whole[12:]


def test_ranks_share_one_stream_and_leave_nothing_out() -> None:
    alone = list(ShuffledStream(7, 4, 6, seed=3))
    shares = [list(ShuffledStream(7, 2, 6, seed=3, rank=rank, ranks=2)) for rank in range(2)]
    for update in range(6):
        together = [*shares[0][2 * update : 2 * update + 2], *shares[1][2 * update : 2 * update + 2]]
        assert together == alone[4 * update : 4 * update + 4]


@pytest.mark.parametrize(("batch", "ranks", "accumulate"), [(4, 1, 1), (2, 2, 1), (2, 1, 2), (1, 2, 2), (1, 4, 1)])
def test_an_update_takes_the_same_samples_however_they_are_shared(batch: int, ranks: int, accumulate: int) -> None:
    expected = list(ShuffledStream(7, 4, 6, seed=3))
    streams = [ShuffledStream(7, batch, 6, 3, 0, rank, ranks, accumulate) for rank in range(ranks)]
    assert all(len(stream) == len(list(stream)) for stream in streams)
    later = [list(ShuffledStream(7, batch, 6, 3, 2, rank, ranks, accumulate)) for rank in range(ranks)]
    for update, taken in enumerate(zip(*(_by(list(stream), batch * accumulate) for stream in streams), strict=True)):
        assert sorted(sample for share in taken for sample in share) == sorted(expected[4 * update : 4 * update + 4])
    assert [share[: batch * accumulate] for share in later] == [
        list(stream)[2 * batch * accumulate : 3 * batch * accumulate] for stream in streams
    ]


def _by(samples: list[tuple[int, int]], count: int) -> list[list[tuple[int, int]]]:
    return [samples[first : first + count] for first in range(0, len(samples), count)]
