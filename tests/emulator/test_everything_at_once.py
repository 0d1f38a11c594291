"""Emulators with all a task can have, on every kind of mesh, there and back through a checkpoint."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from emulator.baselines.anomaly_persistence import AnomalyPersistenceConfig, DampedAnomalyConfig
from emulator.baselines.climatology import ClimatologyConfig
from emulator.baselines.linear_inverse import LinearInverseConfig
from emulator.baselines.persistence import PersistenceConfig
from emulator.baselines.recent_mean import RecentMeanConfig
from emulator.baselines.ridge import RidgeConfig
from emulator.build import TrainedEmulator, fit_closed_form, load_emulator, save_emulator
from emulator.data.arrays import ArrayFields
from emulator.data.forcing_sources import forcings_of
from emulator.features.departures import DeparturesConfig
from emulator.networks.gnn import GNNConfig
from emulator.normalise import Statistics
from emulator.protocol import Emulator, rollout
from emulator.task import Task, Variable
from emulator.training_part import TrainingPart
from graphs.edges.build import GraphConfig, NearestEdges
from graphs.mesh import Mesh
from graphs.meshes.latlon import latlon
from graphs.meshes.points import points
from graphs.meshes.ring import ring
from tests.emulator.worlds import HOUR, SMALL, fitted, starting_from

EVERYTHING = Task(
    (
        Variable("10u", "prognostic", "m s-1", partner="10v"),
        Variable("10v", "prognostic", "m s-1", partner="10u"),
        Variable("sst", "prognostic", "K", bounds=(271.0, 305.0)),
        Variable("tp", "diagnostic", "m", bounds=(0.0, None)),
        Variable("ci", "forcing"),
        Variable("co2", "forcing", "ppm"),
        Variable("cos_local_time", "forcing"),
        Variable("orog", "static", "m"),
    ),
    HOUR,
    history=2,
)
LATITUDES, LONGITUDES = np.degrees(np.arcsin(1 - (2 * np.arange(40) + 1) / 40)), np.arange(40) * 222.5 % 360.0
MESHES = {
    "ring": ring(24),
    "global grid with poles": latlon(np.linspace(90, -90, 5), np.arange(8) * 45.0),
    "limited grid": latlon(np.linspace(56, 50, 4), np.linspace(-8, 2, 6)),
    "points on the sphere": points(LATITUDES, LONGITUDES),
    "points of an area": points(50.0 + LATITUDES / 20, 10.0 + LONGITUDES / 30),
}


def world(mesh: Mesh, times: int = 60) -> ArrayFields:
    """Hourly fields of the task; a fifth of the nodes is land, where sst and sea ice are NaN."""
    rng = np.random.default_rng(0)
    size = (times, 1, mesh.num_nodes)
    land = np.arange(mesh.num_nodes) % 5 == 0
    columns = {
        "10u": rng.normal(8.0, 3.0, size),
        "10v": rng.normal(0.0, 1.0, size),
        "sst": np.where(land, np.nan, rng.normal(285.0, 2.0, size)),
        "tp": np.abs(rng.normal(0.0, 1e-3, size)),
        "ci": np.where(land, np.nan, rng.uniform(0, 1, size)),
        "orog": np.broadcast_to(np.where(land, 100.0 * np.arange(mesh.num_nodes), 0.0), size),
    }
    start = np.datetime64("2019-12-31T06", "s").astype(np.int64)
    return ArrayFields(
        np.stack(list(columns.values()), axis=-1).astype(np.float32),
        tuple(columns), ("m s-1", "m s-1", "K", "m", "1", "m"), mesh, HOUR,
        start + 3600 * np.arange(times), "member",
    )  # fmt: skip


def part_of(fields: ArrayFields, folder: Path) -> TrainingPart:
    table = folder / "co2.csv"
    table.write_text("date,co2\n2019-12-31,400\n2020-01-10,410\n")
    return TrainingPart(fields, forcings=forcings_of(EVERYTHING, fields.mesh, fields, [table]))


def test_features_stand_where_they_belong_and_at_their_times(tmp_path: Path) -> None:
    fields = world(MESHES["limited grid"])
    part = part_of(fields, tmp_path)
    emulator = fitted(EVERYTHING, fields, part=part)
    inputs, values = emulator.inputs, fields.values.astype(np.float64)
    shared = np.sqrt((values[..., 0] ** 2 + values[..., 1] ** 2).mean() / 2)
    assert inputs.mean[:2].tolist() == [0.0, 0.0] and inputs.std[:2].tolist() == pytest.approx([shared] * 2, rel=1e-6)
    seen: list[torch.Tensor] = []
    emulator.network.register_forward_pre_hook(lambda _, arguments: seen.append(arguments[0]))
    list(rollout(emulator, starting_from(fields, EVERYTHING, [0, 20]), part.provider, 3))
    for done, features in enumerate(seen):
        assert features.shape == (2, 24, 2 * 3 + 3 * 3 + 1)
        for row, first in enumerate([0, 20]):
            times = first + done + np.arange(3)  # history of two, then the target
            ice = (values[times, 0, :, 4] - np.nanmean(values[..., 4])) / np.nanstd(values[..., 4])
            torch.testing.assert_close(features[row, :, [6, 9, 12]].double().T, torch.from_numpy(np.nan_to_num(ice)),
                                       rtol=1e-4, atol=1e-4)  # fmt: skip
            hours = (fields.times[times] - fields.times[0]) / 3600
            all_hours = (fields.times - fields.times[0]) / 3600
            co2 = (hours - all_hours.mean()) / all_hours.std()
            assert features[row, 3, [7, 10, 13]].tolist() == pytest.approx(co2.tolist(), abs=1e-3)
        height = torch.from_numpy((values[0, 0, :, 5] - values[0, 0, :, 5].mean()) / values[0, 0, :, 5].std())
        torch.testing.assert_close(features[1, :, -1].double(), height, rtol=1e-5, atol=1e-5)
    wind = (values[[0, 1], 0, :, 0] / shared, values[[0, 1], 0, :, 1] / shared)
    torch.testing.assert_close(seen[0][0, :, [0, 3]].double().T, torch.from_numpy(wind[0]), rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(seen[0][0, :, [1, 4]].double().T, torch.from_numpy(wind[1]), rtol=1e-5, atol=1e-5)


def emulators(fields: ArrayFields, part: TrainingPart) -> dict[str, tuple[Emulator, Any]]:
    """Every kind the package has, fitted."""
    radius = 1 if fields.mesh.structured or fields.mesh.domain.kind == "ring" else 0
    ridge = RidgeConfig(radii=(radius,), penalties=(1e-3,))
    nearest = GraphConfig(NearestEdges(neighbours=4))
    networks = {
        "kernel": GNNConfig(processor=SMALL),
        "kernel on its nearest": GNNConfig(processor=SMALL, graph=nearest),
        "interaction on ridge": GNNConfig(processor=replace(SMALL, kind="interaction"), first_guess=ridge),
    }
    closed = {
        "persistence": PersistenceConfig(),
        "climatology": ClimatologyConfig("climatology", "hour_month"),
        "anomaly persistence": AnomalyPersistenceConfig("anomaly_persistence", "none"),
        "damped anomaly": DampedAnomalyConfig(period="hour", max_lead=3, per_node=True),
        "recent mean": RecentMeanConfig(period="none", steps=2),
        "linear inverse": LinearInverseConfig(period="none", modes=3),
        "ridge": ridge,
        "anomaly ridge": replace(ridge, departures=DeparturesConfig("none")),
    }
    made: dict[str, tuple[Emulator, Any]] = {}
    for name, config in networks.items():
        made[name] = fitted(EVERYTHING, fields, config, part=part), config
    for name, baseline in closed.items():
        made[name] = fit_closed_form(baseline, EVERYTHING, part), baseline
    return made


@pytest.mark.parametrize("name", MESHES)
def test_every_emulator_on_every_mesh_comes_back_from_its_checkpoint(tmp_path: Path, name: str) -> None:
    fields = world(MESHES[name], 30)
    part = part_of(fields, tmp_path)
    names = tuple(variable.name for variable in EVERYTHING.predicted)
    statistics = Statistics.of(fields, names)
    state = starting_from(fields, EVERYTHING, [0, 9])
    land = np.isnan(fields.values[0, 0, :, 2])
    for label, (emulator, config) in emulators(fields, part).items():
        path = tmp_path / f"{label}.safetensors"
        save_emulator(path, TrainedEmulator(label, emulator, config, statistics))
        back = load_emulator(path)
        assert back.emulator.task == emulator.task and back.emulator.mesh.domain == fields.mesh.domain
        np.testing.assert_array_equal(back.emulator.mesh.areas, fields.mesh.areas)
        assert back.emulator.mesh.shape == fields.mesh.shape
        both = zip(*(rollout(e, state, part.provider, 3) for e in (emulator, back.emulator)), strict=True)
        for step, ((one, rain), (other, other_rain)) in enumerate(both, 1):
            np.testing.assert_array_equal(one.values, other.values, err_msg=label)
            np.testing.assert_array_equal(rain, other_rain, err_msg=label)
            np.testing.assert_array_equal(one.valid_time, state.valid_time + step * 3600)
            assert rain.shape == (2, 1, fields.mesh.num_nodes, 1) and rain.min() >= 0, label
            assert torch.isfinite(one.now[..., :2]).all(), label
            np.testing.assert_array_equal(np.isnan(one.now[..., 2]), np.broadcast_to(land, (2, 1, len(land))), label)
