"""The house holds: each package imports only those before it, and what is heavy or fragile enters by few doors."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from importlib.metadata import packages_distributions
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parent.parent
LAYERS = ("graphs", "emulator", "inference", "training", "meshcast")
DOORS = {
    "torch_scatter": ("emulator/networks/layers/aggregate.py",),
    "torch_geometric": ("graphs/storage.py", "emulator/networks/processors/pyg.py"),
    "yaml": ("emulator/foundation/configuration.py",),
    "tensorflow": ("emulator/networks/keras_networks/tensorflow_library.py",),
    "keras": ("emulator/networks/keras_networks/tensorflow_library.py",),
    "mlflow": ("training/tracking/mlflow_tracker.py",),
    "tensorboard": ("training/tracking/tensorboard_tracker.py",),
}
HEAVY = ("lightning", "pytorch_lightning", "wandb", "matplotlib", "anemoi", "earthkit")
OPTIONAL = ("tensorflow", "keras", "mlflow", "tensorboard")
MOST_FILES = 25  # of one folder
MOST_LINES = 350  # of one file


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


@dataclass(frozen=True)
class Room:
    """A folder of modules, or some modules of a folder, as one row of the table in docs/architecture.md."""

    folder: str
    modules: tuple[str, ...]


def rooms(page: str) -> list[Room]:
    """The rooms of the table, lowest first."""
    rows = re.findall(r"^\| `([\w/]+)`(?:: ([^|]*?))? \|", page.partition("### Rooms, lowest first")[2], re.M)
    return [
        Room(folder, tuple(re.findall(r"`(\w+)`", names))) for folder, names in rows if folder.split("/")[0] in LAYERS
    ]


def rooms_of_modules(root: Path, known: Sequence[Room]) -> tuple[dict[str, int], list[str]]:
    """The room of each module by its dotted name, and a fault for each that has none or two."""
    found, faults = {}, []
    for path in modules(root):
        folder, name = path.relative_to(root).parent.as_posix(), path.stem
        if name == "__init__":
            continue
        places = [
            n for n, room in enumerate(known) if room.folder == folder and (not room.modules or name in room.modules)
        ]
        if len(places) == 1:
            found[dotted(path, root)] = places[0]
        else:
            faults.append(f"{folder}/{name}.py stands in {len(places)} rooms")
    return found, faults


def dotted(path: Path, root: Path) -> str:
    return ".".join(path.relative_to(root).with_suffix("").parts)


def imported_modules(path: Path, names: Collection[str]) -> set[str]:
    """The modules among `names` that a file imports anywhere in it, for typing too."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"), str(path))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return found & set(names)


def imports(root: Path, names: Collection[str]) -> dict[str, set[str]]:
    return {name: imported_modules(root / f"{name.replace('.', '/')}.py", names) for name in names}


def imports_from_later_rooms(root: Path, known: Sequence[Room]) -> list[str]:
    place, _ = rooms_of_modules(root, known)
    return [f"{name} imports {other}" for name, others in imports(root, place).items() for other in sorted(others)
            if place[other] > place[name]]  # fmt: skip


def circle(root: Path, known: Sequence[Room]) -> list[str]:
    """Modules that import each other in a circle; empty where there is none."""
    try:
        list(TopologicalSorter(imports(root, rooms_of_modules(root, known)[0])).static_order())
    except CycleError as error:
        return list(error.args[1])
    return []


def upward_imports(root: Path) -> list[str]:
    """Each import of a package that comes later in the order, and each relative one."""
    faults = []
    for path in modules(root):
        relative = path.relative_to(root)
        own = LAYERS.index(relative.parts[0])
        faults += [f"{relative} imports {name}" for name in imported_packages(path) & {*LAYERS[own + 1 :], "."}]
    return faults


def strays(root: Path) -> list[str]:
    """Each import of a package that has its doors, in another file."""
    return [
        f"{relative} imports {name}"
        for path in modules(root)
        for name in imported_packages(path) & set(DOORS)
        if (relative := path.relative_to(root).as_posix()) not in DOORS[name]
    ]


