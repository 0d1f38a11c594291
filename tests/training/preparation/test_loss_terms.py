"""The loss of one step: units, weights of variables and levels, members, and errors by wavenumber, by hand."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from emulator.scores import fair_crps
from emulator.task import Task, Variable
from graphs.errors import MeshcastError
from graphs.meshes.icosphere import icosphere
from graphs.meshes.latlon import latlon
from graphs.meshes.ring import ring
from inference.scores.spectra import power_spectrum
from tests.emulator.worlds import FRAME, WEATHER, fitted, weather_fields
from tests.training.optimisation.test_module import first_batch, module_of
from tests.training.worlds import experiment
from training.experiment import TrainingConfig
from training.optimisation.module import EmulatorModule
from training.preparation.first_guess import initial_network
from training.preparation.loss_terms import LossTerms, WaveError, loss_terms, pressure_weights, variable_weights
from training.preparation.prepared import prepare, windows_of
from training.preparation.windows import noisy

LEVELS = Task(tuple(Variable(name, "prognostic") for name in ("t_850", "t_500", "z_500", "2t")), FRAME)


def module_with_terms(tmp_path: Path, **training: Any) -> EmulatorModule:
    """A module whose loss was measured on its training data."""
    config = experiment(tmp_path, training={"noise": 0.0, **training})
    prepared = prepare(config)
    windows, starts = windows_of(prepared)
    emulator, _ = initial_network(prepared, windows)
    torch.nn.init.normal_(emulator.network.decoder[-1].weight, std=0.1)
    terms = loss_terms(prepared, emulator, windows)
    return EmulatorModule(emulator, windows, starts, config.training, config.validation, terms=terms)


def one_step(module: EmulatorModule, batch: dict[str, torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
    state, forcings = module.windows.start_of(batch)
    state = noisy(state, batch, module.training_config.noise, module.emulator.inputs)
    following, _ = module.emulator.step(state, forcings.window(state, module.emulator.task, 0))
    return following.now, batch["values"][:, None, 1]  # [batch, member, node, variable]


def weights_of(task: Task, **training: Any) -> list[float] | None:
    prepared: Any = SimpleNamespace(config=SimpleNamespace(training=TrainingConfig(**training)), task=task)
    found = variable_weights(prepared)
    return None if found is None else found.tolist()


def test_an_error_counts_in_units_of_the_variables_tendency(tmp_path: Path) -> None:
    module = module_with_terms(tmp_path, loss_unit="tendency")
    batch = first_batch(module)
    forecast, truth = one_step(module, batch)
    values = module.windows.fields.values  # [time, trajectory, node, variable]
    tendency = np.sqrt(np.mean(np.diff(values, axis=0) ** 2))
    expected = ((forecast - truth) / float(tendency)).square().mean()
    torch.testing.assert_close(module.loss(batch), expected, rtol=1e-5, atol=1e-7)


def test_weights_by_pattern_multiply_and_are_one_on_average() -> None:
    assert weights_of(LEVELS) is None
    assert weights_of(LEVELS, loss_weights={"*": 3.0}) is None  # all alike
    found = weights_of(LEVELS, loss_weights={"t_*": 0.5, "*_500": 2.0})
    assert found == pytest.approx([4 * w / 4.5 for w in (0.5, 1.0, 2.0, 1.0)])


def test_a_pattern_of_weights_that_fits_no_variable_is_refused() -> None:
    with pytest.raises(MeshcastError, match=r"loss_weights has the pattern 'q_\*', which fits none .* t_850, t_500"):
        weights_of(LEVELS, loss_weights={"q_*": 0.5})
    with pytest.raises(MeshcastError, match=r"leaves no predicted variable a weight"):
        weights_of(LEVELS, loss_weights={"*": 0.0})


def test_levels_count_by_their_pressure() -> None:
    mean = (850 + 500 + 500) / 3
    assert pressure_weights(LEVELS).tolist() == pytest.approx([850 / mean, 500 / mean, 500 / mean, 1.0])
    found = weights_of(LEVELS, level_weights="pressure", loss_weights={"2t": 0.0})
    assert found == pytest.approx([w * 4 / 3 / mean for w in (850, 500, 500, 0)])
    with pytest.raises(MeshcastError, match=r"on pressure levels, as t_850, but predicted are 2t, sst"):
        pressure_weights(WEATHER)


def test_a_variable_counts_as_its_weight_in_training_and_validation() -> None:
    emulator = fitted(WEATHER, weather_fields())
    forecast, truth = torch.randn(2, 3, 24, 3), torch.randn(2, 3, 24, 3)
    plain, weights = LossTerms("mae"), torch.tensor([0.5, 2.5, 0.0])
    weighted = LossTerms("mae", weights=weights)
    torch.testing.assert_close(
        weighted(emulator, forecast, truth), plain(emulator, forecast, truth) * weights, rtol=0, atol=0
    )
    two = weighted(emulator, forecast[..., :2].double(), truth[..., :2].double())  # the prognostic ones, in validation
    torch.testing.assert_close(two.float(), weighted(emulator, forecast, truth)[..., :2])


def test_members_are_scored_by_the_fair_crps_of_forecasts_from_noise_of_their_own(tmp_path: Path) -> None:
    module = module_with_terms(tmp_path, loss="crps", members=3, noise=0.3)
    batch = first_batch(module)
    assert batch["noise"].shape == (4, 3, 1, 24, 1)
    assert not torch.equal(batch["noise"][:, 0], batch["noise"][:, 1])
    forecast, truth = one_step(module, batch)
    assert forecast.shape == (4, 3, 24, 1)
    scale = module.emulator.inputs.std * module.emulator.correction_std
    expected = fair_crps(forecast / scale, truth[:, 0] / scale, torch.full((24,), 1 / 24)).mean()
    torch.testing.assert_close(module.loss(batch), expected, rtol=1e-5, atol=1e-7)
    one = module.terms(module.emulator, forecast[:, :1], truth)  # a forecast alone, as validation's
    torch.testing.assert_close(one, ((forecast[:, :1] - truth) / scale).abs().mean(dim=-2), rtol=1e-5, atol=1e-7)


def test_the_loss_of_members_has_gradients_and_leaves_masked_nodes_out() -> None:
    emulator = fitted(WEATHER, weather_fields())
    truth = torch.randn(2, 1, 24, 3)
    truth[:, :, :5, 1] = torch.nan
    forecast = torch.randn(2, 4, 24, 3, requires_grad=True)
    terms = LossTerms("crps")
    terms(emulator, forecast, truth).mean().backward()
    assert torch.isfinite(forecast.grad).all() and bool((forecast.grad[:, :, :5, 1] == 0).all())
    assert bool((forecast.grad[:, :, 5:] != 0).any())


@pytest.mark.parametrize(
    "mesh", [ring(24), ring(25), icosphere(2), latlon(np.linspace(80, -80, 9), np.arange(0, 360, 20))]
)
def test_the_power_of_an_error_sums_to_its_mean_square(mesh) -> None:
    waves = WaveError(mesh, 2)
    position = torch.from_numpy(mesh.positions)
    smooth = torch.stack([position[:, 0] + 0.5, position[:, 0] * position[:, 1]], dim=-1)[None]  # of degrees 0 to 2
    power = waves.power(smooth)
    square = (smooth**2 * torch.from_numpy(mesh.areas)[:, None]).sum(-2)
    torch.testing.assert_close(power.sum(-2), square, rtol=1e-2 if mesh.structured else 1e-5, atol=0)
    if mesh.domain.kind == "ring" or not mesh.structured:
        expected = power_spectrum(smooth.numpy(), mesh)
        torch.testing.assert_close(power, torch.from_numpy(expected), rtol=1e-5, atol=1e-6)
    assert float(power[0, 2, 1]) == pytest.approx(float(square[0, 1]), rel=1e-2)  # x y: two waves, degree two


def test_half_of_the_loss_may_count_waves_in_units_of_what_the_first_guess_leaves_of_each(tmp_path: Path) -> None:
    module = module_with_terms(tmp_path, spectral_share=0.5)
    batch = first_batch(module)
    forecast, truth = one_step(module, batch)
    scale = module.emulator.inputs.std * module.emulator.correction_std
    error = (forecast - truth) / scale
    values = torch.from_numpy(module.windows.fields.values)
    left = torch.fft.rfft((values[1:] - values[:-1]) / scale, dim=2).abs() ** 2 / 24**2
    left[:, :, 1:12] *= 2
    unit = left.mean(dim=(0, 1))[:, 0]
    unit = unit.clamp_min(0.01 * unit.mean())
    power = torch.fft.rfft(error, dim=2).abs() ** 2 / 24**2
    power[:, :, 1:12] *= 2
    expected = 0.5 * error.square().mean() + 0.5 * (power[..., 0] / unit).mean()
    torch.testing.assert_close(module.loss(batch), expected, rtol=1e-4, atol=1e-6)


def test_untrained_each_wave_that_the_data_hold_counts_about_one(tmp_path: Path) -> None:
    module = module_with_terms(tmp_path, spectral_share=1.0)
    torch.nn.init.zeros_(module.emulator.network.decoder[-1].weight)
    loss = float(module.loss(first_batch(module, size=len(module.windows))).detach())
    assert loss == pytest.approx(3 / 13, rel=0.02)  # of 13 waves the data hold three


def test_waves_of_a_masked_or_a_limited_field_are_refused(tmp_path: Path) -> None:
    with pytest.raises(MeshcastError, match=r"by degree on the whole sphere, but this is a .* resolve no harmonics"):
        WaveError(weather_fields().mesh, 1)


def test_training_with_waves_in_lowered_precision_gives_finite_gradients(tmp_path: Path) -> None:
    module = module_with_terms(tmp_path, spectral_share=0.5)
    batch = first_batch(module)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = module.loss(batch)
    loss.backward()
    assert all(torch.isfinite(weight.grad).all() for weight in module.emulator.parameters())


def test_terms_that_none_were_measured_for_are_the_plain_loss(tmp_path: Path) -> None:
    module = module_of(tmp_path, training={"noise": 0.0})
    batch = first_batch(module)
    forecast, truth = one_step(module, batch)
    scale = module.emulator.inputs.std * module.emulator.correction_std
    torch.testing.assert_close(module.loss(batch), ((forecast - truth) / scale).square().mean(), rtol=1e-5, atol=1e-7)
