"""Whether the packages Meshcast is made of are its own, since their names are general enough to stand elsewhere too."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

SIBLINGS = ("graphs", "emulator", "inference", "training")
HOME = Path(__file__).resolve().parent.parent


def refuse_other_packages() -> None:
    """Raise ImportError where `import training` and its like would bring another package than the one beside this.

    `python -m meshcast` first leaves the working directory out of the search, unless Meshcast itself was found there.
    A command ends with the message and exit code 2; a notebook or a script gets it as the exception.
    """
    started_by_dash_m = _started_by_dash_m()
    if started_by_dash_m and not sys.flags.safe_path and Path.cwd().resolve() != HOME:
        del sys.path[0]
    others = {name: place for name in SIBLINGS if (place := _place_of(name)) != HOME / name}
    if not others:
        return
    lines = [
        f"Meshcast is made of the packages meshcast, {', '.join(SIBLINGS)}, but not all found are its own:",
        *(f"{n}: expected {HOME / n}, but `import {n}` brings {place or 'nothing'}" for n, place in others.items()),
        "Start from another folder, rename what stands in the way, or take its folder out of PYTHONPATH.",
    ]
    message = "\n  ".join(lines)
    if started_by_dash_m or Path(sys.argv[0]).stem == "meshcast":
        print(message, file=sys.stderr)
        raise SystemExit(2)
    raise ImportError(message)


def _started_by_dash_m() -> bool:
    """Return whether `python -m` started this, by argv[0], which is "-m" while Python looks for the module."""
    if not sys.argv or sys.argv[0] != "-m" or "-m" not in sys.orig_argv:
        return False
    module = sys.orig_argv[sys.orig_argv.index("-m") + 1]
    return module.split(".")[0] == "meshcast"


def _place_of(name: str) -> Path | None:
    """Return the folder of the package, or the file of the module, that `import name` brings, if any."""
    module = sys.modules.get(name)
    spec = getattr(module, "__spec__", None) or (None if module else importlib.util.find_spec(name))
    if spec is None:
        return None
    if spec.submodule_search_locations:
        return Path(next(iter(spec.submodule_search_locations))).resolve()
    return Path(spec.origin or name).resolve()
