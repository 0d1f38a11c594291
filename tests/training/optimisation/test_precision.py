"""What a training computes in the precision that is asked for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from emulator.networks.gnn import EncodeProcessDecode
from tests.training.worlds import experiment
from training.optimisation.module import EmulatorModule
from training.runs.fit import fit


@pytest.mark.parametrize(
    ("precision", "of_products", "of_the_rest"),
    [("64-true", torch.float64, torch.float64), ("bf16-mixed", torch.bfloat16, torch.float32)],
)
def test_a_training_runs_in_its_precision_and_leaves_an_emulator_in_single(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    precision: str,
    of_products: torch.dtype,
    of_the_rest: torch.dtype,
) -> None:
    losses, weights, outputs = set(), set(), set()
    loss, forward = EmulatorModule.loss, EncodeProcessDecode.forward

    def watched_loss(self: EmulatorModule, batch: Any) -> torch.Tensor:
        outputs.clear()
        found = loss(self, batch)
        assert outputs == {of_products}
        losses.add(found.dtype)
        weights.update(weight.dtype for weight in self.emulator.parameters())
        return found

    def watched_forward(self: EncodeProcessDecode, features: torch.Tensor) -> torch.Tensor:
        found = forward(self, features)
        outputs.add(found.dtype)
        return found

    monkeypatch.setattr(EmulatorModule, "loss", watched_loss)
    monkeypatch.setattr(EncodeProcessDecode, "forward", watched_forward)
    trained = fit(experiment(tmp_path, training={"precision": precision, "updates": 4}), progress=False)
    assert losses == weights == {of_the_rest}
    stored = {value.dtype for value in trained.emulator.network.parameters()}
    assert stored == {torch.float32}
