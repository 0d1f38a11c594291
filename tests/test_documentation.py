"""What the README and docs/ say is so: commands run, links lead somewhere, tables and code are those of the package."""

from __future__ import annotations

import importlib.util
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from emulator.data.names import TABLE
from graphs.errors import MeshcastError
from meshcast.commands.configs import shipped_config
from tests.time_limits import HUNG

ROOT = Path(__file__).resolve().parent.parent
README = ROOT / "README.md"
FIRST_STEPS = ROOT / "docs/first_steps.md"
PAGES = [README, *sorted((ROOT / "docs").glob("*.md"))]
PLUGINS = ROOT / "tests/plugins"
ERA5 = "era5-2mt-2019-03-uk.grib"


def blocks(page: Path, language: str) -> list[str]:
    """The code blocks of a language, in order."""
    return re.findall(rf"^```{language}\n(.*?)^```$", page.read_text(encoding="utf-8"), re.M | re.S)


def commands(page: Path, language: str) -> list[list[str]]:
    """A page's commands in blocks of a language, but for the shell's own and the two of make."""
    lines = [line.removeprefix("$ ") for block in blocks(page, language) for line in block.splitlines()]
    return [shlex.split(line, comments=True) for line in lines if line and not line.startswith(("make ", "source "))]


def run(command: list[str], folder: Path) -> None:
    program, *arguments = command
    assert program in ("meshcast", "python"), f"a page has a command that is not tested: {shlex.join(command)}"
    start = [sys.executable, "-m", "meshcast"] if program == "meshcast" else [sys.executable]
    environment = {key: value for key, value in os.environ.items() if key != "MESHCAST_DATA"}
    finished = subprocess.run(
        [*start, *arguments], cwd=folder, env=environment, capture_output=True, text=True, check=False, timeout=HUNG
    )
    assert finished.returncode == 0, f"{shlex.join(command)}\n{finished.stdout}\n{finished.stderr}"
    assert "Traceback" not in finished.stderr


