"""Limited areas: the boundary is given, seen ahead, exact, and counts in no loss and no score."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from emulator.baselines.ridge import RidgeConfig
from emulator.boundary import BoundaryForcings, BoundarySeries, boundary_mask, with_boundary
from emulator.data.arrays import ArrayFields
from emulator.data.coordinates import nodes_among
from emulator.data.sources import FieldsView, in_window, on_area
from emulator.features.inputs import Inputs
from emulator.forcings import Forcings
from emulator.foundation.time_step import TimeStep
from emulator.networks.gnn import GNNConfig
from emulator.protocol import rollout
from emulator.state import State
from emulator.task import Task, Variable
from emulator.training_part import TrainingPart
from graphs.edges.build import GraphConfig, NearestEdges
from graphs.errors import MeshcastError
from graphs.meshes.icosphere import icosphere
from graphs.meshes.limited_area import CapWindow
from tests.emulator.worlds import SMALL, fitted, starting_from

WINDOW = CapWindow(centre=(45.0, 10.0), radius_km=4500.0, boundary_km=2500.0)
WIND = Task(
    (
        Variable("h", "prognostic", "m"),
        Variable("u", "prognostic", "m/s", "v"),
        Variable("v", "prognostic", "m/s", "u"),
    ),
    TimeStep.parse("3h"),
    history=2,
    boundary=True,
)
NEIGHBOURS = GNNConfig(graph=GraphConfig(NearestEdges(6)), processor=SMALL)


def globe(times: int = 12, rows: int = 2, level: int = 2, seed: int = 0) -> ArrayFields:
    """Smooth fields that turn about the axis, different in each trajectory."""
    rng, mesh = np.random.default_rng(seed), icosphere(level)
    axes = rng.normal(size=(rows, 3, 3))
    angle = 0.2 * np.arange(times)
    turn = np.stack([np.cos(angle), np.sin(angle), 0 * angle, -np.sin(angle), np.cos(angle), 0 * angle], 1)
    turned = np.concatenate([turn, np.tile([0.0, 0.0, 1.0], (times, 1))], axis=1).reshape(times, 3, 3)
    values = np.sin(2.0 * np.einsum("nx,txy,rvy->trnv", mesh.positions, turned, axes)) * [50.0, 10.0, 10.0]
    seconds = 3600 * 3 * np.arange(times, dtype=np.int64)
    return ArrayFields(values.astype(np.float32), ("h", "u", "v"), ("m", "m/s", "m/s"), mesh, WIND.time_step, seconds)


def windowed(fields: ArrayFields) -> ArrayFields:
    area = in_window(fields, WINDOW)
    return replace(fields, values=area.read(slice(None), fields.variables), mesh=area.mesh)


def true_boundary(fields: ArrayFields, rows: list[int]) -> BoundaryForcings:
    nodes = np.flatnonzero(fields.mesh.boundary)
    series = [BoundarySeries(fields.times, fields.values[:, row, nodes]) for row in rows]
    return BoundaryForcings(Forcings(), nodes, tuple(series))


def test_boundary_nodes_equal_the_source_exactly_at_every_step() -> None:
    fields = windowed(globe())
    emulator = fitted(WIND, fields, NEIGHBOURS)
    state = starting_from(fields, WIND, [0], row=1)
    rolled = list(rollout(emulator, state, true_boundary(fields, [1]), 5))
    for step, (following, _) in enumerate(rolled, start=2):
        truth = torch.from_numpy(fields.values[step, 1])
        assert torch.equal(following.now[0, 0, fields.mesh.boundary], truth[fields.mesh.boundary])
        inside = ~fields.mesh.boundary
        assert not torch.allclose(following.now[0, 0, inside], truth[inside], atol=1.0)


def test_a_boundary_value_reaches_as_far_as_messages_in_one_step() -> None:
    fields = windowed(globe(level=3))
    emulator = fitted(WIND, fields, NEIGHBOURS)  # one round of messages from the six nearest
    state = starting_from(fields, WIND, [0])
    given = true_boundary(fields, [0])
    graph, boundary = emulator.network.graphs.processor, fields.mesh.boundary
    heard_inside = np.unique(graph.senders[~boundary[graph.receivers]].numpy())
    changed_at = int(heard_inside[boundary[heard_inside]][0])
    series = given.series[0]
    values = series.values.copy()
    values[2, given.nodes == changed_at] += 100.0
    other = replace(given, series=(BoundarySeries(series.times, values),))
    (first, _), (second, _) = (next(rollout(emulator, state, forcings, 1)) for forcings in (given, other))
    touched = set(torch.nonzero((first.now != second.now).any(-1).flatten()).flatten().tolist())
    hearing = set(graph.receivers[graph.senders == changed_at].tolist()) - set(given.nodes.tolist())
    assert touched == hearing | {changed_at}
    assert 1 < len(touched) < 10 < fields.mesh.num_nodes


def test_the_network_sees_the_boundarys_next_value_and_nothing_of_it_inside() -> None:
    fields = windowed(globe())
    emulator = fitted(WIND, fields, NEIGHBOURS)
    state = starting_from(fields, WIND, [0])
    features = emulator.inputs.features(state, true_boundary(fields, [0]).window(state, WIND, 0))
    change, where = features[0, :, -4:-1], features[0, :, -1]
    boundary = fields.mesh.boundary
    assert torch.equal(where.bool(), torch.from_numpy(boundary))
    expected = (fields.values[2, 0] - fields.values[1, 0]) / emulator.inputs.std.numpy()
    np.testing.assert_allclose(change[boundary], expected[boundary], atol=1e-5)
    assert torch.all(change[~boundary] == 0)


def test_every_member_gets_the_boundary_of_its_case() -> None:
    fields = windowed(globe())
    emulator = fitted(WIND, fields, NEIGHBOURS)
    starts = [starting_from(fields, WIND, [0], row=row) for row in (0, 1)]
    together = State(
        torch.cat([start.values.repeat(1, 3, 1, 1, 1) for start in starts]),
        np.concatenate([s.valid_time for s in starts]),
    )
    following, _ = next(rollout(emulator, together, true_boundary(fields, [0, 1]), 1))
    for row, start in enumerate(starts):
        alone, _ = next(rollout(emulator, start, true_boundary(fields, [row]), 1))
        torch.testing.assert_close(following.now[row], alone.now[0].expand(3, -1, -1))
    for some in (slice(1, 2), np.array([1])):
        part, _ = next(rollout(emulator, together.rows(some), true_boundary(fields, [0, 1]).rows(some), 1))
        torch.testing.assert_close(part.now[0], following.now[1])


def test_training_windows_bring_the_truth_of_the_boundary_along() -> None:
    fields = windowed(globe())
    values = torch.from_numpy(fields.values[:3].transpose(1, 0, 2, 3).copy())
    forcing = with_boundary(torch.zeros(2, 3, fields.mesh.num_nodes, 0), values, WIND, fields.mesh)
    mask = boundary_mask(fields.mesh)
    assert torch.equal(forcing[:, :, mask], values[:, :, mask])
    assert torch.all(forcing[:, :, ~mask] == 0)
    bare = replace(WIND, boundary=False)
    assert with_boundary(torch.zeros(2, 3, 5, 1), values, bare, fields.mesh).shape[-1] == 1


def test_between_its_times_a_boundary_is_linear_and_beyond_them_there_is_none() -> None:
    series = BoundarySeries(np.array([0, 100]), np.array([[[1.0]], [[3.0]]], dtype=np.float32))
    assert series.at(25) == pytest.approx(1.5)
    assert series.at(100) == pytest.approx(3.0)
    for moment in (-1, 101):
        with pytest.raises(MeshcastError, match="is needed"):
            series.at(moment)


def test_a_limited_area_without_a_boundary_source_says_so() -> None:
    fields = windowed(globe())
    emulator = fitted(WIND, fields, NEIGHBOURS)
    with pytest.raises(MeshcastError, match="--boundary"):
        next(rollout(emulator, starting_from(fields, WIND, [0]), Forcings(), 1))


def test_a_task_with_a_boundary_needs_a_mesh_with_one() -> None:
    with pytest.raises(MeshcastError, match=r"data\.window"):
        Inputs(WIND, icosphere(1))


def test_closed_forms_know_no_boundary() -> None:
    fields = windowed(globe())
    ridge = RidgeConfig(radii=(0,), penalties=(1e-4,)).fit(WIND, TrainingPart(fields))
    assert not ridge.task.boundary
    following, _ = next(rollout(ridge, starting_from(fields, WIND, [0]), Forcings(), 1))
    assert torch.isfinite(following.values).all()


def test_a_window_of_a_dataset_reads_its_nodes_only() -> None:
    fields = globe()
    area = in_window(fields, WINDOW)
    assert isinstance(area, FieldsView)
    nodes = nodes_among(fields.mesh, area.mesh)
    assert np.array_equal(area.read(slice(2, 4), ["v", "h"], 1), fields.values[2:4, 1:2, :, [2, 0]][:, :, nodes])
    assert on_area(fields, area.mesh).mesh is area.mesh
    assert on_area(fields, fields.mesh) is fields
    elsewhere = icosphere(1)
    assert nodes_among(elsewhere, area.mesh) is None
    assert on_area(replace(fields, values=fields.values[:, :, :42], mesh=elsewhere), area.mesh).mesh is elsewhere
