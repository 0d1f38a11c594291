"""Turned samples: the solver agrees, each is a function of seed, epoch and sample, what knows its place is refused."""

from __future__ import annotations

import json
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from emulator.baselines.linear_inverse import LinearInverseConfig
from emulator.baselines.ridge import RidgeConfig
from emulator.build import load_emulator
from emulator.data.arrays import ArrayFields
from emulator.data.sources import open_fields
from emulator.features.departures import DeparturesConfig
from emulator.forcings import Forcings
from emulator.foundation.configuration import resolve
from emulator.foundation.time_step import TimeStep
from emulator.harmonic_fields import HarmonicFields, HarmonicsConfig
from emulator.heating_cycle import HeatingCycle
from emulator.networks.ffnn import FFNNConfig
from emulator.networks.gnn import GNNConfig
from emulator.physics.ring_equations import APEBENCH
from emulator.physics.ring_solver import RingSolver
from emulator.physics.shallow_water import Mountain, ShallowWaterConfig
from emulator.physics.simulate import simulate
from emulator.physics.sphere_simulation import (
    GaussianMesh,
    SphereSimulationConfig,
    sphere_arrays,
    sphere_mesh,
    written_variables,
)
from emulator.physics.sphere_solver import SphereSolver, sampled
from emulator.physics.sphere_states import BalancedFlow
from emulator.task import Task, Variable
from graphs.errors import MeshcastError
from graphs.geometry import to_xyz
from graphs.harmonics.nodes import Evaluation
from graphs.meshes.icosphere import IcosphereMesh, icosphere
from graphs.meshes.limited_area import CapWindow
from tests.emulator.worlds import FRAME, WAVES, wave_fields
from tests.training.worlds import experiment
from training.experiment import DataConfig, DataPart, ExperimentConfig
from training.optimisation.callbacks import KeepCheckpoints
from training.preparation.data_checks import refuse_learned_test
from training.preparation.prepared import PreparedData, fingerprint, prepare, windows_of
from training.preparation.turning import HarmonicRotation, RowRotation, Shift, share_of_circle, turning_of
from training.preparation.windows import ShuffledStream, Windows, WindowsWithin
from training.runs.data_in_words import data_sentences
from training.runs.fit import fit
from training.task_config import TaskConfig

SHIFT = {"shift": True}
INVERSE = GNNConfig(departures=DeparturesConfig("month"), first_guess=LinearInverseConfig())


# A planet of T10 on a grid that tells it, and on an icosphere whose 42 nodes do not.
FLOW = Task(
    (
        Variable("h", "prognostic", conserved=True),
        Variable("u", "prognostic", partner="v"),
        Variable("v", "prognostic", partner="u"),
    ),
    TimeStep(10_800),
)
NAMES = ("h", "u", "v")
PLANET = SphereSimulationConfig(
    equation=ShallowWaterConfig(truncation=10),
    initial_states=BalancedFlow(degrees=(2, 6)),
    mesh=GaussianMesh(num_latitudes=16, num_longitudes=32),
    num_trajectories=5,
    num_frames=6,
)
HARMONICS = HarmonicsConfig(10, IcosphereMesh(level=1))
ROTATION = {"rotation": True}
BOTH = {"rotation": True, "mirror": ("v",)}
HILLS = replace(PLANET.equation, mountains=(Mountain(),))
TILTED = replace(PLANET.equation, axis_tilt=30.0)
HEATED = replace(PLANET.equation, heating=HeatingCycle())


def shifted(fields, seed: int = 0, **options) -> Windows:
    return Windows(fields, WAVES, 2, Forcings(), seed, turning=Shift(fields), **options)


