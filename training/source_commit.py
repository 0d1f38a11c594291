"""The commit of git that this source is at, for what is recorded of a run."""

from __future__ import annotations

import subprocess
from functools import cache
from pathlib import Path

import training


@cache
def source_commit() -> str:
    """Return the commit of git that this source was checked out at, and whether it was changed since; empty of none."""
    root = Path(training.__file__).resolve().parent.parent
    if not (root / ".git").exists():
        return ""
    try:
        commit = _git(root, "rev-parse", "HEAD")
        return commit + ("-modified" if _git(root, "status", "--porcelain", "--untracked-files=no") else "")
    except (OSError, subprocess.SubprocessError):
        return ""


def _git(root: Path, *command: str) -> str:
    found = subprocess.run(["git", "-C", str(root), *command], capture_output=True, text=True, timeout=10, check=True)
    return found.stdout.strip()
