"""Patches: every node in one, near its centre, and places told apart."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from emulator.networks.transformer import centres, offsets_within, patches_of, place_encoding
from graphs.meshes.icosphere import icosphere
from graphs.meshes.latlon import latlon
from graphs.meshes.ring import ring
from tests.emulator.networks.questions import MESHES


@pytest.mark.parametrize("size", [1, 2, 3, 5])
@pytest.mark.parametrize("name", MESHES)
def test_what_is_gathered_goes_back_to_its_node(name: str, size: int) -> None:
    mesh = MESHES[name]()
    patches = patches_of(mesh, size)
    values = torch.randn(2, 3, mesh.num_nodes, 4)
    slots = patches.gather(values)
    assert slots.shape[2:] == (*patches.members.shape, 4)
    assert torch.equal(patches.scatter(slots), values)
    torch.testing.assert_close(slots.sum(dim=(2, 3)), values.sum(dim=2))  # absent nodes are zero
    assert patches.num_slots <= (size if name == "ring" else size * size)


def test_slots_of_a_grid_are_rows_and_columns() -> None:
    mesh = latlon(np.linspace(56, 50, 4), np.linspace(-8, 2, 6))
    assert patches_of(mesh, 2).members[:2].tolist() == [[0, 1, 6, 7], [2, 3, 8, 9]]
    assert patches_of(ring(6), 4).members.tolist() == [[0, 1, 2, 3], [4, 5, 6, 6]]


def test_patches_of_an_icosphere_are_even_and_compact() -> None:
    mesh = icosphere(3)
    patches = patches_of(mesh, 4)
    offsets, present = offsets_within(patches, mesh)
    sizes = present.sum(axis=1)
    assert sizes.max() - sizes.min() <= 1 and sizes.max() <= 16
    assert np.linalg.norm(offsets, axis=2).max() == pytest.approx(1.0)
    far = np.linalg.norm(mesh.positions[patches.members.clamp(max=641)] - centres(patches, mesh)[:, None], axis=2)
    assert far[present].max() < 0.6  # radians; a disc of sixteen nodes has .32


@pytest.mark.parametrize("size", [1, 2])
@pytest.mark.parametrize("name", MESHES)
def test_no_two_places_are_encoded_alike(name: str, size: int) -> None:
    mesh = MESHES[name]()
    encoding = place_encoding(centres(patches_of(mesh, size), mesh), mesh)
    apart = np.linalg.norm(encoding[:, None] - encoding, axis=2) + 10.0 * np.eye(len(encoding))
    assert apart.min() > 0.1 and 0.3 < np.mean(encoding**2) < 3.0


def test_the_encoding_of_a_ring_closes() -> None:
    encoding = place_encoding(ring(40).positions, ring(40))
    steps = np.linalg.norm(np.roll(encoding, 1, axis=0) - encoding, axis=1)
    np.testing.assert_allclose(steps, steps[0])


def test_a_patch_around_the_whole_circle_still_has_a_centre() -> None:
    mesh = ring(8)
    np.testing.assert_allclose(np.linalg.norm(centres(patches_of(mesh, 8), mesh), axis=1), 1.0)
