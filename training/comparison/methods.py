"""The protocol of a comparison as one paragraph with BibTeX, and the energy of its rows."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from emulator.baselines.first_guess import PersistenceGuess, guess_in_words
from emulator.build import is_closed_form, package_versions
from graphs.atomic_file import of_the_system, write_text
from inference.comparison.record import Comparison, Energy, Row
from training.comparison.configuration import CompareConfig
from training.comparison.runs import networks
from training.experiment import ExperimentConfig
from training.preparation.prepared import PreparedData
from training.runs.citations import bibliography, uncited
from training.runs.data_in_words import data_sentences, listed, own_entry, task_sentences
from training.runs.energy import cost_of, read_energy
from training.runs.methods import BIBTEX, FILE, further_versions, score_in_words, software_sentence, training_sentences
from training.runs.study import Result

log = logging.getLogger(__name__)


def with_energy(rows: Sequence[Row], fits: Sequence[tuple[str, Result]], config: CompareConfig) -> list[Row]:
    """Return the rows with what their fits took, by energy.json of each run folder.

    fits: trials and runs, each with its row's label.
    """
    found = []
    for row in rows:
        folders = [Path(config.results) / result.folder for label, result in fits if label == row.label]
        counted = [energy for folder in folders if (energy := read_energy(folder)) is not None]
        if counted:
            kwh = sum(energy["kwh"] for energy in counted)
            methods = {word for energy in counted for word in energy["method"].split(" and ")}
            partly = sum(bool(energy["left_out"]) for energy in counted)
            uncounted = len(folders) - len(counted) + partly
            method = " and ".join(sorted(methods, reverse=True))
            row = replace(row, energy=Energy(kwh, method, uncounted, **cost_of(kwh, config.accounting)))
        found.append(row)
    return found


def write_methods(
    config: CompareConfig, experiments: Mapping[str, ExperimentConfig], comparison: Comparison, data: PreparedData
) -> None:
    """Write methods.md and references.bib beside the report.

    A paragraph that cannot be made is logged and never fails the comparison; a disk that does not take it does.

    config: its grids expanded; experiments: as tuned, by label.
    """
    try:
        text = methods_of(config, experiments, comparison, data)
        versions = package_versions()
        for experiment in experiments.values():
            versions |= further_versions(experiment)
        cited = bibliography(text, versions, own_entry(data.fields(config.data.train)))
        write_text(comparison.folder / FILE, text + "\n")
        write_text(comparison.folder / BIBTEX, cited)
    except Exception as error:
        if of_the_system(error):
            raise
        log.warning("No %s of the comparison can be written: %s: %s", FILE, type(error).__name__, error)


def methods_of(
    config: CompareConfig, experiments: Mapping[str, ExperimentConfig], comparison: Comparison, data: PreparedData
) -> str:
    """Return the paragraph."""
    assert config.data.test is not None
    train, validation, test = (
        data.fields(part) for part in (config.data.train, config.data.validation, config.data.test)
    )
    task = config.task.build(train)
    found = data_sentences(train, validation, test, task, config.data.train) + task_sentences(task)
    rows = [_row_in_words(row, experiments.get(row.label)) for row in comparison.rows]
    found.append(f"Compared are {len(rows)} emulators: {'; '.join(rows)}.")
    trained = networks(experiments)
    if trained:
        found += training_sentences(config.training, config.seeds, "The networks were")
        found += _tuning_sentences(config)
        found.append(
            f"Of each run the checkpoint was kept that had the lowest {score_in_words(config.validation)} in forecasts "
            f"of the validation data over {config.validation.steps} steps, every {config.validation.every:,} updates."
        )
    cases = comparison.verification.emulators[0].num_cases
    score = score_in_words(config.validation, "lead times, variables and seeds")
    found.append(
        f"All forecast the same {cases} starts of the test data over {config.forecast.steps} steps, once, and are "
        f"ranked by the {score}, with {100 * comparison.verification.level:g} % intervals from a block bootstrap "
        "[@kunsch1989] over starts and seeds."
    )
    found += _energy_sentences(comparison)
    used = list(trained.values()) or list(experiments.values())
    return " ".join([*found, *([software_sentence(used)] if used else [])])


def _row_in_words(row: Row, experiment: ExperimentConfig | None) -> str:
    label = f"“{uncited(row.label)}”"
    if experiment is None:
        return f"{label}, {'forecasts from a file' if row.kind == 'forecast_file' else f'loaded from a {row.kind}'}"
    weights = sum(row.parameters.values())
    said = f"{label}, {experiment.emulator.in_words()}"
    if not is_closed_form(experiment.emulator):
        guess = getattr(experiment.emulator, "first_guess", PersistenceGuess())
        said += f", with {weights:,} weights" if weights else ""
        said += "" if isinstance(guess, PersistenceGuess) else f", correcting {guess_in_words(guess)}"
    return said + (f" ({', '.join(row.differences)})" if row.differences else "")


def _tuning_sentences(config: CompareConfig) -> list[str]:
    tuning = config.tuning
    if tuning is None:
        return []
    axes = {
        path.removeprefix("training."): f"between {values.replace('..', ' and ')}"
        if isinstance(values, str)
        else f"of {' or '.join(map(str, values))}"
        for path, values in tuning.all_axes.items()
    }
    tried = listed([f"{name.replace('_', ' ')} {values}" for name, values in axes.items()])
    length = f"{tuning.updates:,} updates" if tuning.updates else f"{tuning.share:.0%} of the training"
    count = f"{tuning.trials} " if tuning.trials else ""
    return [f"For each network, however, a {tried} was chosen by validation in {count}trials of {length}."]


def _energy_sentences(comparison: Comparison) -> list[str]:
    counted = [row.energy for row in comparison.rows if row.energy is not None]
    if not counted:
        return []
    methods = sorted({word for energy in counted for word in energy.method.split(" and ")}, reverse=True)
    text = f"All fits and trials took {sum(energy.kwh for energy in counted):.2g} kWh, {listed(methods)}"
    grams = [energy.grams_co2 for energy in counted if energy.grams_co2 is not None]
    text += f", or {sum(grams):.2g} g of CO2" if grams else ""
    uncounted = sum(energy.uncounted for energy in counted)
    return [text + (f"; that of {uncounted} is not counted, or not wholly." if uncounted else ".")]
