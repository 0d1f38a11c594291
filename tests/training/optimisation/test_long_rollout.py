"""How long forecasts last takes part in the choice of a checkpoint, without truth and at a share of the computing."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from emulator.build import load_emulator
from emulator.data.arrays import ArrayFields
from emulator.data.forcing_sources import forcings_of
from emulator.neural import NeuralEmulator
from emulator.state import State
from emulator.training_part import TrainingPart
from graphs.errors import MeshcastError
from tests.emulator.test_boundary import NEIGHBOURS, WIND, globe, windowed
from tests.emulator.worlds import WAVES, fitted, wave_fields
from tests.training.worlds import experiment
from training.experiment import ExperimentConfig, ValidationConfig
from training.metrics_log import read_log
from training.optimisation.long_rollout import LongRollout, long_rollout
from training.optimisation.validation import Best, Validated
from training.preparation.prepared import Prepared, prepare, windows_of
from training.runs.fit import fit
from training.task_config import TaskConfig

STEPS = 1000


def chosen(*found: tuple[float, float], guess: bool = False) -> int:
    """Which of validations (score, steps lived) is kept at the end; the first is of the untrained network."""
    emulator = fitted(WAVES, wave_fields())
    if guess:
        emulator.first_guess = torch.nn.Identity()
    best, kept = Best(), -1
    for update, (score, lived) in enumerate(found):
        if best.gives_way_to(Validated(score, 0.0, 4, lived, STEPS), emulator, update):
            kept = update
    return kept


def test_a_checkpoint_whose_forecasts_die_gives_way_to_one_whose_forecasts_live() -> None:
    assert chosen((1.2, STEPS), (0.185, 224), (0.19, STEPS)) == 2
    assert chosen((1.2, STEPS), (0.19, STEPS), (0.185, 224)) == 1
    assert chosen((1.2, STEPS), (0.19, 500), (0.185, 224), (0.2, 900)) == 3  # none lives: who lives longer
    assert chosen((1.2, STEPS), (0.34, STEPS), (0.2, 0.99 * STEPS)) == 1  # that it dies counts, soon or late


def test_among_checkpoints_that_live_the_score_decides_alone() -> None:
    scores = [1.2, 0.5, 0.3, 0.31, 0.25, 0.26]
    assert chosen(*((score, STEPS) for score in scores)) == 4 == chosen(*((score, math.nan) for score in scores))
    assert chosen((0.2, STEPS), (0.3, STEPS)) == 0


def test_persistence_is_not_kept_for_living_for_ever() -> None:
    assert chosen((1.2, STEPS), (0.2, 30)) == 1
    assert chosen((0.25, STEPS), (0.2, 30), guess=True) == 0  # a guess that moves and lives is a forecast


def test_a_checkpoint_without_a_finite_score_is_replaced_by_any() -> None:
    assert chosen((math.inf, math.nan), (math.inf, math.nan), (3.0, 2), (math.inf, math.nan)) == 2


class Growing(torch.nn.Module):
    """Multiplies the waves, or adds a zigzag to them, a bit more each step."""

    def __init__(self, emulator: NeuralEmulator, factor: float = 1.0, zigzag: float = 0.0) -> None:
        super().__init__()
        self.task, self.mesh, self.node_weights = emulator.task, emulator.mesh, emulator.node_weights
        self.factor = factor
        self.zigzag = zigzag * (1.0 - 2.0 * (torch.arange(emulator.mesh.num_nodes) % 2))[:, None]

    def step(self, state: State, forcing: Any, generator: Any = None) -> tuple[State, None]:
        now = state.now * self.factor + self.zigzag
        return state.followed_by(now, self.task.time_step.advance(state.valid_time)), None


def prepared_waves(folder: Path, share: float = 0.5) -> tuple[Prepared, ExperimentConfig]:
    config = experiment(folder, validation={"long_rollout": share})
    return prepare(config), config


def test_a_rollout_ends_where_waves_leave_their_range_or_neighbours_differ_too_much(tmp_path: Path) -> None:
    prepared, config = prepared_waves(tmp_path)
    rollout = long_rollout(prepared, windows_of(prepared)[1], config)
    assert rollout is not None and rollout.steps == 24  # half of 8 updates' 4 samples, thrice, for 2 cases
    emulator = fitted(WAVES, prepared.train)
    statistics = prepared.part.statistics(prepared.task)
    assert rollout.lived(Growing(emulator)) == 24.0
    assert 1 < rollout.lived(Growing(emulator, 1.5)) < 8
    zigzag = 0.15 * float(statistics.std[0])  # after sixteen steps the values are still within their range
    lived = rollout.lived(Growing(emulator, zigzag=zigzag))
    assert 4 < lived < 16
    roughest = rollout.guard.roughest[0]
    assert 2 * zigzag * lived < 3 * roughest + 2 * zigzag + roughest
    assert rollout.lived(Growing(emulator, math.nan)) == 0.0


def test_computing_goes_into_longer_rollouts_before_more_of_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("training.optimisation.long_rollout.MOST_TIMES", 1000)
    prepared, config = prepared_waves(tmp_path)
    starts = windows_of(prepared)[1]
    rollout = long_rollout(prepared, starts, config)
    assert rollout is not None and len(rollout.state.valid_time) == 2
    slowly = Growing(fitted(WAVES, prepared.train), 1.05)
    assert 16 < rollout.lived(slowly) < rollout.steps  # three cases would have ended before it leaves its range
    for every, cases in ((200, 2), (400, 3)):  # of three starts
        longer = replace(config, validation=replace(config.validation, every=every, long_rollout=1.0))
        full = long_rollout(prepared, starts, longer)
        assert full is not None and (full.steps, len(full.state.valid_time)) == (1_000, cases)


def test_a_training_whose_checkpoints_live_keeps_the_same_weights_and_logs_their_life(tmp_path: Path) -> None:
    configs = [experiment(tmp_path, str(share), validation={"long_rollout": share}) for share in (0.0, 0.5)]
    without, with_it = (fit(config, progress=False) for config in configs)
    assert {"long_rollout"} == set(with_it.metadata) - set(without.metadata)
    assert with_it.metadata["long_rollout"] == {"steps": 24, "lived": 24.0}
    kept = [load_emulator(Path(config.output) / config.name).emulator.state_dict() for config in configs]
    assert all(torch.equal(kept[0][name], kept[1][name]) for name in kept[0])
    rows = [read_log(Path(config.output) / config.name / "metrics.csv") for config in configs]
    assert [row["rollout_steps"] for row in rows[1]] == [24.0] * 4
    assert all(math.isnan(row["rollout_steps"]) for row in rows[0])


def test_a_training_keeps_what_lives_in_place_of_what_scores_better(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lives = iter([24.0, 24.0, 3.0, 3.0])
    monkeypatch.setattr(LongRollout, "lived", lambda self, emulator: next(lives))
    config = experiment(tmp_path, validation={"long_rollout": 0.5})
    trained = fit(config, progress=False)
    rows = read_log(Path(config.output) / config.name / "metrics.csv")
    assert rows[2]["validation_score"] < rows[1]["validation_score"] < 2 * rows[2]["validation_score"]
    assert trained.metadata["update"] == 8 and trained.metadata["validation_score"] < rows[0]["validation_score"]


def test_no_rollout_is_longer_than_its_share_of_the_computing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    prepared, config = prepared_waves(tmp_path, 0.05)
    assert long_rollout(prepared, windows_of(prepared)[1], config) is None  # no longer than validation's three steps
    long = replace(config, validation=replace(config.validation, every=10_000))
    rollout = long_rollout(prepared, windows_of(prepared)[1], long)
    assert rollout is not None and rollout.steps == 10 * len(prepared.train.times)  # than what was learned from
    monkeypatch.setattr("training.optimisation.long_rollout.MOST_TIMES", 1000)
    rollout = long_rollout(prepared, windows_of(prepared)[1], long)
    assert rollout is not None and rollout.steps == 1000
    with pytest.raises(MeshcastError, match=r"long_rollout must be a share from 0 to 1, but is nan"):
        ValidationConfig(long_rollout=math.nan)


def test_a_rollout_reaches_as_far_as_the_table_of_its_forcing(tmp_path: Path) -> None:
    first = np.datetime64("1970-01-01T00:00:00") + np.arange(60).astype("timedelta64[s]")
    table = "date,co2\n" + "".join(f"{moment},{400 + k}\n" for k, moment in enumerate(first))
    (tmp_path / "co2.csv").write_text(table)
    config = experiment(tmp_path, task=TaskConfig(("u",), forcing=("co2",)), validation={"long_rollout": 1.0})
    reached = []
    for length in (60, 30, 20, 12):
        lines = table.splitlines()[: 1 + length]
        (tmp_path / "co2.csv").write_text("\n".join(lines) + "\n")
        data = replace(config.data, forcing_tables=(str(tmp_path / "co2.csv"),))
        prepared = prepare(replace(config, data=data))
        _, starts = windows_of(prepared)
        rollout = long_rollout(prepared, starts, config)
        reached.append(rollout and rollout.steps)
    last = int(starts.fields.times[starts.pairs[:, 1]].max())  # [s], a frame each
    assert reached == [48, 29 - last, 19 - last, None]


def test_a_limited_area_is_rolled_out_until_the_data_of_its_boundary_end(tmp_path: Path) -> None:
    fields: ArrayFields = windowed(globe())
    prepared, config = prepared_waves(tmp_path, 1.0)
    part = TrainingPart(fields)
    forcings = forcings_of(WIND, fields.mesh, fields)
    area = replace(prepared, task=WIND, part=part, validation=fields, validation_forcings=forcings, valid=None)
    short = replace(config, validation=replace(config.validation, steps=1, cases=2))
    rollout = long_rollout(area, windows_of(replace(area, config=short))[1], short)
    assert rollout is not None and rollout.steps == len(fields.times) - 2  # from the second time of the history on
    emulator = fitted(WIND, fields, NEIGHBOURS)
    assert 0.0 <= rollout.lived(emulator) <= rollout.steps
