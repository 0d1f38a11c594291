"""Closed forms beside a trained network: what takes seconds to fit is what minutes of training have to beat."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader

from emulator.baselines.baseline import BaselineConfig
from emulator.baselines.linear_inverse import LinearInverseConfig
from emulator.neural import NeuralEmulator
from emulator.protocol import Emulator, rollout
from emulator.training_part import TrainingPart
from graphs.errors import MeshcastError
from training.json_file import read_json, write_json
from training.optimisation.validation import case_errors, geometric_mean
from training.preparation.prepared import Prepared
from training.preparation.windows import Batch, Windows
from training.runs.verify import period_of, reference_configs

FILE = "closed_forms.json"
INVERSE = "linear_inverse"
ADVICE = (
    "Forecast with the closed form, or let the network correct one, as the configuration enso does by "
    "emulator.first_guess={kind: linear_inverse}; or train longer, on more data."
)
ADVICE_OF_CORRECTION = (
    "It corrects a linear inverse model already: forecast with the best closed form itself (emulator={kind: ...}), or "
    "train on more data."
)
CHEAP = ("persistence", "climatology", "anomaly persistence", "damped anomaly")  # of the references of `verify`
MOST_VALUES = 100_000_000  # of training data that a closed form is fitted on: a second or so for each pass
MOST_IN_MEMORY = 20_000_000  # of them for a linear inverse model, which holds its anomalies in memory
LONG = 500  # times that one row should have before there are several
MOST_STATES = 2_000  # a linear inverse model decomposes as many rows, or the columns where they are fewer


def score_closed_forms(prepared: Prepared, starts: Windows, emulator: NeuralEmulator, folder: Path) -> None:
    """Write how closed forms, fitted on the training part, do on a network's validation: same starts, leads and score.

    Of a long training part they are fitted on the last dates alone. What cannot be fitted or has no finite score stands
    under `left_out`, with the reason. Nothing about the network or the training changes.
    """
    scores, left_out = closed_form_scores(prepared, starts, emulator)
    guess = getattr(getattr(prepared.config.emulator, "first_guess", None), "kind", None)
    score = prepared.config.validation.score
    content = {"score": score, "closed_forms": scores, "left_out": left_out, "first_guess": guess}
    write_json(folder / FILE, content)


def closed_form_scores(
    prepared: Prepared, starts: Windows, emulator: NeuralEmulator
) -> tuple[dict[str, float], dict[str, str]]:
    """Return the scores of closed forms by name, and why others have none, computed once for runs that share them."""
    validation = prepared.config.validation
    scale = emulator.inputs.score_std.tolist()  # with departures it differs from that of other networks on these data
    key = ["closed forms", validation.steps, validation.cases, validation.score, scale]
    return prepared.once(key, lambda: _scores(prepared, starts, emulator))


def beside_closed_forms(folder: Path, score: float | None) -> tuple[dict[str, Any], str]:
    """Return what a run folder says of closed forms, with whether its network beats them, and the same in a sentence.

    score: of the network; None where it is not finite. Empty where the run has none, as one of an earlier version.
    """
    if not (folder / FILE).is_file():
        return {}, ""
    content = read_json(folder / FILE, "Remove it to do without.")
    scores: dict[str, float] = dict(sorted(content["closed_forms"].items(), key=lambda item: item[1]))
    if not scores:
        return content, ""
    better = [name for name, other in scores.items() if score is None or other <= score]
    content |= {"closed_forms": scores, "beats_closed_forms": not better}
    listed = ", ".join(f"{name} {other:.4g}" for name, other in scores.items())
    if not better:
        return content, f"It is ahead of every closed form on the same starts, lead times and score: {listed}."
    own = "no finite score" if score is None else f"{score:.4g}"
    return content, (
        f"THE NETWORK DOES NOT BEAT {', '.join(better)}: on the same starts, lead times and score it has {own}, and "
        f"{listed}. {ADVICE_OF_CORRECTION if content.get('first_guess') == INVERSE else ADVICE}"
    )


def _scores(prepared: Prepared, starts: Windows, emulator: NeuralEmulator) -> tuple[dict[str, float], dict[str, str]]:
    task, mesh = prepared.task, prepared.train.mesh
    configs: dict[str, BaselineConfig] = {
        name: config for name, config in reference_configs(mesh, task.time_step, starts.steps).items() if name in CHEAP
    }
    configs["linear inverse model"] = LinearInverseConfig(period=period_of(task.time_step))
    scores, left_out = {}, {}
    for name, config in configs.items():
        try:
            score = score_of(config.fit(task, _affordable(prepared, config)), prepared, starts, emulator)
        except MeshcastError as error:
            left_out[name] = str(error)
            continue
        if np.isfinite(score):
            scores[name] = score
        else:
            left_out[name] = "its score is not finite"
    return scores, left_out


def _affordable(prepared: Prepared, config: BaselineConfig) -> TrainingPart:
    """Return the training part; of a large one, the last rows and dates that a closed form is fitted on in seconds."""
    part, rows, times = prepared.part, prepared.part.rows, prepared.part.available
    columns = part.fields.mesh.num_nodes * len(prepared.task.predicted)
    most = MOST_VALUES // (getattr(config, "max_lead", 1) * columns)  # states
    if isinstance(config, LinearInverseConfig):
        most = min(MOST_IN_MEMORY // columns, MOST_STATES if columns > MOST_STATES else MOST_IN_MEMORY)
    if len(rows) * len(times) <= most:
        return part
    kept_rows = min(len(rows), max(1, most // min(len(times), LONG)))
    return replace(part, ensemble=rows[-kept_rows:], times=times[-max(2, most // kept_rows) :])


@torch.no_grad()
def score_of(baseline: Emulator, prepared: Prepared, starts: Windows, emulator: NeuralEmulator) -> float:
    """Return the validation score of an emulator, in the units and by the node weights of a network."""
    count = len(prepared.task.prognostic)
    areas, std = emulator.node_weights[..., :count].double().cpu(), emulator.inputs.score_std[:count].cpu()
    history, total, cases = baseline.task.history, torch.zeros((), dtype=torch.float64), 0
    loader: DataLoader[Batch] = DataLoader(starts, batch_size=16, generator=torch.Generator())
    for batch in loader:
        state, _ = starts.start_of(batch)
        state = replace(state, values=state.values[:, :, -history:])
        rolled = rollout(baseline, state, prepared.validation_forcings, starts.steps)
        forecast = torch.stack([following.now for following, _ in rolled], dim=2).double().mean(1)
        truth = batch["values"][:, prepared.task.history :, :, :count].double()
        total = total + case_errors(forecast, truth, areas, std, prepared.config.validation.score).sum(dim=0)
        cases += len(forecast)
    return geometric_mean((total / cases).reshape(-1))
