"""`meshcast tune`: short trials of an experiment, and the settings that validation chooses."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from training.tuning.tune import SearchConfig, Tuned

DEFAULT = "default"


def tune(
    config: Annotated[Path, typer.Argument(help="YAML of an experiment, or the name of a shipped one.")],
    overrides: Annotated[list[str] | None, typer.Argument(help="key=value, e.g. training.updates=2000.")] = None,
    tried: Annotated[
        list[str] | None,
        typer.Option(
            "--try",
            help="key=[value, ...], or a range: 'training.learning_rate=1e-4..1e-2 log', 'training.unroll=1..4', "
            "'emulator.processor.latent_size=16..64 step 16'.",
        ),
    ] = None,
    search: Annotated[
        str | None,
        typer.Option(help="YAML with `space` and what these options say; or `default`: rate, noise, decay, size."),
    ] = None,
    trials: Annotated[
        int | None, typer.Option(help="In all; 20 by default, or every combination where there are lists alone.")
    ] = None,
    share: Annotated[
        float | None, typer.Option(help="Of the experiment's updates, or minutes, that a trial takes; .25.")
    ] = None,
    updates: Annotated[int | None, typer.Option(help="In its place, their number.")] = None,
    pruner: Annotated[
        str | None, typer.Option(help="What ends bad trials early: median, hyperband or none.", metavar="NAME")
    ] = None,
    timeout: Annotated[float | None, typer.Option(help="Minutes after which no trial is begun.")] = None,
    workers: Annotated[int, typer.Option(help="Processes that make trials at the same time.")] = 1,
    study: Annotated[str | None, typer.Option(help="Name of the study, a folder in runs/NAME/trials.")] = None,
    seed: Annotated[int | None, typer.Option(help="Of all trials, and of what is tried.")] = None,
    plugin: Annotated[list[Path] | None, typer.Option(help="A file with EMULATORS of your own; it is run.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result for machines.")] = False,
) -> None:
    """Fit an experiment for a short while with each of several settings, and say which one validation chooses.

    Lists alone are tried in every combination. Ranges are searched: first evenly, then where trials were good (Optuna's
    TPE); bad trials end at one of their validations. A trial counts as checkpoints do: by its validation score, worse
    where its long rollouts died. Started again it goes on, a broken trial from its checkpoint; started elsewhere at the
    same time it works on the same study. best.yaml is for `meshcast train`; nothing is trained in full.

    Example: meshcast tune ring-ks --try 'training.learning_rate=1e-4..3e-2 log' --try 'training.noise=[0, 0.003, 0.01]'
    --trials 20
    """
    import shlex
    import sys
    from contextlib import redirect_stdout
    from dataclasses import asdict

    from emulator.foundation.configuration import load
    from emulator.plugins import load_plugins
    from graphs.errors import MeshcastError
    from inference.comparison.tuning_plots import write_pictures
    from meshcast.commands.configs import config_path
    from meshcast.console import print_json, print_table, say
    from training.experiment import ExperimentConfig
    from training.tuning.tune import tune as make_trials
    from training.tuning.workers import tune_together

    if timeout is not None and not timeout > 0:
        raise MeshcastError(f"--timeout must be positive, in minutes, but is {timeout:g}.")
    load_plugins(plugin or [])
    experiment = load(ExperimentConfig, config_path(config), overrides or [])
    further = {"trials": trials, "share": share, "updates": updates, "pruner": pruner, "seed": seed}
    asked = _asked(tried or [], search, {key: value for key, value in further.items() if value is not None})
    options: dict[str, Any] = {"study": study, "timeout": None if timeout is None else 60 * timeout, "say": say}
    with redirect_stdout(sys.stderr):  # standard output is for the result alone
        if workers == 1:
            made = make_trials(experiment, asked, **options)
        else:
            made = tune_together(experiment, asked, workers=workers, plugins=plugin or [], **options)
        pictures = write_pictures(made.axes, made.trials, made.points, made.numbers, made.importances, made.folder)
    chosen = made.chosen
    if as_json:
        facts = {"chosen": chosen and chosen.settings, "best": made.best, "importances": made.importances}
        print_json({**facts, "trials": [asdict(trial) for trial in made.trials], "running": made.running})
    else:
        rows = _rows(made)
        heads = ["trial", "settings", "updates", "validation", "seconds", ""]
        print_table(f"{experiment.name}: {len(rows)} trials", heads, rows)
    if made.running:
        say(
            f"{len(made.running)} more are being made elsewhere, or were broken off: start the same command again to "
            "have them in the result."
        )
    if chosen is None:
        if not made.trials:
            raise MeshcastError("No trial has ended yet.")
        reasons = "; ".join(dict.fromkeys(trial.reason for trial in made.trials if trial.reason))
        raise MeshcastError(f"No trial ended with a finite score: {reasons or 'none was finite'}.")
    for path in pictures:
        say(f"{path}", path=str(path))
    plugins = [word for path in plugin or [] for word in ("--plugin", str(path))]
    say(f"Train it with: {shlex.join(['meshcast', 'train', str(made.best), *plugins])}")


def _asked(tried: list[str], search: str | None, further: dict[str, Any]) -> SearchConfig:
    """Return what is tried: what a file says, changed by options."""
    from emulator.foundation.configuration import load, read_values, read_yaml
    from training.tuning.tune import SearchConfig

    content: dict[str, Any] = {"defaults": True} if search == DEFAULT else read_yaml(search) if search else {}
    space = content.get("space")
    if tried and (space is None or isinstance(space, dict)):
        content["space"] = {**(space or {}), **read_values(tried)}
    return load(SearchConfig, {**content, **further})


def _rows(made: Tuned) -> list[list[str]]:
    from inference.comparison.tables import trial_rows

    names = ("settings", "updates", "score", "seconds")
    return [
        [str(number), *(str(row[name]) for name in names), "chosen" * row["chosen"]]
        for number, row in zip(made.numbers, trial_rows(made.trials), strict=True)
    ]
