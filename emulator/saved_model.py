"""A Keras emulator as TensorFlow's SavedModel, which loads and forecasts without Meshcast.

Layout and signature are those TensorFlow Serving asks for: FOLDER/1/ with `serving_default`. It takes and gives
physical units; scales, statics, the first guess and the bounds are constants in it:

    model = tf.saved_model.load("FOLDER/1").signatures["serving_default"]
    following = model(state=state, forcing=forcing)["next"]
    state = tf.concat([state[:, 1:], following[:, None, :, :num_prognostic]], axis=1)
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from torch import Tensor

from emulator.baselines.first_guess import ForcedStep
from emulator.baselines.forced_response import ForcedResponse
from emulator.baselines.neighbourhood import NeighbourhoodMap
from emulator.build import TrainedEmulator
from emulator.features.departures import DepartureInputs
from emulator.features.inputs import Inputs
from emulator.networks.keras_networks.keras_network import KerasNetwork, with_means_kept
from emulator.networks.keras_networks.tensorflow_library import tensorflow
from emulator.neural import NeuralEmulator
from emulator.task import names_of
from graphs.atomic_file import atomic_folder
from graphs.errors import MeshcastError
from graphs.output_lock import output_lock

DESCRIPTION = "assets.extra/meshcast.json"  # assets.extra is where a SavedModel keeps what TensorFlow does not read


def export_saved_model(trained: TrainedEmulator, folder: str | Path) -> Path:
    """Write FOLDER/1, whole or not at all, and return its path.

        serving_default(state [batch, history, node, prognostic], forcing [batch, history + 1, node, forcing])
            -> {"next": [batch, node, predicted]}

    all float32 in physical units, variables in the order of assets.extra/meshcast.json. NaN in the newest state is a
    masked node, and stays one. The forcing of a limited area ends in the boundary's values.

    Raises MeshcastError for what TensorFlow cannot say, such as any other network, and where something is in the way.
    """
    emulator, network = _exportable(trained)
    tf = tensorflow()
    final = Path(folder) / "1"
    if os.path.lexists(final):
        raise MeshcastError(f"{final} is there already. Choose another folder, or remove it first.")
    module = tf.Module(name="meshcast")
    named = zip(network.names, network.arrays(), strict=True)
    module.weights = [tf.Variable(value, name=name.replace(".", "_")) for name, value in named]
    task, node = emulator.task, emulator.mesh.num_nodes
    num_forcing = len(task.forcing) + (len(task.prognostic) if task.boundary else 0)
    kinds = [
        tf.TensorSpec((None, task.history, node, len(task.prognostic)), tf.float32, "state"),
        tf.TensorSpec((None, task.history + 1, node, num_forcing), tf.float32, "forcing"),
    ]

    def step(state: Any, forcing: Any) -> dict[str, Any]:
        return {"next": _next(emulator, network.model, module.weights, state, forcing)}

    module.step = tf.function(step, input_signature=kinds)
    try:
        with output_lock(final), atomic_folder(final) as new:
            tf.saved_model.save(module, str(new), signatures={"serving_default": module.step})
            (new / DESCRIPTION).parent.mkdir()
            description = json.dumps(_description(trained, emulator), indent=1)
            (new / DESCRIPTION).write_text(description + "\n", encoding="utf-8")
    except tf.errors.OpError as error:
        raise MeshcastError(f"Cannot write {final}: {error}. Choose another folder.") from None
    return final


def _exportable(trained: TrainedEmulator) -> tuple[NeuralEmulator, KerasNetwork]:
    emulator = trained.emulator
    if not isinstance(emulator, NeuralEmulator) or not isinstance(emulator.network, KerasNetwork):
        kind = getattr(trained.config, "kind", type(emulator).__name__)
        raise MeshcastError(
            f"A SavedModel is TensorFlow's, but {trained.name} is of kind {kind}. Train one of kind keras_cnn or "
            "keras_lstm to export it."
        )
    if isinstance(emulator.inputs, DepartureInputs):
        raise MeshcastError(
            f"{trained.name} sees departures from a climatology that depends on the date, which a SavedModel without "
            "dates cannot compute. Train one with departures=null to export it."
        )
    if emulator.inputs.imputed:
        raise MeshcastError(
            f"{trained.name} fills in missing values by task.imputation, which a SavedModel does not. Train one "
            "without to export it."
        )
    guess = emulator.first_guess
    if isinstance(guess, ForcedStep) and guess.model.config.by != "none":
        raise MeshcastError(
            f"{trained.name} corrects a response that depends on the {guess.model.config.by}, which a SavedModel "
            "without dates cannot compute. Train one with first_guess.by=none to export it."
        )
    if not isinstance(guess, NeighbourhoodMap | ForcedStep | None):
        raise MeshcastError(
            f"{trained.name} corrects the step of a solver or of a linear inverse model, which is no part of a "
            "SavedModel. Train one with first_guess={kind: persistence} to export it."
        )
    return emulator, emulator.network


def _description(trained: TrainedEmulator, emulator: NeuralEmulator) -> dict[str, Any]:
    """Return what the numbers mean, for who has no checkpoint beside the SavedModel."""
    task, mesh = emulator.task, emulator.mesh
    return {
        "name": trained.name,
        "prognostic": list(names_of(task.with_role("prognostic"))),
        "predicted": list(names_of(task.predicted)),
        "units": [variable.units for variable in task.predicted],
        "forcing": list(task.forcing),
        "boundary": task.boundary,
        "history": task.history,
        "time_step": str(task.time_step),
        "mesh": mesh.describe(),
    }


def _next(emulator: NeuralEmulator, model: Any, weights: list[Any], state: Any, forcing: Any) -> Any:
    """Return [batch, node, predicted] as `NeuralEmulator.step` computes it; the Keras model's weights are given."""
    tf, inputs, task, count = tensorflow(), emulator.inputs, emulator.task, emulator.inputs.num_prognostic
    features = _features(inputs, state, forcing)
    fields = features[..., : inputs.num_fields]
    if emulator.first_guess is None:
        guess = tf.pad(fields[..., inputs.num_fields - count :], [[0, 0], [0, 0], [0, len(task.diagnostic)]])
    elif isinstance(emulator.first_guess, ForcedStep):
        guess = _forced_response(emulator.first_guess.model, inputs, forcing)
    else:
        assert isinstance(emulator.first_guess, NeighbourhoodMap)
        guess = _linear_map(emulator.first_guess, fields, features[..., inputs.num_fields :])
    # What is not trained are seeds of a dropout that is off.
    seeds = [tf.zeros(variable.shape, variable.dtype) for variable in model.non_trainable_variables]
    correction = model.stateless_call(weights, seeds, features)[0]
    values = (guess + _constant(emulator.correction_std) * correction) * _constant(inputs.std) + _constant(inputs.mean)
    values = tf.clip_by_value(values, _constant(inputs.lower), _constant(inputs.upper))
    before = state[:, -1]
    columns, lower, upper = inputs.conservation.columns, inputs.lower[:count], inputs.upper[:count]
    kept = tf.gather(before, columns, axis=-1) if columns else before
    now = with_means_kept(
        kept, values[..., :count], _constant(lower), _constant(upper), inputs.conservation.areas.numpy(), columns
    )
    if task.boundary:
        at = tf.constant(inputs.boundary.numpy())[:, None]
        now = tf.where(at, forcing[:, -1, :, len(task.forcing) :], now)
    now = tf.where(tf.math.is_nan(before), before, now)
    return tf.concat([now, values[..., count:]], axis=-1)


