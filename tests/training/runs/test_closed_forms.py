"""A network beside closed forms: same starts, lead times and score, said plainly, and nothing else changed."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from emulator.data.arrays import ArrayFields
from emulator.features.departures import DeparturesConfig
from emulator.networks.gnn import GNNConfig
from tests.emulator.worlds import weather_fields
from tests.training.worlds import PROCESSOR, experiment
from training.experiment import DataPart, ExperimentConfig
from training.json_file import read_json, write_json
from training.metrics_log import read_log
from training.preparation.prepared import PreparedData
from training.runs import closed_forms
from training.runs import fit as fitting
from training.runs.closed_forms import FILE, beside_closed_forms
from training.runs.fit import fit
from training.task_config import TaskConfig

WEATHER_TASK = TaskConfig(("2t", "sst"), diagnostic=("tp",), forcing=("insolation",), history=2)


class Weather(PreparedData):
    """Hourly weather in place of every split, that of validation ten days later, the sea masked on land."""

    def fields(self, split: DataPart, keep_in_memory: bool = True) -> ArrayFields:
        fields = weather_fields()
        return replace(fields, times=fields.times + 10 * 86_400) if split.source.endswith("valid.npy") else fields


def folder_of(config: ExperimentConfig) -> Path:
    return Path(config.output) / config.name


@pytest.mark.parametrize("score", ["rmse", "nrmse"])
@pytest.mark.parametrize("departures", [None, DeparturesConfig("hour")], ids=["states", "departures"])
def test_an_untrained_network_scores_what_the_closed_form_that_it_starts_from_does(
    tmp_path: Path, score: str, departures: DeparturesConfig | None
) -> None:
    network = GNNConfig(processor=PROCESSOR, departures=departures)
    validation = {"score": score, "every": 1}
    config = experiment(tmp_path, emulator=network, task=WEATHER_TASK, training={"updates": 1}, validation=validation)
    fit(config, progress=False, data=Weather())
    found, _ = beside_closed_forms(folder_of(config), None)
    untrained = read_log(folder_of(config) / "metrics.csv")[0]["validation_score"]
    start = "persistence" if departures is None else "anomaly persistence"
    assert found["closed_forms"][start] == pytest.approx(untrained, rel=1e-5)
    assert set(found["closed_forms"]) == {"persistence", "climatology", "anomaly persistence", "damped anomaly",
                                          "linear inverse model"}  # fmt: skip


def test_a_network_that_loses_to_a_closed_form_is_said_to_with_what_to_do(tmp_path: Path) -> None:
    config = experiment(tmp_path, training={"updates": 1})
    trained = fit(config, progress=False)  # waves that move are what a linear inverse model forecasts
    found, verdict = beside_closed_forms(folder_of(config), trained.metadata["validation_score"])
    assert found["beats_closed_forms"] is False
    assert min(found["closed_forms"], key=found["closed_forms"].get) == "linear inverse model"
    assert verdict.startswith("THE NETWORK DOES NOT BEAT linear inverse model")
    assert "emulator.first_guess={kind: linear_inverse}" in verdict
    content = read_json(folder_of(config) / FILE, "")
    assert content["first_guess"] == "persistence"
    write_json(folder_of(config) / FILE, {**content, "first_guess": "linear_inverse"})
    again = beside_closed_forms(folder_of(config), trained.metadata["validation_score"])[1]
    assert "emulator.first_guess" not in again and "forecast with the best closed form itself" in again
    best = found["closed_forms"]["linear inverse model"]
    assert "has no finite score" in beside_closed_forms(folder_of(config), None)[1]
    assert "NOT" in beside_closed_forms(folder_of(config), best)[1]  # no better than it is not better
    ahead, verdict = beside_closed_forms(folder_of(config), best / 2)
    assert ahead["beats_closed_forms"] is True and "ahead of every closed form" in verdict
    (folder_of(config) / FILE).unlink()
    assert beside_closed_forms(folder_of(config), best) == ({}, "")  # a run of an earlier version


def test_closed_forms_change_no_weight_and_are_the_same_each_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, again, without = (experiment(tmp_path, name=name) for name in ("first", "again", "without"))
    fit(first, progress=False)
    fit(again, progress=False)
    monkeypatch.setattr(fitting, "score_closed_forms", lambda *args: None)
    fit(without, progress=False)
    last = [(folder_of(config) / "last.ckpt").read_bytes() for config in (first, again, without)]
    assert last[0] == last[1] == last[2]
    assert (folder_of(first) / FILE).read_bytes() == (folder_of(again) / FILE).read_bytes()


def test_runs_of_one_study_fit_the_closed_forms_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scored, score_of = [], closed_forms.score_of
    monkeypatch.setattr(closed_forms, "score_of", lambda *args: scored.append(args) or score_of(*args))
    data = PreparedData()
    config = experiment(tmp_path, training={"updates": 1})
    for seed in (0, 1):
        fit(replace(config, name=str(seed), training=replace(config.training, seed=seed)), progress=False, data=data)
    assert len(scored) == 4  # without an anomaly persistence, which is persistence where nothing has a season


def test_closed_forms_are_fitted_on_the_end_of_a_long_training_part(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(closed_forms, "MOST_VALUES", 2 * 24 * 3)  # two hours of three variables on 24 nodes
    monkeypatch.setattr(closed_forms, "MOST_STATES", 10)
    config = experiment(tmp_path, emulator=GNNConfig(processor=PROCESSOR), task=WEATHER_TASK, training={"updates": 1})
    fit(config, progress=False, data=Weather())
    found, _ = beside_closed_forms(folder_of(config), np.inf)
    assert "has seen no training date" in found["left_out"]["climatology"]
    assert "persistence" in found["closed_forms"]