@pytest.mark.parametrize("name", APEBENCH)
def test_a_shifted_trajectory_is_the_solvers_from_the_shifted_start(name: str) -> None:
    fields = wave_fields()
    advance = RingSolver(APEBENCH[name], fields.mesh, 1.0).advance
    start = torch.from_numpy(fields.values[0, :, :, 0])
    rolled = start.roll(7, dims=-1)
    error = (advance(rolled) - advance(start).roll(7, dims=-1)).abs().max()
    assert error < 1e-12
    assert (advance(rolled) - advance(start)).abs().max() > 1e-2


def test_every_sample_is_shifted_by_a_number_of_nodes_of_its_own_in_each_epoch() -> None:
    fields = wave_fields()
    plain, windows = Windows(fields, WAVES, 2, Forcings()), shifted(fields)
    met = set()
    for epoch in range(12):
        for sample in range(len(windows)):
            nodes = int(24 * share_of_circle(0, epoch, sample))
            expected = np.roll(plain[sample]["values"].numpy(), nodes, axis=1)
            np.testing.assert_array_equal(windows[epoch, sample]["values"], expected)
            met.add((sample, nodes))
    assert {nodes for _, nodes in met} == set(range(24))
    assert len(met) > 8 * len(windows)  # of twelve epochs two rarely agree on a sample


def test_a_turn_is_even_around_the_circle_and_a_function_of_seed_epoch_and_sample() -> None:
    turns = np.array([share_of_circle(0, epoch, sample) for epoch in range(40) for sample in range(50)])
    assert turns.min() >= 0.0 and turns.max() < 1.0
    counts = np.histogram(turns, bins=10, range=(0.0, 1.0))[0]
    assert np.abs(counts - 200).max() < 60
    assert share_of_circle(3, 5, 7) == share_of_circle(3, 5, 7)
    assert len({share_of_circle(*key) for key in ((3, 5, 7), (4, 5, 7), (3, 6, 7), (3, 5, 8))}) == 4


def test_a_turning_leaves_the_noise_as_it_was_and_is_none_of_it() -> None:
    fields = wave_fields()
    plain, windows = Windows(fields, WAVES, 2, Forcings(), 3, "white"), shifted(fields, 3, noise="white")
    for epoch, sample in ((0, 0), (2, 5)):
        assert torch.equal(plain[epoch, sample]["noise"], windows[epoch, sample]["noise"])
    unlike = np.random.Generator(np.random.Philox(key=np.array([3, 2 << 32], np.uint64))).random()
    assert unlike != share_of_circle(3, 2, 0)


def test_a_resumed_stream_shifts_what_it_takes_as_the_whole_one_does() -> None:
    windows = shifted(wave_fields(), 3)
    taken = [windows[index]["values"] for index in ShuffledStream(len(windows), 8, 12, seed=3)]
    later = [windows[index]["values"] for index in ShuffledStream(len(windows), 8, 12, seed=3, start=7)]
    assert all(torch.equal(*pair) for pair in zip(taken[56:], later, strict=True))


def test_the_times_within_a_step_are_turned_with_it() -> None:
    fields = wave_fields()
    task = replace(WAVES, time_step=FRAME.times(3))
    plain = WindowsWithin(fields, task, Forcings())
    windows = WindowsWithin(fields, task, Forcings(), turning=Shift(fields), seed=5)
    for epoch, sample in ((0, 0), (1, 3), (4, 9)):
        nodes, given, turned = int(24 * share_of_circle(5, epoch, sample)), plain[sample], windows[epoch, sample]
        for name in ("values", "within"):
            np.testing.assert_array_equal(turned[name], np.roll(given[name].numpy(), nodes, axis=1))


def test_a_run_with_shifted_samples_learns_otherwise_and_goes_on_bit_for_bit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole_field = FFNNConfig(scope="whole", width=16)
    plain = fit(experiment(tmp_path, "plain", whole_field), progress=False).emulator.state_dict()
    whole = fit(experiment(tmp_path, "whole", whole_field, SHIFT), progress=False).emulator.state_dict()
    assert any(not torch.equal(plain[name], weights) for name, weights in whole.items())
    again = interrupted(experiment(tmp_path, "broken", whole_field, SHIFT), monkeypatch)
    assert all(torch.equal(again[name], weights) for name, weights in whole.items())
    assert load_emulator(tmp_path / "broken").metadata["experiment"]["training"]["shift"] is True


