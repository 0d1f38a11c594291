"""`meshcast configs`: the experiments that come with Meshcast."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(help="The experiments that come with Meshcast.", no_args_is_help=True)


@app.command("list")
def list_configs() -> None:
    """List the shipped experiments, with the first line of each.

    Example: meshcast configs list
    """
    from meshcast.console import out
    from meshcast.shipped import shipped_configs

    for name, path in shipped_configs().items():
        first = path.read_text(encoding="utf-8").splitlines()[0].lstrip("# ")
        out.print(f"{name:28} {first}", markup=False)


@app.command("copy")
def copy_config(
    name: Annotated[str, typer.Argument(help="As `meshcast configs list` names it.")],
    output: Annotated[Path | None, typer.Argument(help="Where to; NAME.yaml here by default.")] = None,
) -> None:
    """Copy a shipped experiment, to change it.

    Example: meshcast configs copy ring-advection mine.yaml
    """
    from graphs.atomic_file import atomic_file
    from graphs.errors import MeshcastError
    from meshcast.console import say
    from meshcast.shipped import config_path

    target = output or Path(f"{name}.yaml")
    if target.exists():
        raise MeshcastError(f"{target} exists already. Name another file: meshcast configs copy {name} OTHER.yaml")
    text = config_path(Path(name)).read_text(encoding="utf-8")
    with atomic_file(target) as temporary:
        temporary.write_text(text, encoding="utf-8")
    say(f"Wrote {target}.")
