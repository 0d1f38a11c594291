"""Turned samples: the solver agrees, each is a function of seed, epoch and sample, what knows its place is refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from emulator.baselines.linear_inverse import LinearInverseConfig
from emulator.baselines.ridge import RidgeConfig
from emulator.build import load_emulator
from emulator.features.departures import DeparturesConfig
from emulator.forcings import Forcings
from emulator.networks.ffnn import FFNNConfig
from emulator.networks.gnn import GNNConfig
from emulator.physics.ring_equations import APEBENCH
from emulator.physics.ring_solver import RingSolver
from emulator.task import Variable
from graphs.errors import MeshcastError
from graphs.meshes.icosphere import icosphere
from tests.emulator.worlds import FRAME, WAVES, wave_fields
from tests.training.worlds import experiment
from training.optimisation.callbacks import KeepCheckpoints
from training.preparation.turning import Shift, share_of_circle, turning_of
from training.preparation.windows import ShuffledStream, Windows, WindowsWithin
from training.runs.fit import fit

SHIFT = {"shift": True}
INVERSE = GNNConfig(departures=DeparturesConfig("month"), first_guess=LinearInverseConfig())


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
    config, keep = experiment(tmp_path, "broken", whole_field, SHIFT), KeepCheckpoints.on_validation_end

    def keep_then_stop(self, trainer, module) -> None:
        keep(self, trainer, module)
        if trainer.global_step == 16:
            raise KeyboardInterrupt

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(KeepCheckpoints, "on_validation_end", keep_then_stop)
        fit(config, progress=False)
    again = fit(config, resume="auto", progress=False).emulator.state_dict()
    assert all(torch.equal(again[name], weights) for name, weights in whole.items())
    assert load_emulator(tmp_path / "broken").metadata["experiment"]["training"]["shift"] is True


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
