"""One update, by hand: the loss over unrolled steps, the learning rate, the average of the weights, the score."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader

from emulator.data.forcing_sources import forcings_of
from emulator.data.forecast import Forecast
from emulator.networks.cnn import CNNConfig
from emulator.networks.gnn import GNNConfig
from emulator.neural import NeuralEmulator
from graphs.errors import MeshcastError
from inference.scores.verification import verify
from tests.emulator.worlds import WEATHER, fitted, weather_fields
from tests.training.worlds import PROCESSOR, experiment
from training.experiment import TrainingConfig, ValidationConfig
from training.optimisation.module import EmulatorModule
from training.optimisation.optimiser import warm_up_cosine
from training.optimisation.standstill import drawn_steps
from training.optimisation.validation import Validated, best_of, validation_forecast
from training.preparation.first_guess import initial_network
from training.preparation.prepared import prepare, windows_of
from training.preparation.windows import Windows


def module_of(tmp_path: Path, **settings) -> EmulatorModule:
    """A module ready to train, its decoder no longer zero."""
    config = experiment(tmp_path, **settings)
    prepared = prepare(config)
    windows, starts = windows_of(prepared)
    emulator, _ = initial_network(prepared, windows)
    torch.nn.init.normal_(emulator.network.decoder[-1].weight, std=0.1)
    return EmulatorModule(emulator, windows, starts, config.training, config.validation)


def first_batch(module: EmulatorModule, size: int = 4) -> dict[str, torch.Tensor]:
    return next(iter(DataLoader(module.windows, batch_size=size)))


def averaging(module: EmulatorModule, update: int) -> None:
    """What happens after an update, without a trainer."""
    module.trainer = SimpleNamespace(max_steps=10, global_step=update, should_stop=False)  # type: ignore[assignment]
    module.on_train_batch_end(None, {}, 0)


def validate(module: EmulatorModule) -> None:
    """A validation, without a trainer."""
    strategy = SimpleNamespace(reduce=lambda sums, reduce_op: sums)
    module.trainer = SimpleNamespace(strategy=strategy, global_step=0)  # type: ignore[assignment]
    module.log = lambda *args, **kwargs: None  # type: ignore[method-assign]
    with torch.no_grad():
        module.on_validation_epoch_start()
        for batch in DataLoader(module.validation_windows, batch_size=2):
            module.validation_step(batch, 0)
        module.on_validation_epoch_end()


def by_hand(emulator: NeuralEmulator, values: torch.Tensor, truth: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """One step written out: the next values, and their mean square error in units of what the guess leaves."""
    mean, std, scale = emulator.inputs.mean, emulator.inputs.std, emulator.correction_std
    now = (values - mean) / std
    following = (now + scale * emulator.network(now)) * std + mean
    return following, ((following - truth) / (std * scale)).square().mean()


def test_the_unrolled_loss_is_the_mean_of_both_steps(tmp_path: Path) -> None:
    module = module_of(tmp_path, training={"unroll": 2, "noise": 0.0})
    batch = first_batch(module)
    values = batch["values"]
    first, error_1 = by_hand(module.emulator, values[:, 0], values[:, 1])
    _, error_2 = by_hand(module.emulator, first, values[:, 2])
    torch.testing.assert_close(module.loss(batch), (error_1 + error_2) / 2, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", ["mse", "mae", "pseudo_huber"])
def test_training_and_validation_take_the_loss_that_is_chosen(tmp_path: Path, name: str) -> None:
    settings = {"updates": 1, "batch_size": 3, "noise": 0.0, "loss": name}
    module = module_of(tmp_path, training=settings, validation={"steps": 1, "cases": 3})
    function = {"mse": torch.square, "mae": torch.abs, "pseudo_huber": lambda e: torch.sqrt(1 + e**2) - 1}[name]
    module.averaged.load_state_dict(module.emulator.state_dict())
    for windows in (module.windows, module.validation_windows):
        batch = next(iter(DataLoader(windows, batch_size=3)))
        scale = module.emulator.inputs.std * module.emulator.correction_std
        following, _ = by_hand(module.emulator, batch["values"][:, 0], batch["values"][:, 1])
        expected = function((following.detach() - batch["values"][:, 1]) / scale).mean().item()
        if windows is module.windows:
            assert module.loss(batch).item() == pytest.approx(expected, rel=1e-5)
        else:
            validate(module)
            assert module.validated.loss == pytest.approx(expected, rel=1e-5)


def test_gradients_flow_through_all_unrolled_steps(tmp_path: Path) -> None:
    module = module_of(tmp_path, training={"unroll": 2, "noise": 0.0})
    batch = first_batch(module)
    module.loss(batch).backward()
    whole = module.emulator.network.encoder.weight.grad.clone()
    module.zero_grad()
    values = batch["values"]
    first, error_1 = by_hand(module.emulator, values[:, 0], values[:, 1])
    _, error_2 = by_hand(module.emulator, first, values[:, 2])
    ((error_1 + error_2) / 2).backward()
    torch.testing.assert_close(whole, module.emulator.network.encoder.weight.grad, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("steps", [1, 2, 3, 5])
def test_gradients_reach_back_through_so_many_steps_as_are_asked_for(tmp_path: Path, steps: int) -> None:
    module = module_of(tmp_path, training={"unroll": 3, "gradient_steps": steps, "noise": 0.0})
    batch = first_batch(module)
    loss = module.loss(batch)
    loss.backward()
    cut = module.emulator.network.encoder.weight.grad.clone()
    module.zero_grad()
    values, errors = batch["values"][:, 0], []
    for step in range(3):
        values = values.detach() if step % steps == 0 else values
        values, error = by_hand(module.emulator, values, batch["values"][:, step + 1])
        errors.append(error)
    torch.stack(errors).mean().backward()
    torch.testing.assert_close(loss.detach(), torch.stack(errors).mean().detach(), rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(cut, module.emulator.network.encoder.weight.grad, rtol=1e-4, atol=1e-6)
    module.zero_grad()
    whole = module_of(tmp_path, training={"unroll": 3, "noise": 0.0})
    whole.load_state_dict(module.state_dict())
    whole.loss(batch).backward()
    same = torch.allclose(cut, whole.emulator.network.encoder.weight.grad, rtol=1e-3, atol=1e-6)
    assert same == (steps >= 3)


def test_a_random_unroll_is_drawn_for_each_update_and_validation_has_the_longest(tmp_path: Path) -> None:
    module = module_of(tmp_path, training={"unroll": 3, "random_unroll": True, "noise": 0.0})
    batch = first_batch(module)
    for update in range(6):
        module.trainer = SimpleNamespace(global_step=update)  # type: ignore[assignment]
        errors, values = [], batch["values"][:, 0]
        for step in range(drawn_steps(0, update, 3)):
            values, error = by_hand(module.emulator, values, batch["values"][:, step + 1])
            errors.append(error)
        torch.testing.assert_close(module.loss(batch), torch.stack(errors).mean(), rtol=1e-5, atol=1e-6)
    assert {drawn_steps(0, update, 3) for update in range(6)} == {1, 2, 3}
    assert module.unroll == 3


def test_a_pushed_forward_loss_starts_from_the_networks_own_step_without_its_gradient(tmp_path: Path) -> None:
    module = module_of(tmp_path, training={"pushforward": 1, "noise": 0.0})
    batch = first_batch(module)
    values = batch["values"]
    loss = module.loss(batch)
    loss.backward()
    pushed = module.emulator.network.encoder.weight.grad.clone()
    first, _ = by_hand(module.emulator, values[:, 0], values[:, 1])
    losses, gradients = [], []
    for start in (first.detach(), first):
        module.zero_grad()
        _, error = by_hand(module.emulator, start, values[:, 2])
        error.backward(retain_graph=True)
        losses.append(error.detach())
        gradients.append(module.emulator.network.encoder.weight.grad.clone())
    torch.testing.assert_close(loss.detach(), losses[0], rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(pushed, gradients[0], rtol=1e-4, atol=1e-6)
    assert not torch.allclose(pushed, gradients[1], rtol=1e-2, atol=1e-4)  # a gradient through the push is another


def test_in_mixed_precision_a_pushed_forward_loss_keeps_its_gradient(tmp_path: Path) -> None:
    module = module_of(tmp_path, training={"pushforward": 1})
    batch = first_batch(module)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = module.loss(batch)
    loss.backward()
    assert all(weight.grad is not None for weight in module.emulator.parameters())


def test_a_curriculum_unrolls_further_in_its_last_updates(tmp_path: Path) -> None:
    curriculum = ((0.5, 1), (0.25, 2), (0.25, 3))
    module = module_of(tmp_path, training={"curriculum": curriculum, "noise": 0.0, "updates": 8})
    assert module.windows.steps == 3
    config = module.training_config
    assert [config.unroll_at(update) for update in range(9)] == [1, 1, 1, 1, 2, 2, 3, 3, 3]
    batch = first_batch(module)
    for update, unroll in ((0, 1), (5, 2), (7, 3)):
        module.trainer = SimpleNamespace(global_step=update)  # type: ignore[assignment]
        errors, values = [], batch["values"][:, 0]
        for step in range(unroll):
            values, error = by_hand(module.emulator, values, batch["values"][:, step + 1])
            errors.append(error)
        torch.testing.assert_close(module.loss(batch), torch.stack(errors).mean(), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("curriculum", [((0.5, 1),), ((0.5, 1), (0.5, 0)), ((1.5, 1), (-0.5, 2))])
def test_a_curriculum_that_is_no_whole_is_refused(curriculum: tuple[tuple[float, int], ...]) -> None:
    with pytest.raises(MeshcastError, match=r"training.curriculum lists .* but it is"):
        TrainingConfig(curriculum=curriculum)


def test_an_unroll_beside_a_curriculum_is_refused() -> None:
    with pytest.raises(MeshcastError, match=r"Remove one of the two"):
        TrainingConfig(unroll=2, curriculum=((1.0, 3),))


def test_nodes_without_weight_carry_no_loss_and_no_score(tmp_path: Path) -> None:
    module = module_of(tmp_path, training={"noise": 0.0})
    unweighted = module.emulator.node_weights.clone()
    for emulator in (module.emulator, module.averaged):
        emulator.node_weights[:6] = 0.0
    nn.init.zeros_(module.averaged.network.decoder[-1].weight)  # persistence, where no node hears of another
    batch = first_batch(module)
    inside = module.loss(batch).detach()
    validate(module)
    score = module.validated.score
    batch["values"][:, 1:, :6] += 100.0
    torch.testing.assert_close(module.loss(batch).detach(), inside)
    module.emulator.node_weights.copy_(unweighted)
    assert module.loss(batch) > 10 * inside
    module.validation_windows.fields.values[1:, :, :6] += 100.0
    validate(module)
    assert module.validated.score == score
    module.averaged.node_weights.copy_(unweighted)
    validate(module)
    assert module.validated.score > 10 * score


def test_noise_goes_on_the_input_and_not_on_the_target(tmp_path: Path) -> None:
    module = module_of(tmp_path, training={"noise": 0.5})
    batch = first_batch(module)
    noisy = batch["values"][:, 0] + 0.5 * batch["noise"][:, 0] * module.emulator.inputs.std
    _, error = by_hand(module.emulator, noisy, batch["values"][:, 1])
    torch.testing.assert_close(module.loss(batch), error, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("kind", ["white", "random_amplitude"])
def test_untrained_on_its_noise_the_loss_is_one(tmp_path: Path, kind: str) -> None:
    """What the first guess leaves, noise included, is the unit of the loss."""
    module = module_of(tmp_path, training={"noise": 0.3, "noise_kind": kind})
    torch.nn.init.zeros_(module.emulator.network.decoder[-1].weight)
    loss = module.loss(first_batch(module, size=len(module.windows))).detach()
    assert abs(float(loss) - 1.0) < 0.1


def test_masked_nodes_carry_no_loss_and_leave_gradients_finite() -> None:
    fields = weather_fields()
    emulator = fitted(WEATHER, fields).requires_grad_(True)
    windows = Windows(fields, WEATHER, 2, forcings_of(WEATHER, fields.mesh, fields), noise="white")
    module = EmulatorModule(emulator, windows, windows, TrainingConfig(unroll=2), ValidationConfig())
    batch = next(iter(DataLoader(windows, batch_size=2)))
    # A node that the truth loses on the way, as sea ice would have it, next to those it never had.
    batch["values"][:, 2:, 0, 1] = math.nan
    loss = module.loss(batch)
    loss.backward()
    assert torch.isfinite(loss)
    assert all(torch.isfinite(weight.grad).all() for weight in emulator.parameters())


def test_the_learning_rate_rises_linearly_then_falls_as_a_cosine() -> None:
    rates = [warm_up_cosine(update, warm_up=4, updates=12) for update in range(13)]
    assert rates[:4] == [0.25, 0.5, 0.75, 1.0]
    assert rates[4] == 1.0
    assert rates[8] == pytest.approx(0.5)
    assert rates[10] == pytest.approx(0.5 * (1 + math.cos(math.pi * 0.75)))
    assert rates[12] == pytest.approx(0.0, abs=1e-15)


def test_without_warm_up_the_rate_starts_at_its_peak() -> None:
    assert warm_up_cosine(0, warm_up=0, updates=10) == 1.0
    assert warm_up_cosine(3, warm_up=5, updates=2) == 0.8  # a run shorter than its warm-up only rises


def test_the_average_of_two_updates_by_hand(tmp_path: Path) -> None:
    module = module_of(tmp_path, training={"ema_decay": 0.15})
    weight, average = module.emulator.network.encoder.weight, module.averaged.network.encoder.weight
    before = weight.detach().clone()
    values = []
    for update in (1, 2):
        with torch.no_grad():
            weight.add_(update)
        values.append(weight.detach().clone())
        averaging(module, update)
    decay = [min(0.15, 2 / 11), min(0.15, 3 / 12)]
    expected = decay[0] * before + (1 - decay[0]) * values[0]
    expected = decay[1] * expected + (1 - decay[1]) * values[1]
    torch.testing.assert_close(average.detach(), expected)


def test_the_average_starts_short(tmp_path: Path) -> None:
    module = module_of(tmp_path, training={"ema_decay": 0.99})
    weight, average = module.emulator.network.encoder.weight, module.averaged.network.encoder.weight
    before = weight.detach().clone()
    with torch.no_grad():
        weight.add_(1.0)
    averaging(module, 1)
    torch.testing.assert_close(average.detach(), before + (1 - 2 / 11))


def test_the_average_of_the_last_updates_by_hand(tmp_path: Path) -> None:
    module = module_of(tmp_path, training={"updates": 5, "average_last": 0.6})
    assert module.mean is not None
    weight, mean = module.emulator.network.encoder.weight, module.mean.network.encoder.weight
    values, generator = [], torch.Generator().manual_seed(0)
    for update in range(1, 6):
        with torch.no_grad():
            weight.copy_(torch.randn(weight.shape, generator=generator))
        values.append(weight.detach().clone())
        averaging(module, update)
        if update < 3:
            assert list(module.candidates) == ["moving average"]
        else:
            torch.testing.assert_close(mean.detach(), torch.stack(values[2:]).mean(dim=0))
            assert module.candidates["average of the last"] is module.mean
            assert module.candidates["last"] is module.emulator


def test_by_default_no_further_average_is_held(tmp_path: Path) -> None:
    module = module_of(tmp_path)
    assert module.mean is None and not any(name.startswith("mean") for name in module.state_dict())


def test_of_several_averages_the_one_with_the_lowest_rank_is_validated() -> None:
    found = {
        "moving average": Validated(0.3, 0.0, 2),
        "average of the last": Validated(0.1, 0.0, 2, lived=5.0, long_steps=10),  # its rollouts die
        "last": Validated(0.2, 0.0, 2, lived=10.0, long_steps=10),
    }
    best = best_of(found)
    assert (best.weights, best.score) == ("last", 0.2)
    assert best.scores == {"moving average": 0.3, "average of the last": 0.1, "last": 0.2}
    alone = best_of({"moving average": found["moving average"]})
    assert alone == found["moving average"] and alone.scores == {}


@pytest.mark.parametrize("score", ["rmse", "nrmse"])
def test_validation_is_what_verify_says_of_the_same_forecasts(tmp_path: Path, score: str) -> None:
    module = module_of(tmp_path, validation={"score": score, "steps": 4, "cases": 5})
    starts = module.validation_windows
    validate(module)
    with torch.no_grad():
        everything = next(iter(DataLoader(starts, batch_size=len(starts))))
        values = torch.stack(
            list(validation_forecast(module.averaged, module.validation_windows, everything)), dim=2
        ).numpy()
    assert module.validated.cases == len(starts) == 5

    forecast = Forecast(
        name="network",
        values=values,
        variables=("u",),
        units=("1",),
        mesh=starts.fields.mesh,
        time_step=starts.fields.time_step,
        init_time=everything["valid_time"].numpy(),
        trajectory=starts.pairs[:, 0],
        lead_steps=torch.arange(1, 5).numpy(),
    )
    scores = verify([forecast], starts.fields, spectra=False).emulators[0]
    if score == "nrmse":
        errors = scores.values["nrmse"].mean(axis=0)
    else:
        errors = scores.case_values("rmse").mean(axis=0) / float(module.emulator.inputs.std)
    assert module.validated.score == pytest.approx(math.exp(float(torch.tensor(errors).log().mean())), rel=1e-6)


def test_a_forecast_that_fails_scores_worst(tmp_path: Path) -> None:
    module = module_of(tmp_path)
    torch.nn.init.constant_(module.averaged.network.decoder[-1].bias, math.nan)
    validate(module)
    assert module.validated.score == math.inf


def test_node_statistics_follow_the_tasks_own_statics(tmp_path: Path) -> None:
    config = experiment(tmp_path, emulator=GNNConfig(processor=PROCESSOR, node_statistics=True))
    config = replace(config, task=replace(config.task, static=("sin_longitude",)))
    prepared = prepare(config)
    emulator, _ = initial_network(prepared, windows_of(prepared)[0])
    statics = emulator.inputs.statics
    assert statics.shape == (24, 4)
    torch.testing.assert_close(statics.mean(dim=0), torch.zeros(4), atol=1e-5, rtol=0)
    longitude = torch.sin(2 * math.pi * torch.arange(24) / 24)
    torch.testing.assert_close(statics[:, 0], longitude / longitude.std(correction=0), atol=1e-5, rtol=0)


@pytest.mark.parametrize("how", ["layers", "steps", "both"])
def test_computing_activations_again_changes_no_gradient(tmp_path: Path, how: str) -> None:
    found = []
    for activations in ("none", how):
        settings = {"unroll": 3, "pushforward": 1, "checkpoint_activations": activations}
        module = module_of(tmp_path, training=settings)
        torch.manual_seed(1)
        torch.nn.init.normal_(module.emulator.network.decoder[-1].weight, std=0.1)
        loss = module.loss(first_batch(module))
        loss.backward()
        found.append((loss.detach(), [weight.grad for weight in module.emulator.parameters()]))
    (loss, gradients), (same_loss, same_gradients) = found
    assert torch.equal(loss, same_loss) and all(map(torch.equal, gradients, same_gradients))


def test_of_a_rollout_one_step_is_kept_at_a_time(tmp_path: Path) -> None:
    kept = {}
    for activations, unroll in (("none", 1), ("none", 4), ("steps", 4)):
        module = module_of(tmp_path, training={"unroll": unroll, "checkpoint_activations": activations})
        calls: list[torch.Tensor] = []
        with torch.autograd.graph.saved_tensors_hooks(lambda t, calls=calls: calls.append(t) or t, lambda t: t):
            module.loss(first_batch(module))
        kept[activations, unroll] = sum(tensor.numel() for tensor in calls)
    assert kept["steps", 4] < 1.2 * kept["none", 1] < 0.4 * kept["none", 4]


def test_rounds_are_computed_again_by_networks_that_have_rounds(tmp_path: Path) -> None:
    with pytest.raises(MeshcastError, match=r"checkpoint_activations=layers .* of kind cnn\. Set it to steps"):
        experiment(tmp_path, emulator=CNNConfig(), training={"checkpoint_activations": "layers"})