def reference() -> ModuleType:
    path = ROOT / "scripts/configuration_reference.py"
    spec = importlib.util.spec_from_file_location("configuration_reference", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_two_commands_stand_in_the_readme_word_for_word() -> None:
    assert blocks(README, "bash")[0] == "make demo\nmake test\n"


def write_files_shown(page: Path, folder: Path) -> None:
    """Write the blocks of a page that are files, each under the name in its first line."""
    for block in blocks(page, "yaml") + blocks(page, "python"):
        name = re.match(r"# (\w+\.(?:yaml|py))\n", block)
        assert name, f"a block without the name of its file: {block[:60]}"
        (folder / name[1]).write_text(block)


@pytest.mark.slow
def test_every_command_of_the_readme_runs_in_a_fresh_folder(tmp_path: Path) -> None:
    write_files_shown(README, tmp_path)
    for command in [*commands(README, "bash"), ["python", "in_python.py"]]:
        run(command, tmp_path)
    assert (tmp_path / "report/report.html").exists()


@pytest.mark.slow
def test_every_first_step_runs_in_a_fresh_folder(tmp_path: Path) -> None:
    write_files_shown(FIRST_STEPS, tmp_path)
    for command in commands(FIRST_STEPS, "bash"):
        run(command, tmp_path)
    for made in ("forecast.nc", "pictures/series.png", "report/report.html", "runs/ranking/report.html", "runs/ks-two"):
        assert (tmp_path / made).exists(), made


@pytest.mark.slow
def test_every_first_step_on_era5_runs(data_folder: Path, tmp_path: Path) -> None:
    (tmp_path / ERA5).symlink_to((data_folder / ERA5).resolve())
    for command in commands(FIRST_STEPS, "console"):
        run(command, tmp_path)
    for made in ("tomorrow.grib", "tomorrow/maps_2t.png", "week/report.html"):
        assert (tmp_path / made).exists(), made


@pytest.mark.parametrize("page", [README, FIRST_STEPS], ids=lambda page: page.name)
def test_python_shown_imports_from_the_front_door(page: Path) -> None:
    shown = [block for block in blocks(page, "python") if "EMULATORS" not in block]
    packages = {name for block in shown for name in re.findall(r"^(?:from|import) (\w+)", block, re.M)}
    assert packages & {"graphs", "emulator", "inference", "training"} == set()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    links = re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8"))
    absent = [link for link in links if not link.startswith("http") and not (page.parent / link).exists()]
    assert absent == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_files_that_a_page_names_are_there(page: Path) -> None:
    named = re.findall(
        r"`((?:graphs|emulator|inference|training|meshcast|configs|scripts|docs)/[\w/.-]+)`", page.read_text()
    )
    assert [name for name in named if not (ROOT / name).exists()] == []


def test_the_configuration_page_is_what_the_dataclasses_say() -> None:
    assert (ROOT / "docs/configuration.md").read_text() == reference().page(), (
        "a configuration has changed: python scripts/configuration_reference.py > docs/configuration.md"
    )


def test_a_new_or_renamed_key_changes_the_configuration_page(monkeypatch: pytest.MonkeyPatch) -> None:
    from dataclasses import make_dataclass

    module = reference()
    planted = make_dataclass("Planted", [("updates_left", int, 3)], frozen=True)
    monkeypatch.setattr(module, "TOP", {**module.TOP, "planted": planted})
    assert "| `updates_left` | whole number | `3` |" in module.page()


def test_the_table_of_names_is_that_of_the_code() -> None:
    page = (ROOT / "docs/data.md").read_text(encoding="utf-8")
    rows = [line for line in page.splitlines() if line.startswith("| `")]
    expected = [
        f"| `{known.name}` | {known.units} | {', '.join(f'`{alias}`' for alias in known.aliases.split())} | "
        f"{known.standard_name} |"
        for known in TABLE
    ]
    assert rows == expected
    assert f"understood for {', '.join(f'`{known.name}`' for known in TABLE if known.on_levels)}." in page


@pytest.mark.parametrize(
    "name",
    [
        "circular_convolution.py",
        "neighbour_mean.py",
        "spectral_regression.py",
        "largest_error.py",
        "quantile_loss.py",
        "text_format.py",
    ],
)
def test_the_plugins_shown_are_the_plugins_tested(name: str) -> None:
    assert (PLUGINS / name).read_text() in blocks(ROOT / "docs/plugins.md", "python")
    assert len((PLUGINS / name).read_text().splitlines()) <= 40


def test_the_plugin_of_the_first_steps_is_the_one_tested() -> None:
    shown = "# circular_convolution.py\n" + (PLUGINS / "circular_convolution.py").read_text()
    assert shown in blocks(FIRST_STEPS, "python")


def test_every_configuration_shown_is_accepted(tmp_path: Path) -> None:
    from emulator.build import EmulatorSection
    from emulator.foundation.configuration import load
    from training.comparison.compare import CompareConfig
    from training.comparison.runs import expanded
    from training.experiment import ExperimentConfig
    from training.tuning.space import fitted
    from training.tuning.tune import SearchConfig, space_asked

    (comparison,) = blocks(FIRST_STEPS, "yaml")
    (tmp_path / "ranking.yaml").write_text(comparison)
    assert len(load(CompareConfig, tmp_path / "ranking.yaml").rows) == 4
    single, several = blocks(ROOT / "docs/plugins.md", "yaml")
    (tmp_path / "single.yaml").write_text(single)
    load(EmulatorSection, tmp_path / "single.yaml")
    (tmp_path / "several.yaml").write_text(comparison.split("rows:")[0] + several)
    load(CompareConfig, tmp_path / "several.yaml")
    rows, tuning, ranges, grid, processors, forecast_file, climate = blocks(ROOT / "docs/comparisons.md", "yaml")
    (tmp_path / "rows.yaml").write_text(comparison.split("rows:")[0] + rows)
    load(CompareConfig, tmp_path / "rows.yaml")
    network = "rows: {network: {emulator: {kind: gnn}}}\n"
    (tmp_path / "tuned.yaml").write_text(comparison.split("rows:")[0] + network + tuning)
    load(CompareConfig, tmp_path / "tuned.yaml")
    (tmp_path / "ranges.yaml").write_text(comparison.split("rows:")[0] + network + ranges)
    load(CompareConfig, tmp_path / "ranges.yaml")
    (searched,) = blocks(ROOT / "docs/tuning.md", "yaml")
    (tmp_path / "searched.yaml").write_text(searched)
    experiment = load(ExperimentConfig, shipped_config("ring-ks"))
    assert len(fitted(space_asked(load(SearchConfig, tmp_path / "searched.yaml"), experiment), experiment).kinds) == 3
    (tmp_path / "ablation.yaml").write_text(comparison.split("rows:")[0] + grid)
    assert len(expanded(load(CompareConfig, tmp_path / "ablation.yaml")).rows) == 4
    (tmp_path / "processors.yaml").write_text(comparison.split("rows:")[0] + processors)
    kinds = [row.emulator.processor.kind for row in load(CompareConfig, tmp_path / "processors.yaml").rows.values()]
    assert kinds == ["kernel", "graphcast", "anemoi_graph_convolution", "anemoi_graph_transformer", "pyg"]
    (tmp_path / "forecast_file.yaml").write_text(comparison.split("rows:")[0] + forecast_file)
    load(CompareConfig, tmp_path / "forecast_file.yaml")
    (tmp_path / "climate.yaml").write_text(comparison.split("rows:")[0].split("forecast:")[0] + network + climate)
    assert load(CompareConfig, tmp_path / "climate.yaml").climate is not None
    (tmp_path / "misspelt.yaml").write_text(comparison.replace("penalties", "penalty").replace("radii", "radius"))
    with pytest.raises(MeshcastError, match="radi"):
        load(CompareConfig, tmp_path / "misspelt.yaml")
