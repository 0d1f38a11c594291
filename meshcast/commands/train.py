"""`meshcast train`: fit an emulator."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def train(
    config: Annotated[Path, typer.Argument(help="YAML of an experiment, or the name of a shipped one.")],
    overrides: Annotated[
        list[str] | None, typer.Argument(help="key=value, e.g. training.seed=3; resume=auto continues a run.")
    ] = None,
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run", help="Rehearse the training for some seconds; print time, memory and energy to expect."
        ),
    ] = False,
    learning_rate_test: Annotated[
        bool,
        typer.Option("--learning-rate-test", help="Take 300 updates at rising rates, draw the loss, suggest a rate."),
    ] = False,
    plugin: Annotated[list[Path] | None, typer.Option(help="A file with EMULATORS of your own; it is run.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result for machines.")] = False,
) -> None:
    """Fit an emulator into runs/NAME: configuration, metrics, checkpoints, emulator.safetensors.

    At the end a network is held against closed forms fitted on the same data, such as climatology and damped anomaly;
    methods.md is the run as a paragraph for a paper, references.bib what it cites, energy.json what it took.

    Example: meshcast train ring-advection training.updates=2000 resume=auto
    """
    from emulator.foundation.configuration import load
    from emulator.plugins import load_plugins
    from graphs.errors import MeshcastError
    from meshcast.commands.configs import config_path
    from meshcast.console import print_json, say
    from training.experiment import ExperimentConfig
    from training.optimisation.machine import seconds_of_process
    from training.processes import is_first_process
    from training.run_folder import run_folder
    from training.runs.closed_forms import beside_closed_forms
    from training.runs.dry_run import dry_run as try_out
    from training.runs.dry_run import lines_of
    from training.runs.energy import energy_sentence, read_energy
    from training.runs.fit import fit, refuse_strategies_of_closed_form

    texts = overrides or []
    resumes = [text.removeprefix("resume=") for text in texts if text.startswith("resume=")]
    resume = resumes[-1] if resumes else "never"
    if resume not in ("auto", "never"):
        raise MeshcastError(f"resume is auto or never, not {resume!r}.")
    load_plugins(plugin or [])
    experiment = load(ExperimentConfig, config_path(config), [t for t in texts if not t.startswith("resume=")])
    refuse_strategies_of_closed_form(experiment)
    if dry_run and learning_rate_test:
        raise MeshcastError("--dry-run and --learning-rate-test are two commands. Give one of them.")
    if learning_rate_test:
        from training.runs.learning_rate_test import learning_rate_test as range_test

        tested = range_test(experiment)
        say(f"{tested.picture}, {tested.table}: {len(tested.rates)} updates. {tested.in_words()}")
        if as_json:
            print_json({"suggested": tested.suggested, "picture": str(tested.picture), "table": str(tested.table)})
        return
    if dry_run:
        expected = try_out(experiment, notice=say, before=seconds_of_process())
        say("\n".join(lines_of(expected)))
        if as_json:
            print_json(expected)
        return
    trained = fit(experiment, resume="auto" if resume == "auto" else "never", notice=say)
    if not is_first_process(experiment.training.processes):
        return
    folder = run_folder(experiment)
    score = trained.metadata.get("validation_score")
    update = trained.metadata.get("update")
    text = f"{folder / 'emulator.safetensors'}: {trained.name}"
    if score is not None:
        text += f", validation score {score:.4g} after {update} updates"
        text += "" if update else " (the first guess; training did not improve on it)"
    say(f"{text}.")
    found, verdict = beside_closed_forms(folder, score)
    if verdict:
        say(verdict)
    energy = read_energy(folder)
    if energy is not None:
        say(energy_sentence(energy))
    if as_json:
        kwh = {} if energy is None else {"kwh": energy["kwh"]}
        print_json({"run": str(folder), "validation_score": score, "update": update, **found, **kwh})
