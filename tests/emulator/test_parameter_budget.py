"""Networks scaled to a number of parameters."""

from __future__ import annotations

import pytest

from emulator.build import build_network
from emulator.networks.config import NetworkConfig
from emulator.networks.ffnn import FFNNConfig
from emulator.networks.gnn import GNNConfig, ProcessorConfig
from emulator.networks.graph_convolution import GraphConvolutionConfig
from emulator.networks.interaction_network import InteractionNetworkConfig
from emulator.networks.lstm import LSTMConfig
from emulator.networks.transformer import TransformerConfig
from emulator.parameter_budget import with_parameters
from emulator.plugins import PluginConfig
from graphs.errors import MeshcastError
from graphs.meshes.ring import ring
from tests.emulator.worlds import WAVES

MESH = ring(32)
CONFIGS: dict[str, NetworkConfig] = {
    "gnn": GNNConfig(processor=ProcessorConfig(num_layers=2, latent_size=12, hidden_size=24)),
    "ffnn": FFNNConfig(width=3),
    "lstm": LSTMConfig(),
    "whole lstm": LSTMConfig(scope="whole"),
    "transformer": TransformerConfig(num_heads=4, num_layers=2),
    "graph convolution": GraphConvolutionConfig(),
    "interaction network": InteractionNetworkConfig(),
}


def num_parameters(config: NetworkConfig) -> int:
    return sum(weight.numel() for weight in build_network(config, WAVES, MESH, 0).network.parameters())


@pytest.mark.parametrize("name", CONFIGS)
def test_no_other_width_comes_nearer(name: str) -> None:
    asked: list[NetworkConfig] = []
    config = CONFIGS[name]

    def count(candidate: NetworkConfig) -> int:
        asked.append(candidate)
        return num_parameters(candidate)

    found = with_parameters(config, 5_000, count)
    assert not isinstance(found, PluginConfig)
    width, unit = found.width, config.width_unit
    assert width % unit == 0 and len(asked) <= 12
    off = abs(num_parameters(found) - 5_000)
    assert off < 1_000
    for other in (width - unit, width + unit):
        assert abs(num_parameters(found.with_width(other)) - 5_000) >= off
    assert found.with_width(config.width) == config  # nothing but the width was touched


def test_the_sizes_of_a_graph_network_keep_their_ratio() -> None:
    found = with_parameters(CONFIGS["gnn"], 20_000, num_parameters)
    assert isinstance(found, GNNConfig) and found.processor.hidden_size == 2 * found.processor.latent_size


SIZES = {"square": lambda w: w * w, "line": lambda w: 3 * w, "steps": lambda w: w + 5 * (w // 4) ** 3}


@pytest.mark.parametrize("name", SIZES)
@pytest.mark.parametrize("count", [3, 20, 21, 100_003])
def test_the_search_is_exact_on_sizes_of_any_shape(count: int, name: str) -> None:
    size = SIZES[name]
    nearest = min(range(1, count + 1), key=lambda width: abs(size(width) - count))
    found = with_parameters(LSTMConfig(), count, lambda config: size(config.width))  # type: ignore[union-attr]
    assert found == LSTMConfig(width=nearest)


def test_too_few_parameters_are_refused_with_the_least() -> None:
    least = num_parameters(TransformerConfig(width=4, num_layers=2))
    with pytest.raises(MeshcastError, match=rf"50 parameters are too few .* width of 4 it has {least:,}"):
        with_parameters(CONFIGS["transformer"], 50, num_parameters)


def test_a_plug_in_is_refused() -> None:
    with pytest.raises(MeshcastError, match="plug-in mine cannot be scaled to a number of parameters"):
        with_parameters(PluginConfig("mine"), 5_000, num_parameters)
