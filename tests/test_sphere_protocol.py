"""What the sphere's benchmark trains beside the configuration's own network, and how it sums up."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

import pytest

from emulator.foundation.configuration import load
from emulator.networks.gnn import GNNConfig
from emulator.networks.processors.pyg import PyGConfig
from training.experiment import ExperimentConfig

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture
def protocol(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    import sphere_protocol

    return sphere_protocol


def test_other_processors_have_the_sizes_and_the_recipe_of_the_configuration(protocol: ModuleType) -> None:
    ours = load(ExperimentConfig, ROOT / "configs/shallow-water.yaml")
    for name, kind in (("graphcast", "graphcast"), ("pyg:GATv2Conv", "pyg")):
        other = protocol.with_processor(ours, name)
        assert isinstance(ours.emulator, GNNConfig) and isinstance(other.emulator, GNNConfig)
        processor = other.emulator.processor
        assert (processor.kind, processor.num_layers, processor.latent_size, processor.hidden_size) == (kind, 8, 48, 48)
        assert other.training == ours.training and other.emulator.graph == ours.emulator.graph
    assert protocol.with_processor(ours, "network") is ours
    assert isinstance(processor, PyGConfig) and processor.layer == "GATv2Conv"


def test_each_network_has_a_median_of_its_own(protocol: ModuleType) -> None:
    errors = {("network", 0): 0.2, ("network", 1): 0.4, ("network", 2): 0.3, ("graphcast", 0): 0.5, ("T10", 0): 0.25}
    rows = [
        {"label": label, "seed": seed, "error_by_day": {"5": error}, "kinetic_energy_by_day": {"5": 1.0}}
        for (label, seed), error in errors.items()
    ]
    found = protocol.summary(rows, [5], ["network", "graphcast", "pyg:NNConv"])
    assert found["median_over_seeds"] == {"5": 0.3}
    assert found["other_networks"] == {"graphcast": {"5": 0.5}, "pyg:NNConv": {}}
