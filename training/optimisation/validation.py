"""The score that selects: of a forecast from the validation starts, as verification has it, and nothing else."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from emulator.build import save_emulator
from emulator.emulator_config import EmulatorConfig
from emulator.neural import NeuralEmulator
from emulator.protocol import rollout
from emulator.scores import ROUNDING, mse, nrmse
from training.preparation.loss_terms import LossTerms
from training.preparation.prepared import Prepared
from training.preparation.windows import Batch, Windows

# the weights that a validation may score
MOVING_AVERAGE, AVERAGE, LAST = "moving average", "average of the last", "last"


@dataclass(frozen=True)
class Validated:
    """What one validation finds.

    score: lower is better; infinite where a forecast is not finite.
    loss: without noise, over as many steps as the training's.
    cases: forecasts that were scored.
    lived: steps that a long rollout lasted, of `long_steps`; NaN without one.
    weights: which were scored, where several were: the best by `rank`; scores: of each.
    """

    score: float
    loss: float
    cases: int
    lived: float = math.nan
    long_steps: int = 0
    weights: str = MOVING_AVERAGE
    scores: Mapping[str, float] = field(default_factory=dict)

    @property
    def rank(self) -> float:
        """Return what a checkpoint is chosen by: the score, larger where a long rollout was stopped, the more the
        earlier."""
        if not self.lived < self.long_steps:
            return self.score
        return self.score * 2 * self.long_steps / max(self.lived, 1.0)


def rank_of(metadata: Mapping[str, Any]) -> float | None:
    """Return what the emulator of a checkpoint was chosen by, from its metadata; None without a finite score."""
    score, rollout = metadata.get("validation_score"), metadata.get("long_rollout")
    if score is None or not rollout:
        return score
    return Validated(score, math.nan, 0, lived=rollout["lived"], long_steps=rollout["steps"]).rank


def best_of(found: Mapping[str, Validated]) -> Validated:
    """Return the result of the best weights, by their names, the first of equals; with the scores of all."""
    name = min(found, key=lambda name: found[name].rank)
    scores = {each: result.score for each, result in found.items()} if len(found) > 1 else {}
    return replace(found[name], weights=name, scores=scores)


@dataclass
class Best:
    """The best checkpoint so far.

    rank: of it. still: it is the untrained network on persistence, whose forecasts last for ever since nothing moves.
    """

    rank: float = math.inf
    still: bool = False

    def gives_way_to(self, found: Validated, emulator: NeuralEmulator, update: int) -> bool:
        """Return whether an emulator is kept in place of the best so far, and take note of it.

        The untrained one, before update 1, counts too: where its first guess is best, it is kept. While none had a
        finite score the newest is.
        """
        if not ((found.score if self.still else found.rank) < self.rank or not math.isfinite(self.rank)):
            return False
        self.still = update == 0 and emulator.first_guess is None
        self.rank = found.score if self.still else found.rank
        return True


def error_sums(
    emulator: NeuralEmulator,
    windows: Windows,
    batch: Batch,
    score: Literal["nrmse", "rmse"],
    terms: LossTerms,
    loss_steps: int,
) -> Tensor:
    """Return sums [lead · variable + 2] over the cases of a batch, to be added over batches and processes.

    The errors of each lead time and prognostic variable, then the loss of the first `loss_steps`, then the cases.
    """
    count = len(emulator.task.prognostic)
    forecast = torch.stack(list(validation_forecast(emulator, windows, batch)), dim=2).double()
    forecast = forecast.mean(1)  # [case, lead, node, variable]
    truth = batch["values"][:, emulator.task.history :, :, :count].double()
    areas, inputs = emulator.node_weights[..., :count].double(), emulator.inputs
    errors = case_errors(forecast, truth, areas, inputs.score_std[:count], score)
    early = (inputs.transforms(fields[:, :loss_steps]) for fields in (forecast, truth))
    losses = terms(emulator, *early).mean(dim=(1, 2))  # [case]
    return torch.cat([errors.sum(dim=0).reshape(-1), losses.sum()[None], errors.new_tensor([len(errors)])])


def case_errors(forecast: Tensor, truth: Tensor, areas: Tensor, std: Tensor, score: Literal["nrmse", "rmse"]) -> Tensor:
    """Return errors [case, lead, variable] of fields [case, lead, node, variable]; rmse in units of std [variable]."""
    return mse(forecast, truth, areas).sqrt() / std.double() if score == "rmse" else nrmse(forecast, truth, areas)


def validated(sums: Tensor) -> Validated:
    """Return the score, averaged over cases, and geometrically over lead times and variables, so that each counts."""
    means = sums[:-1] / sums[-1]
    return Validated(geometric_mean(means[:-1]), float(means[-1]), int(sums[-1]))


def geometric_mean(errors: Tensor) -> float:
    """Return the score of errors [lead · variable], each averaged over cases; infinite where one is not finite."""
    score = errors.clamp_min(ROUNDING).log().mean().exp()
    return float(score) if torch.isfinite(score) else math.inf


def save_best(
    prepared: Prepared, config: EmulatorConfig, folder: Path, emulator: NeuralEmulator, found: Validated, update: int
) -> None:
    """Write the emulator of a run folder; `config` is its own, the first guess resolved."""
    outcome: dict[str, Any] = {
        "validation_score": found.score if math.isfinite(found.score) else None,
        "update": update,
    }
    if found.scores:
        scores = {name: score if math.isfinite(score) else None for name, score in found.scores.items()}
        outcome |= {"weights": found.weights, "scores_of_weights": scores}
    if found.long_steps:
        outcome["long_rollout"] = {"steps": found.long_steps, "lived": found.lived}
    save_emulator(folder / "emulator.safetensors", prepared.trained(emulator, config, **outcome))


def validation_forecast(emulator: NeuralEmulator, windows: Windows, batch: Batch) -> Iterator[Tensor]:
    """The prognostic fields [case, member, node, variable] at each lead time."""
    state, forcings = windows.start_of(batch)
    for following, _ in rollout(emulator, state, forcings, windows.steps):
        yield following.now
