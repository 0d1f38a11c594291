"""The methods of a run as one paragraph for a paper, with BibTeX of what it cites: methods.md and references.bib.

Citations are keys as Pandoc and Quarto read them, [@key].
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from emulator.baselines.first_guess import guess_in_words
from emulator.build import TrainedEmulator, is_closed_form, package_versions
from emulator.fields import Fields
from emulator.networks.config import NetworkConfig
from emulator.networks.keras_networks.keras_models import KerasConfig
from graphs.atomic_file import of_the_system, write_text
from graphs.errors import MeshcastError
from training.experiment import ExperimentConfig, TrainingConfig, ValidationConfig
from training.optimisation.validation import AVERAGE, LAST, MOVING_AVERAGE
from training.preparation.prepared import Prepared, windows_of
from training.runs.citations import bibliography
from training.runs.data_in_words import data_sentences, listed, own_entry, task_sentences
from training.runs.energy import energy_sentence, read_energy

log = logging.getLogger(__name__)

FILE, BIBTEX = "methods.md", "references.bib"
LOSSES = {
    "mse": "the mean squared error",
    "mae": "the mean absolute error",
    "huber": "the Huber loss [@huber1964]",
    "crps": "the fair continuous ranked probability score [@ferro2014]",
    "pseudo_huber": "the pseudo-Huber loss [@charbonnier1997]",
}

UNITS = {
    "first_guess": "what the first guess leaves",
    "tendency": "the root mean square of each variable's change over a step",
}
KEPT = {MOVING_AVERAGE: "their moving average", AVERAGE: "that uniform average", LAST: "the last weights"}


@dataclass(frozen=True)
class Machine:
    """What a run was trained on, beside what energy.json says: threads of PyTorch, and processes together."""

    threads: int
    processes: int = 1


def write_methods(prepared: Prepared, trained: TrainedEmulator, folder: Path, machine: Machine) -> None:
    """Write methods.md and references.bib into a run folder.

    A paragraph that cannot be made is logged and never fails the run; a disk that does not take it does.

    prepared: its configuration with the updates that were taken, where minutes were configured.
    """
    try:
        text = methods_of(prepared, trained, machine, read_energy(folder))
        versions = package_versions() | further_versions(prepared.config)
        cited = bibliography(text, versions, own_entry(prepared.train))
        write_text(folder / FILE, text + "\n")
        write_text(folder / BIBTEX, cited)
    except Exception as error:
        if of_the_system(error):
            raise
        log.warning("No %s of %s can be written: %s: %s", FILE, folder, type(error).__name__, error)


def methods_of(prepared: Prepared, trained: TrainedEmulator, machine: Machine, energy: Mapping[str, Any] | None) -> str:
    """Return the paragraph."""
    config, fields = prepared.config, prepared.train
    found = data_sentences(fields, prepared.validation, test_fields(config), prepared.task, config.data.train)
    found += task_sentences(prepared.task)
    if is_closed_form(config.emulator):
        found.append(f"The emulator is {trained.config.in_words()}, fitted to the training data in closed form.")
    else:
        found += network_sentences(trained)
        found += training_sentences(config.training)
        found += selection_sentences(prepared, trained)
    found += machine_sentences(config, machine, energy)
    return " ".join(found)


def test_fields(config: ExperimentConfig) -> Fields | None:
    """Return the test data, where the configuration names some that can be opened here."""
    try:
        return None if config.data.test is None else config.data.test.open(keep_in_memory=False)
    except MeshcastError:
        return None


def network_sentences(trained: TrainedEmulator) -> list[str]:
    """Return what the network is, how large, and what it corrects."""
    section, emulator = trained.config, trained.emulator
    assert isinstance(section, NetworkConfig)
    weights = sum(weight.numel() for weight in emulator.parameters()) if isinstance(emulator, nn.Module) else 0
    seen = ["each node's own statistics"] if section.node_statistics else []
    if section.departures is not None:
        seen.append(f"departures from the climatology by {section.departures.period} in place of the states")
    return [
        f"The emulator is {section.in_words()}, with {weights:,} trainable weights in all, that corrects "
        f"{guess_in_words(section.first_guess)}" + (f" and sees {listed(seen)}" if seen else "") + ".",
        *(["A second network gives the states between its steps."] if trained.between is not None else []),
    ]


def training_sentences(training: TrainingConfig, seeds: Sequence[int] = (), subject: str = "It was") -> list[str]:
    """Return how the weights were fitted.

    seeds: in place of the training's. subject: what was trained, with its verb.
    """
    optimiser = "AdamW [@loshchilov2019]"
    if training.optimiser == "muon":
        optimiser = f"Muon [@jordan2024; @liu2025] for the matrices inside it and {optimiser} for all other weights"
    samples = f"{training.process_batch} samples"
    if training.accumulate > 1:
        samples = f"{training.accumulate} batches of {samples}"
    samples += f" on each of {training.graphs_in_words}" if training.graphs > 1 else ""
    vectors = ", biases and scales apart," if training.decayed == "matrices" else ""
    length = f"{training.updates:,} updates"
    if seeds and training.minutes is not None:
        length = f"as many updates as take {training.minutes:g} minutes of one core, each"
    unrolled = [f"{steps} step{'s' * (steps > 1)} of the rollout" for _, steps in training.stages]
    if len(unrolled) > 1:
        shares = [f"{share:.0%}" for share, _ in training.stages]
        unrolled = [f"{text} in {share} of the updates" for text, share in zip(unrolled, shares, strict=True)]
    if training.patience is not None:
        length += f", or until {training.patience} validations in a row were no better,"
    found = [
        f"{subject} trained by {optimiser} for {length} of {samples} at a peak learning rate of "
        f"{training.learning_rate:g}, after a linear rise over {training.warm_up:,} updates and then along a cosine to "
        f"zero [@loshchilov2017], with a weight decay of {training.weight_decay:g}{vectors} and gradients clipped at a "
        f"norm of {training.gradient_clip:g}.",
        f"The loss is {LOSSES.get(training.loss, f'“{training.loss}”')} over {listed(unrolled)}, in units of "
        f"{UNITS[training.loss_unit]}.",
        *strategy_sentences(training),
    ]
    if training.noise > 0:
        kind = "" if training.noise_kind == "white" else ", weaker by a random factor of 1 to 10 in each sample"
        found.append(
            f"Noise of {training.noise:g} standard deviations was added to the input [@sanchezgonzalez2020]{kind}."
        )
    if training.pushforward:
        found.append(f"The loss starts after {training.pushforward} steps without gradient [@brandstetter2022].")
    images = [f"every other sample is mirrored{_signs(training.mirror)}"] if training.mirror is not None else []
    if training.reversal is not None:
        images.append(f"every other sample is reversed in time and longitude{_signs(training.reversal)}")
    images += ["every sample is turned by a random number of nodes"] if training.shift else []
    images += ["every sample is turned about the axis by a random angle"] if training.rotation else []
    if images:
        found.append(f"E{listed(images)[1:]}.")
    numbers = [str(seed) for seed in seeds or (training.seed,)]
    verb = "seed is" if len(numbers) == 1 else "seeds are"
    found.append(f"The {verb} {listed(numbers)}, the precision is {training.precision}.")
    return found


def strategy_sentences(training: TrainingConfig) -> list[str]:
    """Return what of the strategy is not said with loss, unroll and updates."""
    weights = listed([f"{pattern} by {weight:g}" for pattern, weight in training.loss_weights.items()])
    texts = {
        f"It scores {training.members} members, each from noise of its own.": training.members > 1,
        f"In it variables are weighed by pattern, {weights}.": bool(weights),
        "In it levels are weighed in proportion to their pressure [@lam2023].": training.level_weights == "pressure",
        f"A share of {training.spectral_share:g} of it is the squared error by wavenumber or degree, each in units of "
        "what the first guess leaves there.": training.spectral_share > 0,
        f"Gradients flow through at most {training.gradient_steps} steps of the rollout.": bool(
            training.gradient_steps and training.gradient_steps < max(steps for _, steps in training.stages)
        ),
        "Each update draws its number of steps, from one to those.": training.random_unroll,
        f"A stage ends before its share where {training.plateau} validations were no better.": bool(training.plateau),
        "The weights started from those of another emulator"
        + (f" but for {listed(list(training.fresh))}." if training.fresh else "."): bool(training.initialise_from),
        f"The weights {listed(list(training.frozen))} stayed as they started.": bool(training.frozen),
    }
    return [text for text, said in texts.items() if said]


def _signs(names: Sequence[str]) -> str:
    return f", {listed(names)} with the other sign" if names else ""


def selection_sentences(prepared: Prepared, trained: TrainedEmulator) -> list[str]:
    """Return how the checkpoint was chosen, and which it was."""
    config, averaged = prepared.config, prepared.config.training.ema_decay
    cases = len(windows_of(prepared)[1])
    what = f"the exponential moving average of the weights (decay {averaged:g})" if averaged else "the weights"
    update, metadata = trained.metadata.get("update"), trained.metadata
    found = [
        f"Every {config.validation.every:,} updates {what} forecast {cases} starts of the validation data over "
        f"{config.validation.steps} steps, and the lowest {score_in_words(config.validation)} chose the checkpoint"
        + (f", which is that of update {update:,}" if update is not None else "")
        + (f", at {metadata['validation_score']:.4g}." if metadata.get("validation_score") is not None else ".")
    ]
    if share := config.training.average_last:
        found.append(
            f"Beside it the last weights and their uniform average over the last {share:.0%} of the updates "
            "[@izmailov2018] forecast the same, and the best of the three counted"
            + (f"; it holds {KEPT[metadata['weights']]}." if "weights" in metadata else ".")
        )
    if steps := metadata.get("long_rollout", {}).get("steps"):
        found.append(
            f"A checkpoint counted as worse where forecasts of {steps:,} steps without truth left the range of the "
            "training data."
        )
    return found


def score_in_words(validation: ValidationConfig, over: str = "lead times and variables") -> str:
    """Return the score that selects. over: what it is averaged over geometrically."""
    means = f"averaged over starts and, geometrically, over {over}"
    if validation.score == "nrmse":
        return f"norm of the error over that of the truth ({means})"
    return f"root mean square error in standard deviations of the training data ({means})"


def machine_sentences(config: ExperimentConfig, machine: Machine, energy: Mapping[str, Any] | None) -> list[str]:
    """Return what it took on which machine, and the versions."""
    threads = f"{machine.threads} thread{'s' * (machine.threads > 1)}"
    threads += f" in each of {machine.processes} processes" if machine.processes > 1 else ""
    found = [] if energy is None else [energy_sentence(energy, threads)]
    return [*found, software_sentence([config])]


def software_sentence(experiments: Sequence[ExperimentConfig]) -> str:
    """Return on which software experiments ran."""
    known, names = package_versions(), {"python": "Python", "numpy": "NumPy", "torch": "PyTorch [@pytorch]"}
    for experiment in experiments:
        known |= further_versions(experiment)
        if isinstance(experiment.emulator, KerasConfig):
            names |= {"keras": "Keras [@keras]", "tensorflow": "TensorFlow [@tensorflow]"}
        elif not is_closed_form(experiment.emulator):
            names["lightning"] = "PyTorch Lightning [@lightning]"
    used = []
    for name, text in names.items():
        library, *source = text.split(" [")
        used.append(f"{library} {known[name]}" + "".join(f" [{key}" for key in source))
    return f"All of it ran in Meshcast {known['meshcast']} [@meshcast] on {listed(used)}."


def further_versions(config: ExperimentConfig) -> dict[str, str]:
    """Return versions of the libraries that this experiment alone needs."""
    if not isinstance(config.emulator, KerasConfig):
        return {}
    from emulator.networks.keras_networks.tensorflow_library import keras, tensorflow

    return {"keras": str(keras().__version__), "tensorflow": str(tensorflow().__version__)}
