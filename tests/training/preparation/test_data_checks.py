"""Data that would be learned from wrongly are refused: holes, validation on what was learned, data that changed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from emulator.fields import Fields
from graphs.errors import MeshcastError
from tests.emulator.worlds import WAVES, moving_waves
from tests.training.worlds import experiment
from training.early_end import Stopped
from training.experiment import DataConfig, DataPart, ExperimentConfig
from training.preparation.data_checks import refuse_learned_test, refuse_overlap
from training.preparation.prepared import prepare, refuse_unfit_data, windows_of
from training.runs.dry_run import dry_run
from training.runs.fit import fit


def with_waves(config: ExperimentConfig, part: str, change: Callable[[np.ndarray], Any]) -> ExperimentConfig:
    """The experiment after a change of the values [trajectory, frame, channel, node] of a part."""
    path = Path(getattr(config.data, part).source)
    waves = np.load(path)
    change(waves)
    np.save(path, waves)
    return config


@pytest.mark.parametrize(
    ("place", "said"),
    [
        ((2, 5, 0, 7), r"waves_train.npy hold no value of u at node 7 .*at 1970-01-01T00:00:05, and holes at 1 nodes"),
        ((slice(None), 3, 0, slice(2, 9)), "hold no value of u at node 2 .*and holes at 7 nodes"),
        ((1, 4), "hold no value of u at node 0 .*00:00:04, and holes at 24 nodes"),
    ],
)
def test_a_hole_in_the_training_data_is_refused_with_its_place(tmp_path: Path, place: Any, said: str) -> None:
    def hole(waves: np.ndarray) -> None:
        waves[place] = np.nan

    config = with_waves(experiment(tmp_path), "train", hole)
    with pytest.raises(MeshcastError, match=said):
        fit(config, progress=False)


def test_a_hole_where_a_validation_forecast_starts_is_refused_and_one_in_its_truth_is_masked(tmp_path: Path) -> None:
    def of_start(waves: np.ndarray) -> None:
        waves[0, 0, 0, 3] = np.nan

    def of_truth(waves: np.ndarray) -> None:
        waves[0, 0, 0, 3], waves[0, 2, 0, 3] = 0.1, np.nan

    with pytest.raises(MeshcastError, match=r"waves_valid.npy hold nan for u at node 3 .*00:00:00, where a validation"):
        check(with_waves(experiment(tmp_path), "validation", of_start))
    check(with_waves(experiment(tmp_path), "validation", of_truth))


def test_a_node_without_a_value_at_any_time_is_masked(tmp_path: Path) -> None:
    def land(waves: np.ndarray) -> None:
        waves[..., 5:9] = np.nan

    config = experiment(tmp_path, training={"updates": 2}, validation={"every": 2})
    for part in ("train", "validation"):
        with_waves(config, part, land)
    score = fit(config, progress=False).metadata["validation_score"]
    assert np.isfinite(score)


def test_validation_on_trajectories_that_were_learned_is_refused_whatever_their_file_is_called(tmp_path: Path) -> None:
    config = experiment(tmp_path)
    train = config.data.train
    for name in ("copy.npy", "part.npy"):
        waves = np.load(str(train.source))
        np.save(tmp_path / name, waves if name == "copy.npy" else waves[2:3])
    split = DataConfig(replace(train, trajectories=(0, 3)), replace(train, trajectories=(2, 4)))
    for data, numbers in (
        (DataConfig(train, train), "0, 1, 2, 3"),
        (DataConfig(train, DataPart(str(tmp_path / "copy.npy"))), "0, 1, 2, 3"),
        (DataConfig(train, DataPart(str(tmp_path / "part.npy"))), "0"),
        (split, "2"),
    ):
        with pytest.raises(MeshcastError, match=rf"trajectories {numbers} stand in both, and overlap.*Give separate"):
            check(replace(config, data=data))
    apart = DataConfig(replace(train, trajectories=(0, 2)), replace(train, trajectories=(2, 4)))
    check(replace(config, data=apart))


def check(config: ExperimentConfig) -> None:
    prepared = prepare(config)
    refuse_unfit_data(prepared, windows_of(prepared)[1])


def test_test_data_that_were_learned_from_are_refused_by_train_itself(tmp_path: Path) -> None:
    config = experiment(tmp_path, training={"updates": 1}, validation={"every": 1})
    for part in ("train", "validation"):
        learned = replace(config, data=replace(config.data, test=getattr(config.data, part)))
        name = {"train": "training"}.get(part, part)
        for look in (dry_run, partial(fit, progress=False)):
            with pytest.raises(MeshcastError, match=rf"The test data .* the {name} data .*stand in both, and overlap"):
                look(learned)
    absent, said = replace(config.data, test=DataPart(str(tmp_path / "elsewhere.npy"))), []
    fit(replace(config, data=absent), progress=False, notice=said.append)  # trained where the test data are not
    assert any("The test data cannot be looked at" in line for line in said)


def test_test_data_may_begin_earlier_for_their_history_and_that_is_said() -> None:
    training, validation = dated(0, 100), dated(98, 50)
    others, task = {"training": training, "validation": validation}, replace(WAVES, history=2)
    assert refuse_learned_test(dated(146, 50), task, others, 1) == []
    (line,) = refuse_learned_test(dated(120, 60), task, others, 1)
    assert "validation data end at 1970-01-07T03" in line and "as history alone" in line
    for first, count in ((0, 100), (50, 20), (110, 38)):  # the same, within, and to the end of what was learned
        with pytest.raises(MeshcastError, match="overlap, so that the score"):
            refuse_learned_test(dated(first, count), task, others, 1)
    with pytest.raises(MeshcastError, match=r"training data .*overlap"):
        refuse_learned_test(dated(-10, 200), task, others, 1)


def dated(first: int, count: int, missing: tuple[int, ...] = (), every: int = 1, source: str = "era5.zarr") -> Fields:
    """Fields of one atmosphere at hours from the first."""
    fields = Fields()
    fields.times = 3600 * (first + every * np.arange(count, dtype=np.int64))
    fields.missing, fields.source = frozenset(missing), source
    fields.ensemble_axis, fields.trajectories = "member", [0]
    return fields


def test_a_validation_may_see_training_dates_in_its_history_and_forecast_none_of_them() -> None:
    training, validation = dated(0, 100), dated(97, 50)
    refuse_overlap("validation", validation, np.arange(3, 50), training)  # a history of three
    for history in (2, 1):
        with pytest.raises(MeshcastError, match=r"validation data era5.zarr would be forecast at \d times from .*T03"):
            refuse_overlap("validation", validation, np.arange(history, 50), training)
    with pytest.raises(MeshcastError, match=r"training data other\.zarr cover 1970-01-01T00:00:00 to 1970-01-05T03"):
        refuse_overlap("validation", dated(10, 5), np.arange(1, 5), dated(0, 100, source="other.zarr"))


def test_dates_between_those_of_training_overlap_and_a_year_left_out_does_not() -> None:
    six_hourly, between = dated(0, 20, every=6), dated(3, 10, every=6)
    with pytest.raises(MeshcastError, match="overlap"):
        refuse_overlap("validation", between, np.arange(1, 10), six_hourly)
    left_out = dated(0, 100, missing=tuple(range(40, 60)))
    refuse_overlap("validation", dated(40, 20), np.arange(1, 20), left_out)
    with pytest.raises(MeshcastError, match="overlap"):
        refuse_overlap("validation", dated(39, 22), np.arange(1, 22), left_out)


def test_members_that_are_split_by_their_numbers_are_apart() -> None:
    training, validation = dated(0, 20), dated(0, 20)
    training.trajectories, validation.trajectories = [0, 1], [2]
    refuse_overlap("validation", validation, np.arange(1, 20), training)
    validation.trajectories = [1]
    with pytest.raises(MeshcastError, match="overlap"):
        refuse_overlap("validation", validation, np.arange(1, 20), training)


@pytest.mark.parametrize("part", ["train", "validation"])
def test_a_run_does_not_go_on_with_data_that_were_changed_meanwhile(
    tmp_path: Path, part: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = experiment(tmp_path)
    from training.optimisation.callbacks import KeepCheckpoints

    keep = KeepCheckpoints.on_validation_end

    def keep_then_end(self: KeepCheckpoints, trainer: Any, module: Any) -> None:
        keep(self, trainer, module)
        if trainer.global_step == 8:
            raise Stopped(15, 8)

    with monkeypatch.context() as patch, pytest.raises(Stopped):
        patch.setattr(KeepCheckpoints, "on_validation_end", keep_then_end)
        fit(config, progress=False)
    before = np.load(str(getattr(config.data, part).source))

    def one_value(waves: np.ndarray) -> None:
        waves[1, 6, 0, 11] += 1e-3

    with_waves(config, part, one_value)
    name = "training" if part == "train" else "validation"
    with pytest.raises(MeshcastError, match=rf"not those that the run in .* began with: values .* of the {name} data"):
        fit(config, resume="auto", progress=False)
    np.save(str(getattr(config.data, part).source), before)
    fit(config, resume="auto", progress=False)


def test_it_is_said_which_of_the_data_differ(tmp_path: Path) -> None:
    config = experiment(tmp_path, training={"updates": 2})
    fit(config, progress=False)
    (tmp_path / "run" / "done.json").unlink()
    np.save(str(config.data.train.source), moving_waves(4, 14, seed=0))
    with pytest.raises(MeshcastError, match=r"period of the training data \(1970.*12 times before, .* 14 times now\)"):
        fit(config, resume="auto", progress=False)
