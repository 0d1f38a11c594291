"""Transforms: what a network sees of rain is near a normal distribution, what leaves an emulator is rain."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from emulator.baselines.first_guess import SolverGuess
from emulator.baselines.forced_response import PatternScalingConfig
from emulator.baselines.linear_inverse import LinearInverseConfig
from emulator.baselines.ridge import RidgeConfig
from emulator.between import Between, BetweenConfig
from emulator.build import TrainedEmulator, build_network, load_emulator, save_emulator
from emulator.data.arrays import ArrayFields
from emulator.features.departures import DeparturesConfig, build_inputs
from emulator.features.transforms import Transforms
from emulator.foundation.scaling import Log1p, Normaliser, Quantile, Sqrt, Transform
from emulator.networks.gnn import GNNConfig
from emulator.networks.keras_networks.keras_models import KerasCNNConfig
from emulator.state import predicted_fields
from emulator.task import Task, Variable
from emulator.training_part import TrainingPart
from graphs.errors import MeshcastError
from tests.emulator.worlds import HOUR, SMALL, fitted, starting_from, weather_fields

KINDS = [Log1p(), Log1p(scale=1e-3), Sqrt(), Quantile()]
RAIN = np.random.default_rng(0).gamma(0.4, 3e-3, 20_000) * (np.random.default_rng(1).random(20_000) > 0.6)


def rainy_fields(**changes: object) -> ArrayFields:
    """Hourly weather whose tp is zero at half of all places and times."""
    fields = weather_fields()
    fields.values[..., 2] = np.where(fields.values[..., 2] < 6e-4, 0.0, fields.values[..., 2])
    return replace(fields, **changes)


def task(transform: Transform | None, normaliser: Normaliser = "mean_std", role: str = "prognostic", **more) -> Task:
    rain = Variable("tp", role, "m", bounds=(0.0, None), transform=transform, normaliser=normaliser, **more)
    return Task((Variable("2t", "prognostic", "K"), rain), HOUR, history=2)


def one(transform: Transform, values: np.ndarray) -> Transforms:
    found = Transforms((Variable("tp", "prognostic", transform=transform),))
    found.fit({0: values})
    return found


@pytest.mark.parametrize("transform", KINDS, ids=str)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_what_is_undone_is_what_was(transform, dtype):
    found = one(transform, RAIN).to(dtype)
    values = torch.tensor([0.0, 1e-7, 1e-4, 3e-3, float(RAIN.max()), 2 * float(RAIN.max()), torch.nan], dtype=dtype)
    seen = found(values[:, None])
    assert (seen[:-1].diff(dim=0) > 0).all() and seen[-1].isnan()
    tolerance = 1e-9 if dtype == torch.float64 else 3e-7  # metres of rain
    torch.testing.assert_close(found.inverse(seen)[:, 0], values, rtol=1e-5, atol=tolerance, equal_nan=True)
    assert found.inverse(seen)[0] == 0 and found.inverse(torch.tensor([[-30.0]], dtype=dtype)) == 0


def test_a_quantile_transform_gives_normal_deviates_and_gives_them_back_as_rain():
    found = one(Quantile(), RAIN)
    dry = float(np.mean(RAIN == 0))
    seen = found(torch.from_numpy(RAIN)[:, None])[:, 0].numpy()
    normal = torch.distributions.Normal(0.0, 1.0)
    wet = np.sort(seen[RAIN > 0])
    expected = normal.icdf(dry + (1 - dry) * (torch.arange(len(wet)) + 0.5) / len(wet)).numpy()
    assert np.abs(wet - expected)[20:-20].max() < 0.02
    assert np.unique(seen[RAIN == 0]) == pytest.approx(normal.icdf(torch.tensor(dry / 2)).item(), abs=1e-6)
    drawn = found.inverse(torch.randn(200_000, 1, dtype=torch.float64, generator=torch.Generator().manual_seed(0)))
    assert float((drawn == 0).double().mean()) == pytest.approx(dry, abs=0.005)
    shares = [0.7, 0.9, 0.99, 0.999]
    assert np.quantile(drawn.numpy(), shares) == pytest.approx(np.quantile(RAIN, shares), rel=0.05)


def test_values_repeated_within_a_distribution_are_still_told_apart_from_others():
    values = np.concatenate([np.zeros(500), np.full(400, 300.0), 300 + np.linspace(0, 1e-3, 100)])
    found = one(Quantile(), values).float()
    seen = found(torch.tensor([[0.0], [300.0], [300.001]]))
    assert seen.isfinite().all() and (seen.diff(dim=0) > 0).all()


@pytest.mark.parametrize("transform", [None, *KINDS], ids=str)
@pytest.mark.parametrize("normaliser", ["mean_std", "max", "min_max", "robust", "unscaled"])
@pytest.mark.parametrize("departures", [None, DeparturesConfig("hour", recent=1)], ids=["states", "departures"])
def test_the_truth_as_a_target_comes_back_as_the_truth(transform, normaliser, departures):
    fields = rainy_fields()
    asked = task(transform, normaliser)
    if departures is not None and normaliser != "mean_std":
        with pytest.raises(MeshcastError, match=r"task\.normalisers or task\.imputation names tp"):
            build_inputs(departures, asked, fields.mesh)
        return
    inputs = build_inputs(departures, asked, fields.mesh)
    inputs.take(TrainingPart(fields))
    state = starting_from(fields, asked, [30, 40])
    truth = torch.from_numpy(fields.read(np.array([32, 42]), ("2t", "tp")))  # [batch, member, node, predicted]
    target = inputs.targets(state, truth.flatten(0, 1))
    following, _ = inputs.advance(state, target)
    torch.testing.assert_close(following.now, truth, rtol=1e-5, atol=1e-8)
    compared, seen = inputs.compared((following, None), truth)
    torch.testing.assert_close(compared.to(seen.dtype), seen, rtol=1e-5, atol=1e-5)


def test_normalisers_give_what_they_are_called_after():
    fields = rainy_fields()
    rain = fields.values[..., 2].astype(np.float64)
    quartiles = np.quantile(rain, [0.25, 0.5, 0.75])
    expected = {
        "mean_std": (rain.mean(), rain.std()),
        "max": (0.0, rain.max()),
        "min_max": (0.0, rain.max()),
        "robust": (quartiles[1], (quartiles[2] - quartiles[0]) / 1.3489795),
        "unscaled": (0.0, 1.0),
    }
    for normaliser, scales in expected.items():
        inputs = build_inputs(None, task(None, normaliser), fields.mesh)
        inputs.take(TrainingPart(fields))
        assert (inputs.mean[1].item(), inputs.std[1].item()) == pytest.approx(scales, rel=1e-6), normaliser
        for sizes in (inputs.noise_std, inputs.score_std):
            assert sizes[1].item() == pytest.approx(rain.std(), rel=1e-6)
        seen = inputs.fields(starting_from(fields, inputs.task, [0]))
        plain = (torch.from_numpy(fields.values[1, 0, :, 2]).double() - scales[0]) / scales[1]
        torch.testing.assert_close(seen[0, :, 3], plain, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("transform", KINDS, ids=str)
def test_a_prediction_below_the_lowest_value_still_learns(transform):
    """A dry place where it rains next: the emulator's rain is zero, and its loss must still say that it should rise."""
    fields = rainy_fields()
    emulator = fitted(task(transform), fields).requires_grad_(True)
    emulator.network.decoder[-1].bias.data[1] = -50.0  # far below what is dry
    state = starting_from(fields, emulator.task, [30])
    step = emulator.step(state, torch.zeros(1, 3, fields.mesh.num_nodes, 0))
    assert (step[0].now[..., 1] == 0).all()
    predicted, truth = emulator.inputs.compared(step, torch.full_like(predicted_fields(step), 280.0))
    (truth[..., 1] - predicted[..., 1]).square().mean().backward()
    gradient = emulator.network.decoder[-1].bias.grad[1]
    assert gradient.isfinite() and gradient < 0


