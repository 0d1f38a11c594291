"""`meshcast export`: an emulator for programs that do not know Meshcast."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def export(
    emulator: Annotated[Path, typer.Argument(help="An emulator.safetensors of a Keras kind, or its run folder.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder of the SavedModel, which is OUTPUT/1.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print the result for machines.")] = False,
) -> None:
    """Write an emulator of kind keras_cnn or keras_lstm as TensorFlow's SavedModel, which needs no Meshcast.

    Example: meshcast export runs/ring-keras -o exported
    """
    from emulator.build import load_emulator
    from emulator.saved_model import export_saved_model
    from meshcast.console import print_json, say

    trained = load_emulator(emulator)
    task = trained.emulator.task
    written = export_saved_model(trained, output)
    say(
        f"Wrote {written}: serving_default(state, forcing) gives the next {task.time_step} of "
        f"{', '.join(variable.name for variable in task.predicted)} in physical units."
    )
    if as_json:
        print_json({"output": str(written), "signature": "serving_default", "history": task.history})
