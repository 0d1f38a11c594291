"""The architecture tour's networks are fitted side by side, equally large."""

from __future__ import annotations

from pathlib import Path

import pytest

from emulator.foundation.configuration import load
from emulator.physics.simulate import load_simulation, simulate
from meshcast.commands.configs import shipped_configs
from training.comparison.configuration import CompareConfig
from training.runs.study import count_parameters
from training.tour.networks import fit_side_by_side


@pytest.mark.slow
def test_networks_of_the_tour_are_equally_large(tmp_path: Path) -> None:
    configs = shipped_configs()
    truth = simulate(load_simulation(configs["simulate-tour"], ["num_frames=8"]), tmp_path / "truth.zarr")
    overrides = ["training.updates=1", "validation.every=1", "validation.steps=2", "training.accelerator=cpu"]
    sources = [f"data.{part}.source={truth}" for part in ("train", "validation", "test")]
    config = load(CompareConfig, configs["compare-tour"], [*overrides, *sources])
    networks = fit_side_by_side(config, tmp_path / "runs")
    assert list(networks) == ["GNN", "CNN", "FFNN", "LSTM", "textbook graph layer"]
    for label, trained in networks.items():
        assert trained.name == label
        assert count_parameters(trained.emulator)["trainable"] == pytest.approx(12_000, rel=0.05)