@pytest.mark.parametrize("transform", KINDS, ids=str)
def test_gradients_through_a_dry_state_are_numbers(transform):
    fields = rainy_fields()
    emulator = fitted(task(transform), fields).requires_grad_(True)
    state = starting_from(fields, emulator.task, [30])
    for _ in range(3):
        state, _ = emulator.step(state, torch.zeros(1, 3, fields.mesh.num_nodes, 0))
    state.transformed.square().mean().backward()
    assert all(weight.grad is None or weight.grad.isfinite().all() for weight in emulator.parameters())


def test_noise_is_added_to_what_a_network_sees_so_that_rain_stays_rain():
    fields = rainy_fields()
    inputs = build_inputs(None, task(Quantile()), fields.mesh)
    inputs.take(TrainingPart(fields))
    values = torch.from_numpy(fields.values[:, :, :, [0, 2]])
    noise = torch.randn(values.shape, generator=torch.Generator().manual_seed(0))
    shaken = inputs.noisy(values, 0.1 * noise)
    assert (shaken[..., 1] >= 0).all() and not torch.equal(shaken[..., 1], values[..., 1])
    change = inputs.transforms(shaken.double()) - inputs.transforms(values.double())
    wet = values[..., 1] > 1e-3
    assert float(change[..., 1][wet].std() / inputs.noise_std[1]) == pytest.approx(0.1, rel=0.1)


