"""What a network is given before its first update."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.utils.data import default_collate

from emulator.baselines.linear_inverse import LinearInverseConfig
from emulator.baselines.ridge import RidgeConfig
from emulator.build import load_emulator, save_emulator
from emulator.data.arrays import ArrayFields
from emulator.features.departures import DeparturesConfig
from emulator.networks.ffnn import FFNNConfig
from emulator.networks.gnn import GNNConfig
from emulator.networks.keras_networks.keras_models import KerasCNNConfig, KerasConfig, KerasLSTMConfig, torch_config
from emulator.neural import NeuralEmulator
from emulator.protocol import Emulator, rollout
from graphs import available_memory
from graphs.errors import MeshcastError
from tests.emulator.worlds import WEATHER, starting_from, weather_fields
from tests.training.worlds import PROCESSOR, experiment
from training.experiment import DataPart
from training.optimisation.module import EmulatorModule
from training.preparation import first_guess, memory
from training.preparation.first_guess import initial_network, mask_flags, unfitted_network
from training.preparation.prepared import Prepared, PreparedData, prepare, windows_of
from training.runs.study import count_parameters
from training.task_config import TaskConfig


def test_masks_become_one_flag_each_where_they_differ() -> None:
    land = np.array([True, False, False, True])
    everywhere = np.zeros(4, dtype=bool)
    valid = ~np.stack([everywhere, land, land], axis=1)  # 2t, sst, and a diagnostic variable whose mask is no matter
    np.testing.assert_array_equal(mask_flags(valid, WEATHER), land[:, None].astype(float))
    assert mask_flags(~np.stack([everywhere, everywhere, land], axis=1), WEATHER).shape == (4, 0)


def test_a_network_knows_its_masked_nodes_without_being_told(tmp_path: Path) -> None:
    config = experiment(tmp_path, emulator=GNNConfig(processor=PROCESSOR))
    prepared = prepare(config)
    assert initial_network(prepared, windows_of(prepared)[0])[0].inputs.statics.shape == (24, 0)
    valid = np.ones((24, 1), dtype=bool)
    valid[:6] = False
    masked = replace(prepared, valid=valid)
    statics = initial_network(masked, windows_of(masked)[0])[0].inputs.statics
    assert statics.shape == (24, 1)
    assert torch.unique(statics[:6]).numel() == 1 and (statics[:6] > 1).all() and (statics[6:] < 0).all()


def test_what_a_first_guess_leaves_is_measured_once_and_is_that_of_a_network_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    measured, scales = [], first_guess._scales
    monkeypatch.setattr(first_guess, "_scales", lambda *about: measured.append(about) or scales(*about))
    gnn = experiment(tmp_path, emulator=GNNConfig(processor=PROCESSOR))
    ridge = RidgeConfig(radii=(0,), penalties=(1e-6,))
    configs = [
        gnn,
        replace(gnn, emulator=FFNNConfig(width=4)),
        replace(gnn, training=replace(gnn.training, noise=0.5)),
        replace(gnn, emulator=FFNNConfig(width=4, first_guess=ridge)),
    ]

    def network(prepared: Prepared) -> tuple[NeuralEmulator, float]:
        emulator, _ = initial_network(prepared, windows_of(prepared)[0])
        return emulator, torch.rand(1).item()  # what is drawn later must not depend on who measured

    data = PreparedData()
    found = [network(data.prepare(config)) for config in configs]
    assert len(measured) == 3
    for (shared, drawn), config in zip(found, configs, strict=True):
        alone, drawn_alone = network(prepare(config))
        assert torch.equal(shared.correction_std, alone.correction_std) and drawn == drawn_alone
    assert len({emulator.correction_std.item() for emulator, _ in found}) == 3


class Weather(PreparedData):
    """Hourly weather in place of every split, its sea masked on land."""

    def fields(self, split: DataPart, keep_in_memory: bool = True) -> ArrayFields:
        return weather_fields()


def test_an_untrained_network_on_a_linear_inverse_model_forecasts_what_the_model_does(tmp_path: Path) -> None:
    guess = LinearInverseConfig(period="hour", modes=(2, 3), penalties=(0.0, 0.1), rest="damped", rollout_steps=2)
    network = GNNConfig(processor=PROCESSOR, first_guess=guess, departures=DeparturesConfig("hour"))
    task = TaskConfig(("2t", "sst"), diagnostic=("tp",), forcing=("insolation",), history=2)
    prepared = Weather().prepare(experiment(tmp_path, emulator=network, task=task))
    emulator, section = initial_network(prepared, windows_of(prepared)[0])
    assert isinstance(section.first_guess, LinearInverseConfig)
    baseline = section.first_guess.fit(prepared.task, prepared.part)
    assert baseline.config == section.first_guess and isinstance(section.first_guess.modes, int)
    save_emulator(tmp_path / "emulator.safetensors", prepared.trained(emulator, section))
    again = load_emulator(tmp_path / "emulator.safetensors").emulator

    def forecast(of: Emulator) -> torch.Tensor:
        state = starting_from(prepared.train, of.task, [42 - of.task.history, 52 - of.task.history])
        rolled = rollout(of, state, prepared.part.provider, 3)
        return torch.stack([following.now for following, _ in rolled])

    expected = forecast(baseline)
    torch.testing.assert_close(forecast(emulator), expected, rtol=0, atol=1e-3, equal_nan=True)  # [K], in float32
    assert torch.equal(forecast(again).nan_to_num(), forecast(emulator).nan_to_num())
    assert count_parameters(emulator)["fixed"] > 0


def test_an_unfitted_network_of_departures_can_be_timed(tmp_path: Path) -> None:
    network = GNNConfig(processor=PROCESSOR, departures=DeparturesConfig("hour"))
    prepared = prepare(experiment(tmp_path, emulator=network))
    windows, starts = windows_of(prepared)
    config = prepared.config
    module = EmulatorModule(unfitted_network(prepared), windows, starts, config.training, config.validation)
    assert torch.isfinite(module.loss(default_collate([windows[0]])))


@pytest.mark.parametrize("departures", [None, DeparturesConfig("hour"), DeparturesConfig("month", recent=2)], ids=str)
def test_a_linear_inverse_model_is_no_guess_of_other_departures_than_its_own(
    departures: DeparturesConfig | None,
) -> None:
    with pytest.raises(MeshcastError, match=r"Set departures=\{period: month\}, or another first_guess"):
        GNNConfig(first_guess=LinearInverseConfig(), departures=departures)


@pytest.mark.parametrize("config", [KerasCNNConfig(width=4), KerasLSTMConfig(width=4)])
def test_the_speed_of_a_network_in_keras_is_measured_by_its_torch_twin(tmp_path: Path, config: KerasConfig) -> None:
    emulator = unfitted_network(prepare(experiment(tmp_path, emulator=config)))
    assert type(emulator.network).__module__.split(".")[-1] in ("structured", "lstm")
    assert torch_config(config).kind == config.kind.removeprefix("keras_")


def test_a_study_counts_memory_once_and_compares_it_with_what_is_left_each_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    counted, count = [], memory.least_numbers
    monkeypatch.setattr(first_guess, "least_numbers", lambda *about: counted.append(about) or count(*about))
    config = experiment(tmp_path, emulator=FFNNConfig(width=4))
    data = PreparedData()
    for seed in (0, 1):
        unfitted_network(data.prepare(replace(config, training=replace(config.training, seed=seed))))
    assert len(counted) == 1
    monkeypatch.setattr(available_memory, "available_memory", lambda: 1)
    with pytest.raises(MeshcastError, match=r"of kind ffnn with [0-9,]+ or more weights"):
        unfitted_network(data.prepare(config))
    assert len(counted) == 1
