"""Keras networks say what their torch twins say, and are kept as they are."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import replace

import pytest
import torch

from emulator.features.inputs import Inputs
from emulator.networks.keras_networks.keras_models import (
    KerasCNNConfig,
    KerasConfig,
    KerasLSTMConfig,
    keras_network_of,
    torch_twin,
)
from emulator.networks.layers.feature_layout import FeatureLayout
from emulator.neural import in_precision, precision_of
from graphs.errors import MeshcastError
from graphs.mesh import Mesh
from graphs.meshes.grids import GaussianGrid
from tests.emulator.networks.questions import MESHES, drawn, emulator_of, task_on

SMALL_CNN = KerasCNNConfig(width=6, num_layers=3, kernel_size=3, dilations=(1, 2))
SMALL_LSTMS = [
    KerasLSTMConfig(width=5, num_layers=2, scope="whole"),
    KerasLSTMConfig(width=5, num_layers=2, radius=1),
]

pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def tensorflow() -> None:
    pytest.importorskip("tensorflow", reason="TensorFlow is absent: pip install 'meshcast[tensorflow]'")


def layout_on(mesh: Mesh) -> FeatureLayout:
    task = task_on(mesh)
    return FeatureLayout.of(task, Inputs(task, mesh))


@pytest.mark.parametrize(
    ("config", "where"),
    [
        *((SMALL_CNN, where) for where in ("ring", "area", "globe")),
        (replace(SMALL_CNN, grid=GaussianGrid(number=4)), "icosphere"),
        *((config, where) for config in SMALL_LSTMS for where in MESHES),
    ],
    ids=lambda value: value if isinstance(value, str) else f"{value.kind}-{getattr(value, 'scope', '')}",
)
def test_the_twins_of_one_set_of_weights_say_the_same(config: KerasConfig, where: str) -> None:
    mesh = MESHES[where]()
    layout = layout_on(mesh)
    torch.manual_seed(1)
    twin = drawn(torch_twin(config, layout, mesh))
    network = keras_network_of(twin, layout, mesh)
    features = 3 * torch.randn(3, mesh.num_nodes, layout.num_inputs)
    expected = twin(features)
    assert expected.std() > 0.01
    torch.testing.assert_close(network(features), expected, rtol=0, atol=1e-5)


def test_a_forecast_in_bfloat16_is_refused() -> None:
    emulator = emulator_of(SMALL_CNN, MESHES["ring"]())
    assert precision_of(in_precision(emulator, "float32")) == {"precision": "float32"}
    with pytest.raises(MeshcastError, match="but of this emulator its network is Keras's"):
        in_precision(emulator, "bfloat16")


def test_one_seed_begins_both_twins_at_one_point_and_the_last_layer_at_zero() -> None:
    mesh = MESHES["ring"]()
    layout = layout_on(mesh)
    torch.manual_seed(3)
    twin = torch_twin(SMALL_CNN, layout, mesh)
    torch.manual_seed(3)
    network = SMALL_CNN.build(layout, mesh)
    kernels = [weight for name, weight in twin.named_parameters() if name.endswith("weight")]
    for kernel, name in zip(kernels, [name for name in network.names if name.endswith("kernel")], strict=True):
        torch.testing.assert_close(network.get_parameter(name), kernel.permute(2, 3, 1, 0))
    assert not network(torch.randn(2, mesh.num_nodes, layout.num_inputs)).any()
    count = sum(weight.numel() for weight in twin.parameters())
    assert sum(weight.numel() for weight in network.parameters()) == count


def test_a_copy_has_weights_of_its_own() -> None:
    mesh = MESHES["ring"]()
    layout = layout_on(mesh)
    network = drawn(SMALL_CNN.build(layout, mesh))
    copy, features = deepcopy(network), torch.randn(2, mesh.num_nodes, layout.num_inputs)
    torch.testing.assert_close(copy(features), network(features))
    with torch.no_grad():
        copy.get_parameter("decoder.bias").add_(1.0)
    torch.testing.assert_close(copy(features), network(features) + 1.0)