def test_a_checkpoint_holds_the_transforms(tmp_path: Path):
    fields = rainy_fields()
    for transform in KINDS:
        emulator = fitted(task(transform, "robust"), fields)
        part = TrainingPart(fields)
        config = GNNConfig(processor=SMALL)
        save_emulator(
            tmp_path / "e.safetensors", TrainedEmulator("e", emulator, config, part.statistics(emulator.task))
        )
        again = load_emulator(tmp_path / "e.safetensors").emulator
        assert again.task == emulator.task
        state, forcing = starting_from(fields, emulator.task, [30]), torch.zeros(1, 3, fields.mesh.num_nodes, 0)
        assert torch.equal(again.step(state, forcing)[0].now, emulator.step(state, forcing)[0].now)


def test_ridge_regression_regresses_what_is_transformed():
    fields, forcing = rainy_fields(), torch.zeros(1, 3, 24, 0)
    config = RidgeConfig(radii=(0,), penalties=(1e-6,))
    plain, seen = (config.fit(task(transform), TrainingPart(fields)) for transform in (None, Quantile()))
    state = starting_from(fields, plain.task, [30])
    rain = [emulator.step(state, forcing)[0].now[..., 1] for emulator in (plain, seen)]
    assert (rain[0] > 0).all() and (rain[1] >= 0).all() and not torch.allclose(*rain)


def test_area_means_are_kept_beside_a_transform():
    fields = rainy_fields()
    emulator = fitted(task(Sqrt(), conserved=True), fields)
    state = starting_from(fields, emulator.task, [30])
    following, _ = emulator.step(state, torch.zeros(1, 3, fields.mesh.num_nodes, 0))
    areas = torch.from_numpy(fields.mesh.areas)
    means = [(now[..., 1].double() * areas).sum() for now in (state.now, following.now)]
    assert means[1].item() == pytest.approx(means[0].item(), rel=1e-6) and (following.now[..., 1] >= 0).all()


@pytest.mark.parametrize(
    ("values", "transform", "message"),
    [
        (RAIN - 1e-3, Log1p(), r"task\.transforms: log1p is for values from zero up, but tp is as low as -0\.001"),
        (RAIN - 1e-3, Sqrt(), r"sqrt is for values from zero up"),
        (np.full(100, 2.5), Quantile(), r"tp is 2\.5 at all of 100 values .* a constant has no quantiles"),
        (np.empty(0), Quantile(), r"no quantiles"),
    ],
)
def test_values_that_a_transform_is_not_for_are_refused(values, transform, message):
    with pytest.raises(MeshcastError, match=message):
        one(transform, values)


def test_what_packing_leaves_below_zero_is_zero():
    values = RAIN - 1e-9
    for transform in KINDS:
        found = one(transform, values)
        assert found.inverse(found(torch.tensor([[-1e-9]], dtype=torch.float64))) == pytest.approx(0.0, abs=1e-12)


def test_what_works_on_the_values_themselves_is_refused_by_name():
    fields = rainy_fields()
    asked, mesh = task(Sqrt()), fields.mesh
    built = [
        (GNNConfig(first_guess=SolverGuess()), r"The solver of first_guess works on the values.* names tp"),
        (
            GNNConfig(first_guess=LinearInverseConfig(period="hour"), departures=DeparturesConfig("hour")),
            r"The first guess linear_inverse",
        ),
        (GNNConfig(first_guess=PatternScalingConfig()), r"The first guess pattern_scaling"),
        (GNNConfig(conserving="flux"), r"flux form"),
        (KerasCNNConfig(), r"A network of kind keras_cnn"),
    ]
    for config, message in built:
        with pytest.raises(MeshcastError, match=message):
            build_network(config, asked, mesh, 0)
    with pytest.raises(MeshcastError, match="between steps"):
        Between(BetweenConfig(), fitted(asked, fields), 1)


def test_statics_vectors_and_unknown_scales_are_refused():
    with pytest.raises(MeshcastError, match=r"task\.transforms names lsm, which is static"):
        Variable("lsm", "static", transform=Sqrt())
    with pytest.raises(MeshcastError, match=r"task\.imputation names tp, which is diagnostic"):
        Variable("tp", "diagnostic", imputation="nearest")
    with pytest.raises(MeshcastError, match=r"v is the component of a vector"):
        Task((Variable("u", "prognostic", partner="v"), Variable("v", "prognostic", transform=Sqrt())), HOUR)
    with pytest.raises(MeshcastError, match=r"scale of log1p must be positive"):
        Log1p(scale=0.0)