def _features(inputs: Inputs, state: Any, forcing: Any) -> Any:
    """Return [batch, node, feature] as `Inputs.features` orders them."""
    tf, count = tensorflow(), inputs.num_prognostic
    num_nodes, num_forcing = state.shape[2], len(inputs.task.forcing)
    given, beyond = forcing[..., :num_forcing], forcing[..., num_forcing:]
    scale = _constant(inputs.std[:count])
    fields = _number((state - _constant(inputs.mean[:count])) / scale)
    given = _number((given - _constant(inputs.forcing_mean)) / _constant(inputs.forcing_std))
    columns = [_by_node(fields), _by_node(given)]
    statics = _constant(inputs.statics)
    columns.append(tf.broadcast_to(statics, (tf.shape(state)[0], num_nodes, statics.shape[1])))
    if inputs.task.boundary:
        at = tf.constant(inputs.boundary.numpy())[:, None]
        change = tf.where(at, _number((beyond[:, -1] - state[:, -1]) / scale), 0.0)
        columns += [change, tf.broadcast_to(tf.cast(at, tf.float32), (tf.shape(state)[0], num_nodes, 1))]
    return tf.concat(columns, axis=-1)


def _by_node(values: Any) -> Any:
    """Return [batch, time, node, variable] from [batch, node, time · variable]."""
    tf, (_, time, node, variables) = tensorflow(), values.shape
    return tf.reshape(tf.transpose(values, (0, 2, 1, 3)), (tf.shape(values)[0], node, time * variables))


def _linear_map(guess: NeighbourhoodMap, fields: Any, own: Any) -> Any:
    """Return [batch, node, output] as `NeighbourhoodMap.combine` computes it."""
    tf = tensorflow()
    weights, received = _constant(guess.weights), len(guess.neighbours) * guess.num_fields
    around = tf.gather(fields, guess.neighbours.T.numpy(), axis=1)  # [batch, node, position, field]
    around = tf.reshape(around, (-1, fields.shape[1], received))
    return (
        _constant(guess.intercept)
        + tf.einsum("bnf,fo->bno", around, weights[:received])
        + tf.einsum("bnf,fo->bno", own, weights[received:])
    )


def _forced_response(model: ForcedResponse, inputs: Inputs, forcing: Any) -> Any:
    """Return normalised values [batch, node, predicted] of a `ForcedStep`, in double precision until they are."""
    tf = tensorflow()
    given = tf.cast(forcing[:, -1, 0, : len(model.slopes)], tf.float64)
    straight = tf.linalg.matvec(given, tf.constant(model.slopes.numpy()))[:, None]
    warming = straight + float(model.curvature) * straight**2
    known = {"pattern_scaling": [warming], "impulse_response": [given]}
    features = tf.concat([tf.ones_like(warming), *known.get(model.config.kind, [warming, warming**2, given])], axis=1)
    values = tf.einsum("bf,fno->bno", features, tf.constant(model.weights[0].numpy()))
    bounds = (tf.constant(bound.numpy(), tf.float64) for bound in (model.lower, model.upper))
    mean, std = (tf.constant(scale.numpy(), tf.float64) for scale in (inputs.mean, inputs.std))
    return tf.cast((tf.clip_by_value(values, *bounds) - mean) / std, tf.float32)


def _number(values: Any) -> Any:
    tf = tensorflow()
    return tf.where(tf.math.is_nan(values), tf.zeros_like(values), values)


def _constant(values: Tensor) -> Any:
    return tensorflow().constant(values.numpy(), tensorflow().float32)
