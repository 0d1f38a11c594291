"""The losses: by hand, alike in PyTorch and TensorFlow, chosen by name, and one from outside the package."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch

from emulator.plugins import load_plugins
from emulator.protocol import rollout
from graphs.errors import MeshcastError
from tests.training.optimisation.test_module import first_batch, module_of
from training.experiment import TrainingConfig
from training.losses import LOSSES, find_loss
from training.preparation.windows import noisy

PLUGIN = Path(__file__).resolve().parent.parent / "plugins" / "quantile_loss.py"
ERRORS = [-2.0, 0.0, 0.5, 1.0]
BY_HAND = {
    "mse": ([4.0, 0.0, 0.25, 1.0], [-4.0, 0.0, 1.0, 2.0]),
    "mae": ([2.0, 0.0, 0.5, 1.0], [-1.0, 0.0, 1.0, 1.0]),
    "huber": ([1.5, 0.0, 0.125, 0.5], [-1.0, 0.0, 0.5, 1.0]),
    "crps": ([2.0, 0.0, 0.5, 1.0], [-1.0, 0.0, 1.0, 1.0]),
    "pseudo_huber": (
        [math.sqrt(5) - 1, 0.0, math.sqrt(1.25) - 1, math.sqrt(2) - 1],
        [-2 / math.sqrt(5), 0.0, 0.5 / math.sqrt(1.25), 1 / math.sqrt(2)],
    ),
}


def test_every_loss_is_written_out_by_hand() -> None:
    ours = {name for name, loss in LOSSES.items() if loss.__module__ == "training.losses"}
    assert BY_HAND.keys() == ours


@pytest.mark.parametrize("name", BY_HAND)
def test_values_and_gradients_in_torch_by_hand(name: str) -> None:
    error = torch.tensor(ERRORS, requires_grad=True)
    values = find_loss(name)(error)
    values.sum().backward()
    torch.testing.assert_close(values.detach(), torch.tensor(BY_HAND[name][0]))
    torch.testing.assert_close(error.grad, torch.tensor(BY_HAND[name][1]))


@pytest.mark.slow
@pytest.mark.parametrize("name", BY_HAND)
def test_values_and_gradients_in_tensorflow_by_hand(name: str) -> None:
    tf = pytest.importorskip("tensorflow", reason="TensorFlow is absent: pip install 'meshcast[tensorflow]'")
    error = tf.constant(ERRORS)
    with tf.GradientTape() as tape:
        tape.watch(error)
        values = find_loss(name)(error)
    assert values.numpy().tolist() == pytest.approx(BY_HAND[name][0], abs=1e-6)
    assert tape.gradient(values, error).numpy().tolist() == pytest.approx(BY_HAND[name][1], abs=1e-6)


def test_an_unknown_loss_is_refused_with_the_nearest() -> None:
    with pytest.raises(MeshcastError, match=r"is 'hubber'; did you mean huber\?.* --plugin"):
        TrainingConfig(loss="hubber")


def test_a_loss_from_outside_the_package_trains_its_quantile(tmp_path: Path) -> None:
    load_plugins([PLUGIN])
    values = find_loss("upper_decile")(torch.tensor(ERRORS))
    torch.testing.assert_close(values, torch.tensor([1.8, 0.0, 0.05, 0.1]))
    module = module_of(tmp_path, training={"loss": "upper_decile", "noise": 1.0})
    optimiser = torch.optim.Adam(module.emulator.parameters(), 1e-2)
    batch = first_batch(module, size=len(module.windows))
    for _ in range(150):
        optimiser.zero_grad()
        module.loss(batch).backward()
        optimiser.step()
    state, forcings = module.windows.start_of(batch)
    state = noisy(state, batch, 1.0, module.emulator.inputs)
    forecast = next(iter(rollout(module.emulator, state, forcings, 1)))[0].now
    below = (batch["values"][:, None, 1] < forecast).float().mean()
    assert below.item() == pytest.approx(0.9, abs=0.03)