def interrupted(config: ExperimentConfig, monkeypatch: pytest.MonkeyPatch) -> dict[str, torch.Tensor]:
    """Return the weights of a run that was broken off at update 16 and went on."""
    keep = KeepCheckpoints.on_validation_end

    def keep_then_stop(self, trainer, module) -> None:
        keep(self, trainer, module)
        if trainer.global_step == 16:
            raise KeyboardInterrupt

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(KeepCheckpoints, "on_validation_end", keep_then_stop)
        fit(config, progress=False)
    return fit(config, resume="auto", progress=False).emulator.state_dict()


def test_nothing_is_turned_unless_asked_and_a_shared_ridge_knows_no_place(tmp_path: Path) -> None:
    fields = wave_fields()
    assert turning_of(experiment(tmp_path), WAVES, fields) is None
    ridge = GNNConfig(first_guess=RidgeConfig())
    assert isinstance(turning_of(experiment(tmp_path, emulator=ridge, training=SHIFT), WAVES, fields), Shift)


@pytest.mark.parametrize(
    ("emulator", "task", "said"),
    [
        (GNNConfig(node_statistics=True), WAVES, "node_statistics may tell"),
        (GNNConfig(departures=DeparturesConfig("none")), WAVES, "departures may tell"),
        (
            GNNConfig(departures=DeparturesConfig("month"), first_guess=LinearInverseConfig()),
            WAVES,
            "first guess linear_inverse may tell",
        ),
        (GNNConfig(), replace(WAVES, variables=(*WAVES.variables, Variable("depth", "static"))), "depth may tell"),
        (GNNConfig(), replace(WAVES, variables=(*WAVES.variables, Variable("heat", "forcing"))), "heat may tell"),
    ],
)
def test_what_knows_its_place_is_refused(emulator, task, said, tmp_path: Path) -> None:
    with pytest.raises(MeshcastError, match=said):
        turning_of(experiment(tmp_path, emulator=emulator, training=SHIFT), task, wave_fields())


def planet(config: SphereSimulationConfig = PLANET) -> ArrayFields:
    """Return trajectories of shallow water that say which simulation they are of."""
    values, times = sphere_arrays(config).swapaxes(0, 1), FLOW.time_step.advance(np.zeros(6, np.int64), np.arange(6))
    names = tuple(variable.name for variable in written_variables(config))
    said = {"simulation": json.dumps(resolve(config))}
    mesh = sphere_mesh(config.mesh)
    return ArrayFields(values, names, ("1",) * len(names), mesh, FLOW.time_step, times, attributes=said)


def on_a_planet(folder: Path, harmonics: HarmonicsConfig | None = HARMONICS, **sections) -> ExperimentConfig:
    """Return an experiment on the planet, its data still to be written."""
    source = str(folder / "planet.zarr")
    parts = {"train": (0, 3), "validation": (3, 4), "test": (4, 5)}
    data = DataConfig(**{name: DataPart(source, rows) for name, rows in parts.items()}, harmonics=harmonics)
    task = TaskConfig(("h", "u", "v"), partners={"u": "v", "v": "u"})
    return experiment(folder, **{"training": ROTATION, "data": data, "task": task, **sections})


