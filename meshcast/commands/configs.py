"""`meshcast configs`: the experiments that come with Meshcast."""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import Annotated

import typer

from graphs.errors import MeshcastError

app = typer.Typer(help="The experiments that come with Meshcast.", no_args_is_help=True)


@app.command("list")
def list_configs() -> None:
    """List the shipped experiments, with the first line of each.

    Example: meshcast configs list
    """
    from meshcast.console import show

    for name, path in shipped_configs().items():
        first = path.read_text(encoding="utf-8").splitlines()[0].lstrip("# ")
        show(f"{name:28} {first}")


@app.command("copy")
def copy_config(
    name: Annotated[str, typer.Argument(help="As `meshcast configs list` names it.")],
    output: Annotated[Path | None, typer.Argument(help="Where to; NAME.yaml here by default.")] = None,
) -> None:
    """Copy a shipped experiment, to change it.

    Example: meshcast configs copy ring-advection mine.yaml
    """
    from graphs.atomic_file import write_text
    from meshcast.console import say

    target = output or Path(f"{name}.yaml")
    if target.exists():
        raise MeshcastError(f"{target} exists already. Name another file: meshcast configs copy {name} OTHER.yaml")
    write_text(target, shipped_config(name).read_text(encoding="utf-8"))
    say(f"Wrote {target}.", path=target)


def shipped_configs() -> dict[str, Path]:
    """Return the shipped experiments by name, in alphabetical order.

    They are data of the installed package, meshcast/configs/, and stand in configs/ beside it in a checkout.
    """
    here = Path(__file__).resolve().parents[1]
    folder = next((f for f in (here / "configs", here.parent / "configs") if f.is_dir()), None)
    if folder is None:
        raise MeshcastError(f"The shipped experiments are missing: expected {here / 'configs'}. Install Meshcast anew.")
    return {path.stem: path for path in sorted(folder.glob("*.yaml"))}


def config_path(given: Path) -> Path:
    """Return a configuration file a user named: a path, or the name of a shipped experiment.

    Raises MeshcastError where it is neither, with the nearest shipped name.
    """
    return given if given.is_file() else shipped_config(str(given))


def shipped_config(name: str) -> Path:
    """Return the shipped experiment of a name; raise MeshcastError, with the nearest name, where there is none."""
    shipped = shipped_configs()
    if name in shipped:
        return shipped[name]
    close = difflib.get_close_matches(Path(name).stem, shipped, n=1, cutoff=0.4)
    hint = f" Did you mean the shipped {close[0]}?" if close else ""
    raise MeshcastError(f"There is no configuration {name}.{hint} `meshcast configs list` shows the shipped ones.")
