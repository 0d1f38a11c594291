"""The house holds: each package imports only those before it, and what is heavy or fragile enters through one door."""

from __future__ import annotations

import ast
import subprocess
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parent.parent
LAYERS = ("graphs", "emulator", "inference", "training", "meshcast")
ONLY_DOOR = {
    "torch_scatter": "emulator/networks/aggregate.py",
    "torch_geometric": "graphs/storage.py",
    "yaml": "emulator/configuration.py",
    "tensorflow": "emulator/networks/tensorflow_library.py",
    "keras": "emulator/networks/tensorflow_library.py",
}
HEAVY = ("lightning", "pytorch_lightning", "wandb", "matplotlib", "anemoi", "earthkit")
OPTIONAL = ("tensorflow", "keras")


def modules(root: Path, packages: tuple[str, ...] = LAYERS) -> list[Path]:
    return sorted(path for package in packages for path in (root / package).rglob("*.py"))


def imported_packages(path: Path) -> set[str]:
    """The top-level packages a file imports anywhere in it; a relative import counts as "."."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"), str(path))):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found.add("." if node.level else (node.module or "").split(".")[0])
    return found


def upward_imports(root: Path) -> list[str]:
    """Each import of a package that comes later in the order, and each relative one."""
    faults = []
    for path in modules(root):
        relative = path.relative_to(root)
        own = LAYERS.index(relative.parts[0])
        faults += [f"{relative} imports {name}" for name in imported_packages(path) & {*LAYERS[own + 1 :], "."}]
    return faults


def strays(root: Path) -> list[str]:
    """Each import of a package that has one door, in another file."""
    return [
        f"{relative} imports {name}"
        for path in modules(root)
        for name in imported_packages(path) & set(ONLY_DOOR)
        if (relative := path.relative_to(root).as_posix()) != ONLY_DOOR[name]
    ]


def test_packages_import_only_packages_before_them() -> None:
    assert upward_imports(ROOT) == []


def test_each_fragile_library_has_one_door() -> None:
    assert strays(ROOT) == []


def test_planted_faults_are_found(tmp_path: Path) -> None:
    for package in LAYERS:
        (tmp_path / package).mkdir()
    (tmp_path / "graphs/ring.py").write_text("def f():\n    from training.fit import fit\n")
    (tmp_path / "emulator/task.py").write_text("from . import state\nimport graphs.mesh, yaml\n")
    (tmp_path / "meshcast/main.py").write_text("import graphs, training\nfrom emulator.data import fields\n")
    assert upward_imports(tmp_path) == ["emulator/task.py imports .", "graphs/ring.py imports training"]
    assert strays(tmp_path) == ["emulator/task.py imports yaml"]


def test_every_package_says_what_it_is_and_is_one() -> None:
    """A folder without __init__.py is a namespace that a foreign folder of the same name can extend."""
    folders = {path.parent for path in modules(ROOT)}
    assert sorted(str(folder.relative_to(ROOT)) for folder in folders if not (folder / "__init__.py").is_file()) == []


def test_every_library_imported_is_declared() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    required = [*project["dependencies"], *(r for extra in project["optional-dependencies"].values() for r in extra)]
    declared = {canonicalize_name(Requirement(requirement).name) for requirement in required}
    distributions = packages_distributions()
    imported = set().union(*(imported_packages(path) for path in modules(ROOT))) - set(LAYERS) - sys.stdlib_module_names
    undeclared = {
        name for name in imported if not declared & {canonicalize_name(d) for d in distributions.get(name, [name])}
    }
    assert undeclared == set()


def packages_loaded_by(statement: str) -> set[str]:
    code = f"import sys; {statement}; print(*sorted({{name.split('.')[0] for name in sys.modules}}))"
    finished = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert finished.returncode == 0, finished.stderr
    return set(finished.stdout.split())


def test_importing_meshcast_loads_no_library() -> None:
    assert packages_loaded_by("import meshcast") & {"torch", "numpy", "scipy", *HEAVY} == set()


@pytest.mark.skipif(not (ROOT / "meshcast/main.py").exists(), reason="there is no command line yet")
def test_the_command_line_starts_without_the_heavy_libraries() -> None:
    assert packages_loaded_by("import meshcast.main") & set(HEAVY) == set()


def test_nothing_loads_tensorflow_before_it_is_asked_for() -> None:
    loaded = packages_loaded_by("import meshcast, emulator.build, training.fit, training.keras_training")
    assert "torch" in loaded
    assert loaded & set(OPTIONAL) == set()


def test_every_public_name_is_there() -> None:
    import meshcast

    for name in meshcast.__all__:
        assert getattr(meshcast, name) is not None