@pytest.fixture(scope="module")
def truth(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with the planet as simulations write it, on the grid and on the icosphere."""
    folder = tmp_path_factory.mktemp("planet")
    simulate(PLANET, folder / "planet.zarr", threads=1)
    simulate(replace(PLANET, mesh=HARMONICS.mesh), folder / "coarse.zarr", threads=1)
    return folder


@pytest.mark.parametrize("turn", [3 / 32, 0.3217])
def test_a_rotated_truth_is_the_solvers_run_from_the_rotated_start(turn: float, tmp_path: Path) -> None:
    """On the rows of a grid, and evaluated on an icosphere whose nodes cannot tell the solver's harmonics."""
    fields, frames = planet(), np.arange(6)
    on_rows = turning_of(on_a_planet(tmp_path, None), FLOW, fields)
    on_nodes = turning_of(on_a_planet(tmp_path), FLOW, HarmonicFields(fields, HARMONICS))
    assert isinstance(on_rows, RowRotation) and isinstance(on_nodes, HarmonicRotation)
    turned = on_rows.read(frames, NAMES, 2, turn)  # [time, node, variable]
    assert np.abs(turned - fields.values[:, 2]).max() > 10.0
    solver = SphereSolver(
        PLANET.equation, FLOW.time_step
    )  # its rows run from the south, the simulation's from the north
    start = turned[0].reshape(16, 32, 3)[::-1].astype(np.float64)
    spectral = solver.analysis(torch.from_numpy(start.copy()).reshape(1, -1, 3))
    for frame in frames:
        for reader, mesh in ((on_rows, fields.mesh), (on_nodes, icosphere(1))):
            found = reader.read(np.array([frame]), NAMES, 2, turn)[0]
            run = sampled(spectral, Evaluation(mesh, 10), solver.equation())[0].numpy()
            error = np.abs(found - run).max(axis=0)
            assert (error < [5e-3, 1e-4, 1e-4]).all(), (mesh.describe(), frame, error)
        spectral = solver.equation().advance(spectral, 10_800.0)


def test_training_windows_are_turned_and_validation_starts_lie_on_the_mesh_as_they_are(truth: Path) -> None:
    prepared = prepare(on_a_planet(truth))
    windows, starts = windows_of(prepared)
    coarse = open_fields(str(truth / "coarse.zarr"))
    assert prepared.train.mesh.same_nodes(coarse.mesh) and windows.turning is not None and starts.turning is None
    size = coarse.read(slice(0, 6), NAMES).std(axis=(0, 1, 2))
    for sample, (_, start) in enumerate(starts.pairs):
        frames = coarse.read(start + starts.window, NAMES, 3)[:, 0]
        assert (np.abs(starts[sample]["values"].numpy() - frames) < 2e-5 * size).all()
    row, start = windows.pairs[7].tolist()
    turn = share_of_circle(prepared.config.training.seed, 4, 7)
    expected = prepared.train.read_turned(start + windows.window, NAMES, row, turn)
    np.testing.assert_array_equal(windows[4, 7]["values"], expected)
    assert not torch.equal(windows[4, 7]["values"], windows[5, 7]["values"])
    assert turning_of(on_a_planet(truth, training={}), prepared.task, prepared.train) is None


def test_what_is_stored_tells_data_apart_whatever_mesh_they_are_taken_to(truth: Path) -> None:
    stored = open_fields(str(truth / "planet.zarr"))
    assert fingerprint(HarmonicFields(stored, HARMONICS)) == fingerprint(stored)
    prepared, data = prepare(on_a_planet(truth)), PreparedData()
    assert prepared.description(data)["training"]["values of what is predicted"] == prepared.train.digest(NAMES)
    said = " ".join(
        data_sentences(prepared.train, prepared.validation, None, prepared.task, prepared.config.data.train)
    )
    assert "from a global mesh of 16 x 32 nodes by spherical harmonics up to degree 10." in said


def test_a_test_part_that_was_learned_from_is_found_on_the_other_mesh(truth: Path) -> None:
    config = on_a_planet(truth)
    for rows, refused in (((3, 5), False), ((2, 5), True)):
        test = DataPart(str(truth / "coarse.zarr"), rows, harmonics=HARMONICS)
        validation = replace(config.data.validation, trajectories=(4, 5))
        prepared = prepare(replace(config, data=replace(config.data, validation=validation, test=test)))
        with nullcontext() if not refused else pytest.raises(MeshcastError, match="trajectories 2 stand in both"):
            refuse_learned_test(test.open(), prepared.task, {"training": prepared.train}, 1)


def test_a_run_on_turned_mirrored_samples_goes_on_bit_for_bit(truth: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = fit(on_a_planet(truth, training=BOTH, name="whole"), progress=False).emulator.state_dict()
    plain = fit(on_a_planet(truth, training=BOTH | {"rotation": False}, name="plain"), progress=False)
    assert any(not torch.equal(plain.emulator.state_dict()[name], weights) for name, weights in whole.items())
    again = interrupted(on_a_planet(truth, training=BOTH, name="broken"), monkeypatch)
    assert all(torch.equal(again[name], weights) for name, weights in whole.items())


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        (lambda: planet(replace(PLANET, mesh=HARMONICS.mesh)), r"42 nodes as they are\. Give data on a finer mesh"),
        (
            lambda: planet(replace(PLANET, equation=HILLS)),
            "the orography of the data, .*'s mountains may tell",
        ),
        (lambda: replace(planet(replace(PLANET, equation=HILLS)), attributes={}), "the orography of the data may tell"),
        (lambda: planet(replace(PLANET, equation=TILTED)), "the simulation's axis_tilt may tell"),
        (lambda: planet(replace(PLANET, equation=HEATED)), "the simulation's heating may tell"),
        (lambda: with_noise(planet()), "shortest wave holds .* of the standard deviation of v"),
        (lambda: unevenly(planet()), r"rows of evenly spaced longitudes, .* 16 x 32 nodes as they are"),
        (wave_fields, r"turns a planet .* ring of 24 nodes.*On a ring training\.shift turns them"),
    ],
)
def test_what_cannot_be_rotated_exactly_is_refused(fields, said, tmp_path: Path) -> None:
    with pytest.raises(MeshcastError, match=said):
        turning_of(on_a_planet(tmp_path, None), FLOW, fields())


