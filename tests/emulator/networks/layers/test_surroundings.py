"""What a node hears around it: order, moments and winds, against geometry."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from emulator.networks.layers.surroundings import Surroundings, angular_moments
from graphs.geometry import tangent_frames
from graphs.mesh import Mesh
from graphs.meshes.icosphere import icosphere
from graphs.meshes.ring import ring
from tests.emulator.networks.questions import MESHES


def test_on_a_ring_neighbours_come_in_the_order_of_their_position() -> None:
    received = Surroundings(ring(8), 2)(torch.arange(8.0)[:, None])
    assert received[0].tolist() == [6, 7, 0, 1, 2] and received[7].tolist() == [5, 6, 7, 0, 1]


@pytest.mark.parametrize("radius", [1, 2])
def test_moments_of_a_constant_are_its_mean_and_no_gradient(radius: int) -> None:
    mesh = icosphere(2)
    received = Surroundings(mesh, radius)(torch.ones(mesh.num_nodes, 1)).reshape(mesh.num_nodes, -1)
    assert received.shape[1] == 1 + 5 * radius
    np.testing.assert_allclose(received[:, [0, *range(1, 1 + 5 * radius, 5)]], 1.0, rtol=1e-6)
    assert received[:, [2, 3, 4, 5]].abs().max() < 1e-6


def test_moments_feel_the_direction_of_a_gradient() -> None:
    mesh = icosphere(3)
    height = torch.from_numpy(mesh.positions[:, 2:]).float()  # grows northward
    received = Surroundings(mesh, 1)(height)
    inside = np.abs(mesh.latitudes) < 60
    east, north = received[inside, 2], received[inside, 3]
    assert north.min() > 0 and east.abs().max() < 0.5 * north.min()


def test_hops_hold_every_near_node_once() -> None:
    mesh = icosphere(2)
    senders, moments = angular_moments(mesh, 2)
    counts = [(np.abs(moments[..., column]) > 0).sum(axis=1) for column in (1, 6)]
    assert sorted(set(counts[0])) == [5, 6] and (counts[0] == 5).sum() == 12
    assert counts[1].min() == 10 and counts[1].max() == 12
    for node in (0, 50, 161):
        present = senders[node][np.abs(moments[node]).max(axis=1) > 0]
        assert len(set(present)) == len(present) == 1 + counts[0][node] + counts[1][node]


def test_a_mesh_without_faces_hears_its_nearest_nodes() -> None:
    mesh = icosphere(1)
    bare = Mesh(mesh.positions, mesh.areas, mesh.shape, mesh.domain)
    values = torch.from_numpy(mesh.positions).float()
    full = np.bincount(mesh.faces.ravel()) == 6  # type: ignore[union-attr]
    assert Surroundings(bare, 1)(values).isfinite().all() and full.sum() == 30


@pytest.mark.parametrize("name", ["globe", "icosphere"])
def test_a_wind_comes_from_its_neighbours_in_the_receivers_frame(name: str) -> None:
    """Solid rotation about an axis in the equator blows over the poles, where components of neighbours disagree."""
    mesh = MESHES[name]() if name == "globe" else icosphere(3)
    wind = np.cross([1.0, 0.0, 0.0], mesh.positions)
    parts = [np.sum(wind * axis, axis=1) for axis in tangent_frames(mesh.positions)]
    values = torch.from_numpy(np.stack(parts, axis=1)).float()
    turned, left = (Surroundings(mesh, 1, winds)(values) for winds in (((0, 1),), ()))
    polar = int(np.argmax(mesh.positions[:, 2] - np.abs(mesh.positions[:, 0])))
    own = values[polar]
    if name == "icosphere":
        torch.testing.assert_close(turned[polar, 2:4], own, atol=0.05, rtol=0)  # the mean of its neighbours
        assert (left[polar, 2:4] - own).norm() > 0.3
    else:
        across = turned[polar].reshape(-1, 2) @ own / own.norm() ** 2
        raw = left[polar].reshape(-1, 2) @ own / own.norm() ** 2
        assert across.min() > 0.85 and raw.min() < 0.75
