"""The experiments that come with Meshcast: one YAML file each."""

from __future__ import annotations

from pathlib import Path

from graphs.errors import MeshcastError


def shipped_configs() -> dict[str, Path]:
    """Return the shipped experiments by name, in alphabetical order.

    They are data of the installed package, meshcast/configs/, and stand in configs/ beside it in a checkout.
    """
    here = Path(__file__).resolve().parent
    folder = next((f for f in (here / "configs", here.parent / "configs") if f.is_dir()), None)
    if folder is None:
        raise MeshcastError(f"The shipped experiments are missing: expected {here / 'configs'}. Install Meshcast anew.")
    return {path.stem: path for path in sorted(folder.glob("*.yaml"))}


def config_path(given: Path) -> Path:
    """Return a configuration file a user named: a path, or the name of a shipped experiment.

    Raises MeshcastError where it is neither, with the nearest shipped name.
    """
    import difflib

    if given.is_file():
        return given
    shipped = shipped_configs()
    if str(given) in shipped:
        return shipped[str(given)]
    close = difflib.get_close_matches(given.stem, shipped, n=1, cutoff=0.4)
    hint = f" Did you mean the shipped {close[0]}?" if close else ""
    raise MeshcastError(f"There is no configuration {given}.{hint} `meshcast configs list` shows the shipped ones.")
