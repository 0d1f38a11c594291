"""The set-up: one constrained set of libraries, and a clear word where no Python fits."""

from __future__ import annotations

import os
import re
import subprocess
import tomllib
from pathlib import Path

from packaging.requirements import Requirement
from packaging.specifiers import Specifier
from packaging.utils import canonicalize_name

from tests.time_limits import HUNG

ROOT = Path(__file__).resolve().parent.parent


def constraints() -> dict[str, Specifier]:
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    found = [Requirement(line) for line in lines if line and not line.startswith("#")]
    return {canonicalize_name(requirement.name): next(iter(requirement.specifier)) for requirement in found}


def requirements() -> list[Requirement]:
    text = tomllib.loads((ROOT / "pyproject.toml").read_text())
    project = text["project"]
    listed = [*text["build-system"]["requires"], *project["dependencies"]]
    listed += [requirement for extra in project["optional-dependencies"].values() for requirement in extra]
    return [requirement for requirement in map(Requirement, listed) if requirement.name != "meshcast"]


def test_constraints_name_versions_only() -> None:
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    assert [line for line in lines if not re.fullmatch(r"#.*|[\w.-]+==[\w.]+(\.\*)?", line)] == []


def test_every_requirement_is_constrained_to_a_version_it_allows() -> None:
    held = constraints()
    versions = {name: specifier.version.replace(".*", ".0") for name, specifier in held.items()}
    loose = [r for r in requirements() if not r.specifier.contains(versions.get(canonicalize_name(r.name), "0"))]
    assert [r.name for r in loose] == ["triton"], "each PyTorch for CUDA brings a Triton of its own"
    assert held["torch"].version.endswith(".*"), (
        "torch is held to its minor version, so that builds for any device match"
    )


def test_unsuitable_python_is_refused_with_advice(tmp_path: Path) -> None:
    environment = os.environ | {"PYTHON": "/bin/false", "VENV": str(tmp_path / "environment")}
    finished = subprocess.run(
        [ROOT / "scripts/setup.sh"], env=environment, capture_output=True, text=True, check=False, timeout=HUNG
    )
    assert finished.returncode == 2
    assert "Meshcast needs 3.11, 3.12 or 3.13" in finished.stderr
    assert not (tmp_path / "environment").exists()
