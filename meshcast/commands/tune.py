"""`meshcast tune`: short trials of an experiment, and the settings that validation chooses."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from training.comparison.configuration import TuningConfig


def tune(
    config: Annotated[Path, typer.Argument(help="YAML of an experiment, or the name of a shipped one.")],
    overrides: Annotated[list[str] | None, typer.Argument(help="key=value, e.g. training.updates=2000.")] = None,
    tried: Annotated[
        list[str] | None,
        typer.Option("--try", help="key=[value, ...], e.g. 'training.noise=[0, 0.01]'; every combination of several."),
    ] = None,
    share: Annotated[float, typer.Option(help="Of the experiment's updates, or minutes, that a trial takes.")] = 0.25,
    updates: Annotated[int | None, typer.Option(help="In its place, their number.")] = None,
    seed: Annotated[int, typer.Option(help="Of all trials.")] = 0,
    plugin: Annotated[list[Path] | None, typer.Option(help="A file with EMULATORS of your own; it is run.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result for machines.")] = False,
) -> None:
    """Fit an experiment for a short while with each setting, and say which one validation chooses.

    A trial counts as checkpoints do: by its validation score, worse where its long rollouts died. Started again, trials
    that are finished are not repeated. They lie in runs/NAME/trials; nothing is trained in full.

    Example: meshcast tune ring-ks --try 'training.noise=[0, 0.003, 0.01]' --share 0.2
    """
    import json
    import shlex
    import sys
    from contextlib import redirect_stdout
    from dataclasses import asdict

    from emulator.foundation.configuration import load
    from emulator.plugins import load_plugins
    from graphs.errors import MeshcastError
    from inference.comparison.tables import trial_rows
    from meshcast.commands.configs import config_path
    from meshcast.console import print_json, print_table, say
    from training.comparison.tuning import tune as make_trials
    from training.experiment import ExperimentConfig

    load_plugins(plugin or [])
    experiment = load(ExperimentConfig, config_path(config), overrides or [])
    asked = _tuning(tried or [], {"share": share, "updates": updates, "seed": seed})
    with redirect_stdout(sys.stderr):  # standard output is for the result alone
        made = make_trials(experiment, asked, say=say)
    chosen = next((trial.settings for trial in made if trial.chosen), None)
    if as_json:
        print_json({"chosen": chosen, "trials": [asdict(trial) for trial in made]})
    else:
        rows = [
            [*(str(row[name]) for name in ("settings", "updates", "score", "seconds")), "chosen" * row["chosen"]]
            for row in trial_rows(made)
        ]
        print_table(
            f"{experiment.name}: {len(made)} trials", ["settings", "updates", "validation", "seconds", ""], rows
        )
    if chosen is None:
        reasons = "; ".join(dict.fromkeys(trial.reason for trial in made if trial.reason))
        raise MeshcastError(f"No trial ended with a finite score: {reasons or 'none was finite'}.")
    settings = [f"{path}={value if isinstance(value, str) else json.dumps(value)}" for path, value in chosen.items()]
    say(f"Train it with: {shlex.join(['meshcast', 'train', str(config), *(overrides or []), *settings])}")


def _tuning(tried: list[str], further: dict[str, Any]) -> TuningConfig:
    """Return what is tried; learning rates and noise, which have keys of their own, under these."""
    from emulator.foundation.configuration import load, read_values
    from training.comparison.configuration import NOISE, RATE, TuningConfig

    axes = read_values(tried)
    own = {key: axes.pop(path) for key, path in (("learning_rate", RATE), ("noise", NOISE)) if path in axes}
    return load(TuningConfig, {"axes": axes, **own, **further})