def with_noise(fields: ArrayFields) -> ArrayFields:
    noise = np.random.default_rng(0).normal(size=fields.values.shape)
    return replace(fields, values=(fields.values + 20.0 * noise).astype(np.float32))


def unevenly(fields: ArrayFields) -> ArrayFields:
    longitudes = fields.mesh.longitudes + 3.0 * np.sin(np.radians(fields.mesh.longitudes))
    positions = to_xyz(fields.mesh.latitudes, longitudes)
    return replace(fields, mesh=replace(fields.mesh, positions=positions))


def test_harmonics_and_a_window_and_both_turnings_are_refused(tmp_path: Path) -> None:
    config = on_a_planet(tmp_path)
    with pytest.raises(MeshcastError, match=r"data\.harmonics needs the whole sphere"):
        replace(config.data, window=CapWindow((45.0, 10.0), 2500.0, 1000.0))
    with pytest.raises(MeshcastError, match="Set one of the two"):
        turning_of(replace(config, training=replace(config.training, shift=True)), FLOW, planet())
    with pytest.raises(MeshcastError, match=r"makes u10 and v10 a wind"):
        replace(config, task=TaskConfig(("h", "u10", "v10"), partners={"u10": "v10", "v10": "u10"}))


def test_a_shift_of_a_sphere_and_of_a_ring_with_land_are_refused(tmp_path: Path) -> None:
    config, fields = experiment(tmp_path, training=SHIFT), wave_fields()
    land = np.ones((24, 1), bool)
    land[3] = False
    with pytest.raises(MeshcastError, match="nodes without a value of u may tell"):
        turning_of(config, WAVES, fields, land)
    mesh = icosphere(0)
    sphere = replace(fields, mesh=mesh, values=fields.values[:, :, : mesh.num_nodes])
    with pytest.raises(MeshcastError, match=r"training\.shift turns a ring .* global mesh of 12 nodes"):
        turning_of(config, WAVES, sphere)