def test_packages_import_only_packages_before_them() -> None:
    assert upward_imports(ROOT) == []


def test_rooms_import_only_rooms_before_them() -> None:
    known = rooms((ROOT / "docs/architecture.md").read_text(encoding="utf-8"))
    assert rooms_of_modules(ROOT, known)[1] == []
    assert imports_from_later_rooms(ROOT, known) == []
    assert circle(ROOT, known) == []


def test_the_table_of_rooms_is_what_stands_on_disk() -> None:
    known = rooms((ROOT / "docs/architecture.md").read_text(encoding="utf-8"))
    folders = {path.parent.relative_to(ROOT).as_posix() for path in modules(ROOT) if path.stem != "__init__"}
    assert {room.folder for room in known} == folders
    assert [f"{room.folder}/{name}.py" for room in known for name in room.modules
            if not (ROOT / room.folder / f"{name}.py").is_file()] == []  # fmt: skip


def test_a_folder_can_be_taken_in_at_a_glance() -> None:
    files = [
        path for package in (*LAYERS, "tests") for path in (ROOT / package).rglob("*.py") if path.stem != "__init__"
    ]
    counts = Counter(path.parent.relative_to(ROOT).as_posix() for path in files)
    assert {folder: count for folder, count in counts.items() if count > MOST_FILES} == {}


def test_no_file_is_longer_than_one_reads_at_once() -> None:
    lengths = {
        path.relative_to(ROOT).as_posix(): len(path.read_text(encoding="utf-8").splitlines()) for path in modules(ROOT)
    }
    assert {name: length for name, length in lengths.items() if length > MOST_LINES} == {}


def test_planted_faults_of_rooms_are_found(tmp_path: Path) -> None:
    for package in LAYERS:
        (tmp_path / package / "low").mkdir(parents=True)
    (tmp_path / "graphs/low/one.py").write_text("if TYPE_CHECKING:\n    from graphs.two import x\n")
    (tmp_path / "graphs/two.py").write_text("from graphs.low import one\n")
    (tmp_path / "graphs/three.py").write_text("")
    known = rooms("### Rooms, lowest first\n| `graphs/low` | a |\n| `graphs`: `two`, `four` | b |\n")
    assert known == [Room("graphs/low", ()), Room("graphs", ("two", "four"))]
    assert rooms_of_modules(tmp_path, known)[1] == ["graphs/three.py stands in 0 rooms"]
    assert imports_from_later_rooms(tmp_path, known) == ["graphs.low.one imports graphs.two"]
    assert set(circle(tmp_path, known)) == {"graphs.low.one", "graphs.two"}


def test_each_fragile_library_enters_by_its_doors() -> None:
    assert strays(ROOT) == []


def test_planted_faults_are_found(tmp_path: Path) -> None:
    for package in LAYERS:
        (tmp_path / package).mkdir()
    (tmp_path / "graphs/ring.py").write_text("def f():\n    from training.runs.fit import fit\n")
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


def test_the_command_line_starts_without_the_heavy_libraries() -> None:
    assert packages_loaded_by("import meshcast.main") & set(HEAVY) == set()


def test_nothing_loads_tensorflow_before_it_is_asked_for() -> None:
    loaded = packages_loaded_by(
        "import meshcast, emulator.build, training.runs.fit, training.optimisation.keras_training"
    )
    assert "torch" in loaded
    assert loaded & set(OPTIONAL) == set()


def test_the_front_door_does_not_move() -> None:
    """Names may be added; one that is removed or renamed breaks the programs of those who import it."""
    import meshcast

    names = """Mesh Graph MeshcastError ring latlon icosphere default_graphs Variable Task TimeStep State
        Forcings Emulator rollout Fields open_fields spread_starts states_at Forecast load_emulator
        forecast verify compare"""
    assert set(names.split()) <= set(meshcast.__all__)
    for name in meshcast.__all__:
        assert getattr(meshcast, name) is not None
