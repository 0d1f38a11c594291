"""Every shipped configuration is read as what it is, and what it describes can be built."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from emulator.build import build_network
from emulator.emulator_config import EmulatorConfig
from emulator.foundation.configuration import dump, load
from emulator.foundation.time_step import TimeStep
from emulator.networks.config import NetworkConfig
from emulator.networks.keras_networks.keras_models import KerasConfig
from emulator.physics.climate_simulation import ClimateSimulationConfig, climate_arrays, pathways
from emulator.physics.simulate import SimulationConfig, load_simulation, simulate_arrays, solver
from emulator.physics.simulate import mesh_of as mesh_of_simulation
from emulator.physics.sphere_simulation import SphereSimulationConfig, sphere_arrays
from emulator.task import Task, Variable
from graphs.mesh import Mesh
from graphs.meshes.gaussian import gaussian
from graphs.meshes.grids import build_grid
from graphs.meshes.latlon import latlon
from meshcast.commands.configs import shipped_configs
from tests.meshcast.command_line import done
from tests.training.comparisons import study_runs
from training.comparison.compare import CompareConfig
from training.experiment import ExperimentConfig
from training.preparation.prepared import look_at_test_data, prepare, windows_of
from training.task_config import TaskConfig

CONFIGS = shipped_configs()
KINDS = {
    "simulate-shallow-water": SphereSimulationConfig,
    "simulate-demo-sphere": SphereSimulationConfig,
    "simulate-planetswe": SphereSimulationConfig,
    "simulate-climate": ClimateSimulationConfig,
    "simulate-": SimulationConfig,
    "compare-": CompareConfig,
}
SIMULATIONS = (SimulationConfig, SphereSimulationConfig, ClimateSimulationConfig)
FROM_FILES = ("simulate-planetswe",)  # whose ground and starts are read from real data
MESHES = {
    "data/era5-uk.zarr": lambda: latlon(np.arange(58.0, 49.75, -0.25), np.arange(-10.0, 2.25, 0.25)),
    "data/era5-levels.zarr": lambda: latlon(np.arange(90.0, -93.0, -3.0), np.arange(0.0, 360.0, 3.0)),
    "data/era5-ninety.zarr": lambda: latlon(np.arange(90.0, -93.0, -3.0), np.arange(0.0, 360.0, 3.0)),
    "data/ncep-t2m.zarr": lambda: latlon(np.arange(90.0, -92.5, -2.5), np.arange(0.0, 360.0, 2.5)),
    "data/ipsl.zarr": lambda: latlon(np.arange(85.5, -90.0, -9.0), np.arange(0.0, 360.0, 18.0)),
    "data/ipsl-annual.zarr": lambda: latlon(np.arange(85.5, -90.0, -9.0), np.arange(0.0, 360.0, 18.0)),
    "data/ipsl-monthly.zarr": lambda: latlon(np.arange(85.5, -90.0, -9.0), np.arange(0.0, 360.0, 18.0)),
    "data/north-america.zarr": lambda: latlon(np.arange(60.0, 14.0, -1.25), np.arange(225.0, 316.0, 1.875)),
    "data/north-america-e1.zarr": lambda: latlon(np.arange(60.0, 14.0, -1.25), np.arange(225.0, 316.0, 1.875)),
    "data/pcm.zarr": lambda: gaussian(32),
    "data/sst-monthly.zarr": lambda: latlon(np.arange(88.0, -90.0, -2.0), np.arange(0.0, 360.0, 2.0)),
}
SIMULATED = {config.output: name for name, path in CONFIGS.items() if name.startswith("simulate-")
             for config in [load_simulation(path)]}  # fmt: skip


def kind_of(name: str) -> type:
    return next((cls for prefix, cls in KINDS.items() if name.startswith(prefix)), ExperimentConfig)


def mesh_of(config: ExperimentConfig | CompareConfig) -> Mesh:
    """A mesh like that of the data a configuration names, or that it has them taken to."""
    if config.data.harmonics is not None:
        return build_grid(config.data.harmonics.mesh)
    source = config.data.train.source
    path = source["dataset"] if isinstance(source, dict) else source
    if path in SIMULATED:
        return mesh_of_simulation(load_simulation(CONFIGS[SIMULATED[path]]))
    return MESHES[path]()


def task_of(config: TaskConfig) -> Task:
    names = {role: getattr(config, role) for role in ("prognostic", "diagnostic", "forcing", "static")}
    variables = [
        Variable(name, role, partner=config.partners.get(name), memory=config.memory.get(name))
        for role, group in names.items()
        for name in group
    ]
    return Task(tuple(variables), TimeStep(3600), config.history)  # type: ignore[arg-type]


def build(emulator: EmulatorConfig, task: Task, mesh: Mesh) -> None:
    if isinstance(emulator, NetworkConfig) and not isinstance(emulator, KerasConfig):
        network = build_network(emulator, task, mesh, len(task.static))
        assert sum(weight.numel() for weight in network.parameters()) > 0


@pytest.mark.parametrize("name", CONFIGS)
def test_a_shipped_configuration_is_read_whole_and_written_back_equal(name, tmp_path):
    first = CONFIGS[name].read_text(encoding="utf-8").splitlines()[0]
    assert first.startswith("# ") and len(first) > 20, "the first line is what `meshcast configs list` shows"
    config = load(kind_of(name), CONFIGS[name])
    dump(config, tmp_path / "again.yaml")
    assert load(kind_of(name), tmp_path / "again.yaml") == config


@pytest.mark.parametrize("name", [name for name in CONFIGS if kind_of(name) is ExperimentConfig])
def test_the_emulator_of_an_experiment_is_built_on_a_mesh_like_its_own(name):
    config = load(ExperimentConfig, CONFIGS[name])
    assert config.name == name
    build(config.emulator, task_of(config.task), mesh_of(config))


@pytest.mark.parametrize("name", [name for name in CONFIGS if kind_of(name) is CompareConfig])
def test_the_emulators_of_a_comparison_are_built_on_a_mesh_like_their_own(name):
    config = load(CompareConfig, CONFIGS[name])
    for run in study_runs(config):
        build(run.experiment.emulator, task_of(config.task), mesh_of(config))


@pytest.mark.parametrize("name", [name for name in CONFIGS if kind_of(name) in SIMULATIONS])
def test_the_solver_of_a_simulation_takes_its_first_steps(name, request, tmp_path, monkeypatch):
    overrides = ["num_trajectories=2", "num_frames=3"]
    if kind_of(name) is not ClimateSimulationConfig:
        overrides += ["warm_up=0"]
    if name in FROM_FILES:
        (tmp_path / "data").symlink_to(request.getfixturevalue("data_folder"))
        monkeypatch.chdir(tmp_path)
        overrides += ["equation.truncation=21", "equation.longest_step=3600"]
    config = load_simulation(CONFIGS[name], overrides)
    if not isinstance(config, SimulationConfig):
        spherical = isinstance(config, SphereSimulationConfig)
        frames = sphere_arrays(config) if spherical else climate_arrays(config, pathways(config))
        assert frames.shape[:3] == (2, 3, mesh_of_simulation(config).num_nodes) and np.isfinite(frames).all()
        return
    assert simulate_arrays(config).shape == (2, 3, config.mesh.num_nodes)
    assert solver(config).mesh.num_nodes == config.mesh.num_nodes


def test_experiments_use_data_that_a_shipped_simulation_or_a_dataset_command_makes():
    commands = "".join(path.read_text(encoding="utf-8").splitlines()[0] for path in CONFIGS.values())
    for name, path in CONFIGS.items():
        if kind_of(name) in SIMULATIONS:
            continue
        config = load(kind_of(name), path)
        source = config.data.train.source
        dataset = source["dataset"] if isinstance(source, dict) else source
        assert dataset in SIMULATED or f"-o {dataset}" in commands, (name, dataset)
        assert Path(dataset).suffix == ".zarr" and not Path(dataset).is_absolute()


@pytest.mark.parametrize("name", ["era5-uk", "ncep-t2m", "sst-monthly", "enso", "era5-levels", "climate-gnn"])
def test_an_experiment_on_real_data_is_prepared_from_the_dataset_that_its_first_line_makes(
    name, data_folder, tmp_path, monkeypatch
):
    command = CONFIGS[name].read_text(encoding="utf-8").splitlines()[0].partition("meshcast ")[2].rstrip(")").split()
    monkeypatch.chdir(tmp_path)
    done(*[str(path) for word in command for path in (sorted(data_folder.glob(word)) or [word])])
    prepared = prepare(load(ExperimentConfig, CONFIGS[name]))
    look_at_test_data(prepared)
    windows, starts = windows_of(prepared)
    assert len(windows) and len(starts)
