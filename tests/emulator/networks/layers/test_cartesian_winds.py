"""Winds into space and back."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from emulator.networks.layers.feature_layout import CartesianWinds, FeatureLayout
from graphs.meshes.icosphere import icosphere
from graphs.meshes.ring import ring

LAYOUT = FeatureLayout(
    times=2,
    num_prognostic=3,
    num_forcing=1,
    num_inputs=2 * 3 + 3 * 1 + 1 + 4,  # fields, forcings, a static, the boundary's change and where it is
    num_outputs=4,  # h, u, v and a diagnostic variable
    winds=((1, 2), (4, 5), (11, 12)),
    output_winds=((1, 2),),
)


def test_components_come_back_as_they_went_in() -> None:
    mesh = icosphere(1)
    winds = CartesianWinds(LAYOUT, mesh)
    features = torch.randn(2, mesh.num_nodes, LAYOUT.num_inputs)
    inside = winds.enter(features)
    assert inside.shape[-1] == winds.inside.num_inputs == LAYOUT.num_inputs + 3 and winds.inside.num_prognostic == 4
    # h, x, y, z at both times; then h of now, the wind of now and what a network would give for a diagnostic variable
    output = torch.cat([inside[..., [4, 5, 6]], features[..., [9]], inside[..., [7]]], dim=-1)
    torch.testing.assert_close(winds.leave(output), features[..., [3, 4, 5, 9]])


def test_the_sequence_inside_holds_the_vector_of_each_time() -> None:
    mesh = icosphere(1)
    winds = CartesianWinds(LAYOUT, mesh)
    features = torch.randn(2, mesh.num_nodes, LAYOUT.num_inputs)
    sequence = winds.inside.sequence(winds.enter(features))
    own = LAYOUT.sequence(features)
    torch.testing.assert_close(sequence[..., 0], own[..., 0])
    torch.testing.assert_close(sequence[..., 1:4].square().sum(-1), own[..., 1:3].square().sum(-1))  # speed
    torch.testing.assert_close(sequence[..., 4:7], own[..., 3:6])  # forcings then and at the target, the static
    assert LAYOUT.sequence_winds == ((1, 2), (7, 8))


def test_a_flow_over_the_pole_is_one_vector_on_both_sides() -> None:
    mesh = icosphere(4)
    winds = CartesianWinds(FeatureLayout(1, 2, 0, 2, 2, ((0, 1),), ((0, 1),)), mesh)
    near = np.flatnonzero(mesh.positions[:, 2] > 0.99)
    features = torch.zeros(1, mesh.num_nodes, 2)
    longitude = torch.from_numpy(np.radians(mesh.longitudes)).float()
    features[0, :, 0], features[0, :, 1] = -torch.sin(longitude), -torch.cos(longitude)  # along x, seen at the pole
    vectors = winds.enter(features)[0, near]
    assert features[0, near, 0].min() < -0.5 < 0.5 < features[0, near, 0].max()
    assert (vectors - torch.tensor([1.0, 0.0, 0.0])).norm(dim=-1).max() < 0.15


@pytest.mark.parametrize("layout", [FeatureLayout(2, 1, 0, 2, 1), LAYOUT])
def test_a_ring_is_left_as_it_is(layout: FeatureLayout) -> None:
    winds, features = CartesianWinds(layout, ring(8)), torch.randn(1, 8, layout.num_inputs)
    assert torch.equal(winds.enter(features), features) and torch.equal(winds.leave(features), features)
