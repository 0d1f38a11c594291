"""The built wheel, installed elsewhere, works in an empty folder and beside foreign packages of the same names."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from dataclasses import dataclass
from pathlib import Path

import pytest

from emulator.networks.message_kernel.compilation import library_name
from meshcast.commands.configs import shipped_configs
from tests.time_limits import HUNG

ROOT = Path(__file__).resolve().parent.parent
FOREIGN = ("training", "inference", "graphs")

pytestmark = pytest.mark.slow
needs_command_line = pytest.mark.skipif(not (ROOT / "meshcast/main.py").exists(), reason="there is no command line yet")


@dataclass(frozen=True)
class Installation:
    """A fresh environment with the wheel in it.

    programs: where its python and its commands are.
    packages: where the wheel's packages are.
    """

    programs: Path
    packages: Path

    def run(self, folder: Path, program: str, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        clean = {key: value for key, value in os.environ.items() if not key.startswith(("PYTHON", "COVERAGE"))}
        command = [str(self.programs / program), *arguments]
        return subprocess.run(
            command, cwd=folder, env=clean | environment, capture_output=True, text=True, check=False, timeout=HUNG
        )


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "wheel", "--quiet"]
    subprocess.run([*pip, "--no-deps", "--no-build-isolation", "--wheel-dir", str(folder), str(ROOT)], check=True)
    (built,) = folder.glob("meshcast-*.whl")
    return built


@pytest.fixture(scope="module")
def installation(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Installation:
    """Without a network: the libraries are seen in the running environment, through a path file."""
    home = tmp_path_factory.mktemp("elsewhere") / "environment"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(home)], check=True)
    programs = home / "bin"
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--python", str(programs / "python")]
    subprocess.run([*pip, "install", "--quiet", "--no-deps", "--no-index", str(wheel)], check=True)
    packages = Path(sysconfig.get_path("purelib", vars={"base": str(home), "platbase": str(home)}))
    (packages / "libraries.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return Installation(programs, packages)


@pytest.fixture
def empty_folder(tmp_path: Path) -> Path:
    folder = tmp_path / "empty"
    folder.mkdir()
    return folder


@pytest.fixture
def foreign_folder(tmp_path: Path) -> Path:
    """A folder with packages of others that bear our names and must never be run."""
    folder = tmp_path / "foreign"
    for name in FOREIGN:
        (folder / name).mkdir(parents=True)
        (folder / name / "__init__.py").write_text("raise RuntimeError('a foreign package was run')\n")
    return folder


def says_what_shadows_what(message: str, folder: Path) -> bool:
    return all(str(folder / name) in message for name in FOREIGN) and "emulator:" not in message


def test_wheel_carries_the_packages_and_the_experiments_and_nothing_else(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    packages = ("graphs", "emulator", "inference", "training", "meshcast")
    sources = {path.relative_to(ROOT).as_posix() for package in packages for path in (ROOT / package).rglob("*.py")}
    templates = {path.relative_to(ROOT).as_posix() for path in (ROOT / "inference").glob("*/templates/*")}
    data = {path.relative_to(ROOT).as_posix() for package in packages for path in (ROOT / package).rglob("files/*")}
    data.add("emulator/references.bib")
    kernel = {path.relative_to(ROOT).as_posix() for path in (ROOT / "emulator").rglob("*.cpp")}
    if shutil.which("c++"):
        kernel.add(f"emulator/networks/message_kernel/{library_name()}")
    shipped = [*(ROOT / "configs").glob("*.yaml"), *(ROOT / "configs/launch").iterdir()]
    experiments = {f"meshcast/{path.relative_to(ROOT).as_posix()}" for path in shipped}
    assert {name for name in names if ".dist-info/" not in name} == sources | templates | data | experiments | kernel


def test_shipped_experiments_are_found_in_the_checkout_and_in_the_wheel(
    installation: Installation, empty_folder: Path
) -> None:
    code = "from meshcast.commands.configs import shipped_configs; print(*shipped_configs().values(), sep='\\n')"
    finished = installation.run(empty_folder, "python", "-c", code)
    assert finished.returncode == 0, finished.stderr
    here = shipped_configs()
    assert list(here.values()) == sorted((ROOT / "configs").glob("*.yaml"))
    there = installation.packages / "meshcast/configs"
    assert finished.stdout.split() == [str(there / path.name) for path in here.values()]


def test_its_own_packages_are_used(installation: Installation, empty_folder: Path) -> None:
    finished = installation.run(empty_folder, "python", "-c", "import meshcast, graphs; print(graphs.__file__)")
    assert finished.stdout.strip() == str(installation.packages / "graphs/__init__.py"), finished.stderr


@needs_command_line
@pytest.mark.parametrize("folder", ["empty_folder", "foreign_folder"])
@pytest.mark.parametrize(
    "command",
    [("meshcast",), ("python", "-m", "meshcast"), ("python", "-m", "torch.distributed.run", "-m", "meshcast")],
    ids=["command", "module", "torchrun"],
)
def test_command_works_in_any_folder(
    command: tuple[str, ...], folder: str, installation: Installation, request: pytest.FixtureRequest
) -> None:
    finished = installation.run(request.getfixturevalue(folder), *command, "--help", OMP_NUM_THREADS="1")
    assert finished.returncode == 0, finished.stderr
    assert "forecast" in finished.stdout


@needs_command_line
@pytest.mark.parametrize("folder", ["empty_folder", "foreign_folder"])
def test_demo_runs_in_any_folder(folder: str, installation: Installation, request: pytest.FixtureRequest) -> None:
    where = request.getfixturevalue(folder)
    finished = installation.run(where, "meshcast", "demo", "ring", WANDB_MODE="offline")
    assert finished.returncode == 0, finished.stdout + finished.stderr
    assert list((where / "runs").rglob("report.html"))


def test_import_names_each_foreign_package_and_its_place(installation: Installation, foreign_folder: Path) -> None:
    finished = installation.run(foreign_folder, "python", "-c", "import meshcast")
    assert finished.returncode == 1
    assert "ImportError" in finished.stderr
    assert "foreign package was run" not in finished.stderr
    assert says_what_shadows_what(finished.stderr, foreign_folder)


@pytest.mark.parametrize("command", [("meshcast",), ("python", "-m", "meshcast")], ids=["command", "module"])
def test_command_names_what_stands_on_pythonpath_without_a_traceback(
    command: tuple[str, ...], installation: Installation, foreign_folder: Path, empty_folder: Path
) -> None:
    finished = installation.run(empty_folder, *command, PYTHONPATH=str(foreign_folder))
    assert finished.returncode == 2
    assert "Traceback" not in finished.stderr
    assert says_what_shadows_what(finished.stderr, foreign_folder)


def test_module_imported_before_is_named(installation: Installation, tmp_path: Path) -> None:
    (tmp_path / "training.py").write_text("")
    code = "import training, sys; sys.path.pop(0); import meshcast"
    finished = installation.run(tmp_path, "python", "-c", code)
    assert str(tmp_path / "training.py") in finished.stderr


def test_folder_that_merely_bears_a_name_is_no_obstacle(installation: Installation, tmp_path: Path) -> None:
    (tmp_path / "graphs").mkdir()
    (tmp_path / "graphs/picture.txt").write_text("")
    finished = installation.run(tmp_path, "python", "-c", "import meshcast; meshcast.Mesh")
    assert finished.returncode == 0, finished.stderr


@pytest.mark.parametrize("folder", ["empty_folder", "foreign_folder"])
def test_notebook_works_or_names_what_shadows_what(
    folder: str,
    installation: Installation,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    request: pytest.FixtureRequest,
) -> None:
    import nbformat
    from nbclient import NotebookClient
    from nbclient.exceptions import CellExecutionError

    where = request.getfixturevalue(folder)
    kernel = tmp_path / "jupyter/kernels/elsewhere"
    kernel.mkdir(parents=True)
    start = [str(installation.programs / "python"), "-m", "ipykernel_launcher", "-f", "{connection_file}"]
    (kernel / "kernel.json").write_text(json.dumps({"argv": start, "display_name": "elsewhere", "language": "python"}))
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path / "jupyter"))
    monkeypatch.delenv("PYTHONPATH", raising=False)
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("import meshcast\nmeshcast.Mesh")])
    client = NotebookClient(notebook, kernel_name="elsewhere", resources={"metadata": {"path": str(where)}})
    if folder == "empty_folder":
        client.execute()
        return
    with pytest.raises(CellExecutionError) as raised:
        client.execute()
    assert says_what_shadows_what(str(raised.value), where)
