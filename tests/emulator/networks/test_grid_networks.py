"""Networks on structured grids: their published sizes, their symmetries, and what they learn on a ring."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from emulator.networks.cnn import CNNConfig
from emulator.networks.fno import FNOConfig
from emulator.networks.layers.feature_layout import FeatureLayout
from emulator.networks.resnet import ResNetConfig
from emulator.networks.structured import StructuredConfig
from emulator.networks.unet import UNetConfig
from graphs.errors import MeshcastError
from graphs.mesh import Mesh
from graphs.meshes.ring import ring
from tests.emulator.networks.questions import left_after_fitting
from tests.emulator.worlds import moving_waves

DILATED = ResNetConfig(width=32, num_blocks=2, dilations=(1, 2, 4, 2, 1))
PUBLISHED = {
    "ConvNet 34 x 10": (CNNConfig(), 31757),
    "Res 26 x 8": (ResNetConfig(), 32943),
    "Dil 2 x 32 x 2": (DILATED, 31777),
    "UNet 12 x 2": (UNetConfig(), 27193),
    "FNO 12 x 18 x 4": (FNOConfig(), 32527),
}
SMALL = {
    "cnn": CNNConfig(width=6, num_layers=2),
    "dilated cnn": CNNConfig(width=6, num_layers=3, dilations=(1, 2, 4)),
    "resnet": ResNetConfig(width=6, num_blocks=2),
    "dilated resnet": ResNetConfig(width=6, num_blocks=1, dilations=(1, 2, 1)),
    "unet": UNetConfig(width=6, num_levels=2),
    "fno": FNOConfig(width=6, num_layers=2, modes=4),
}


def network(
    config: StructuredConfig, mesh: Mesh, num_inputs: int = 1, num_outputs: int = 1, zero: bool = False
) -> nn.Module:
    """A seeded network, its last layer drawn at random unless `zero`."""
    torch.manual_seed(0)
    built = config.build(FeatureLayout(1, num_outputs, 0, num_inputs, num_outputs), mesh)
    if not zero:
        for parameter in built.parameters():
            if not parameter.any():
                nn.init.normal_(parameter, std=0.1)
    return built


def noise(mesh: Mesh, channels: int = 1, batch: int = 2) -> Tensor:
    return torch.randn(batch, mesh.num_nodes, channels, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize(("config", "count"), PUBLISHED.values(), ids=PUBLISHED)
def test_the_published_networks_have_their_published_numbers_of_parameters(
    config: StructuredConfig, count: int
) -> None:
    built = network(config, ring(160), zero=True)
    assert sum(parameter.numel() for parameter in built.parameters()) == count


@pytest.mark.parametrize("config", SMALL.values(), ids=SMALL)
def test_an_untrained_network_adds_nothing(config: StructuredConfig) -> None:
    mesh = ring(24)
    assert not network(config, mesh, 3, 2, zero=True)(noise(mesh, 3)).any()


@pytest.mark.parametrize("config", SMALL.values(), ids=SMALL)
def test_a_shifted_field_on_the_ring_gives_the_shifted_answer(config: StructuredConfig) -> None:
    mesh = ring(24)
    built, field = network(config, mesh, 2, 2), noise(mesh, 2)
    answer = built(field)
    torch.testing.assert_close(built(field.roll(4, dims=1)), answer.roll(4, dims=1), rtol=0, atol=1e-5)
    assert (built(field) - answer.roll(4, dims=1)).abs().max() > 1e-2  # the answer is not one constant


@pytest.mark.parametrize("config", SMALL.values(), ids=SMALL)
def test_gradients_reach_every_parameter(config: StructuredConfig) -> None:
    mesh = ring(24)
    built = network(config, mesh, 2, 2)
    built(noise(mesh, 2)).square().sum().backward()
    for name, parameter in built.named_parameters():
        assert parameter.grad is not None and parameter.grad.any(), name


@pytest.mark.parametrize("config", SMALL.values(), ids=SMALL)
def test_waves_that_move_are_learned(config: StructuredConfig) -> None:
    waves = torch.from_numpy(moving_waves(8, 2))  # [trajectory, frame, 1, node]
    now, target = (waves[:, frame].transpose(1, 2) for frame in (0, 1))
    built = network(config, ring(24), zero=True)
    assert left_after_fitting(built, now, target - now, updates=40) < 0.1


def test_a_network_hears_as_far_as_its_dilations_reach() -> None:
    mesh = ring(40)
    plain, dilated = (network(CNNConfig(width=4, num_layers=2, dilations=d), mesh) for d in ((1,), (1, 4)))
    field, changed = noise(mesh), noise(mesh)
    changed[:, 20] += 1.0
    for built, reach in ((plain, 3), (dilated, 6)):
        different = torch.nonzero((built(field) - built(changed)).abs().amax(dim=(0, 2)) > 0).ravel()
        assert (different.min(), different.max()) == (20 - reach, 20 + reach)


def test_the_operator_keeps_the_waves_it_has_weights_for() -> None:
    mesh = ring(24)
    waves = network(FNOConfig(width=2, num_layers=1, modes=13), mesh).inside.waves
    field = noise(mesh, 3)
    torch.testing.assert_close(waves.synthesis(waves.analysis(field), 2), field)
    long = network(FNOConfig(width=2, num_layers=1, modes=3), mesh).inside.waves
    spectrum = torch.fft.rfft(field, dim=1)
    spectrum[:, 3:] = 0
    torch.testing.assert_close(long.synthesis(long.analysis(field), 2), torch.fft.irfft(spectrum, n=24, dim=1))


def test_one_spectral_layer_multiplies_each_wave_by_its_matrix() -> None:
    mesh = ring(16)
    operator = network(FNOConfig(width=2, num_layers=1, modes=5), mesh).inside
    layer, field = operator.layers[0], noise(mesh, 2)
    nn.init.zeros_(layer.bypass.weight)
    nn.init.zeros_(layer.bypass.bias)
    spectrum = torch.fft.rfft(field, dim=1)[:, :5]
    product = torch.einsum("bmi,mio->bmo", spectrum, torch.view_as_complex(layer.weight.detach()))
    expected = nn.functional.gelu(torch.fft.irfft(product, n=16, dim=1))
    torch.testing.assert_close(layer(field, operator.waves), expected)


def test_more_modes_than_the_ring_carries_are_refused() -> None:
    with pytest.raises(MeshcastError, match="carries 13 waves, fewer than modes: 14"):
        network(FNOConfig(modes=14), ring(24))


def test_dilations_too_wide_for_the_ring_are_refused() -> None:
    with pytest.raises(MeshcastError, match=r"reaches 32 nodes .* ring of 24 nodes"):
        network(CNNConfig(dilations=(32,)), ring(24))(noise(ring(24)))


@pytest.mark.parametrize(
    ("options", "message"),
    [({"kernel_size": 4}, "must be odd"), ({"dilations": (0,)}, "from 1 on"), ({"width": 0}, "at least 1")],
)
def test_sizes_that_make_no_network_are_refused(options: dict, message: str) -> None:
    with pytest.raises(MeshcastError, match=message):
        CNNConfig(**options)
