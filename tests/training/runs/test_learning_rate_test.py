"""The range test of the learning rate: rising rates, a rate where the loss fell, and nothing but picture and table."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from emulator.baselines.persistence import PersistenceConfig
from emulator.foundation.configuration import dump
from emulator.networks.keras_networks.keras_models import KerasCNNConfig
from graphs.errors import MeshcastError
from tests.meshcast.command_line import done
from tests.training.runs.test_fit import folder_of
from tests.training.worlds import experiment
from training.optimisation.rate_ramp import moving_mean
from training.runs.fit import fit
from training.runs.learning_rate_test import learning_rate_test, suggestion


def test_a_third_of_the_rate_of_the_lowest_loss_is_suggested() -> None:
    rates = np.geomspace(1e-5, 1.0, 101).tolist()
    losses = [1.0 if rate < 1e-3 else 0.1 + abs(math.log10(rate) + 2) for rate in rates]  # lowest at 0.01
    assert suggestion(rates, losses) == pytest.approx(0.01 / 3, rel=0.02)
    assert suggestion(rates, [1.0] * 101) is None
    assert suggestion(rates, np.geomspace(1, 9, 101).tolist()) is None
    assert suggestion(rates[:10], losses[:10]) is None


def test_a_moving_mean_has_no_bias_at_its_start() -> None:
    assert moving_mean([3.0, 3.0, 3.0]) == pytest.approx([3.0] * 3)
    assert moving_mean([1.0, 2.0]) == pytest.approx([1.0, (0.9 * 0.1 * 1 + 0.1 * 2) / (0.9 * 0.1 + 0.1)])


def test_the_command_writes_picture_and_table_alone_and_a_training_follows(tmp_path: Path) -> None:
    strategies = {"curriculum": ((0.5, 2), (0.5, 3)), "patience": 1, "random_unroll": True}
    config = experiment(tmp_path, training=strategies)
    dump(config, tmp_path / "experiment.yaml")
    found = done("train", tmp_path / "experiment.yaml", "--learning-rate-test", "--json").json
    folder = folder_of(config)
    assert sorted(path.name for path in folder.iterdir()) == ["learning-rate-test.csv", "learning-rate-test.png"]
    rows = np.genfromtxt(folder / "learning-rate-test.csv", delimiter=",", names=True)
    assert (rows["learning_rate"][0], rows["learning_rate"][-1]) == pytest.approx((1e-5, rows["learning_rate"].max()))
    best = rows["learning_rate"][20:][rows["moving_mean"][20:].argmin()]
    assert found["suggested"] == pytest.approx(best / 3, rel=0.05)
    assert 0.0003 < found["suggested"] < 0.3
    fit(replace(config, training=replace(config.training, updates=4)), progress=False)


def test_what_no_update_is_taken_of_is_refused(tmp_path: Path) -> None:
    for emulator in (PersistenceConfig(), KerasCNNConfig()):
        with pytest.raises(MeshcastError, match=rf"a network in PyTorch, but emulator.kind is {emulator.kind}"):
            learning_rate_test(experiment(tmp_path, emulator=emulator))
    assert not (tmp_path / "run").exists()
