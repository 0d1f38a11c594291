"""Hilbert's curve: through every cell once, in steps of one."""

from __future__ import annotations

import numpy as np
import pytest

from graphs.meshes.icosphere import icosphere
from graphs.space_filling import hilbert_number, hilbert_order


@pytest.mark.parametrize(("dimension", "bits"), [(2, 1), (2, 4), (3, 1), (3, 3)])
def test_the_curve_passes_through_every_cell_in_steps_of_one(dimension: int, bits: int) -> None:
    cells = np.stack(np.meshgrid(*[np.arange(2**bits)] * dimension, indexing="ij")).reshape(dimension, -1)
    numbers = hilbert_number(cells, bits)
    assert sorted(numbers) == list(range(2 ** (bits * dimension)))
    steps = np.abs(np.diff(cells[:, np.argsort(numbers)], axis=1)).sum(axis=0)
    assert (steps == 1).all()


def test_nodes_that_follow_each_other_are_near() -> None:
    mesh = icosphere(4)
    order = hilbert_order(mesh.positions)
    assert sorted(order) == list(range(mesh.num_nodes))
    apart = np.linalg.norm(np.diff(mesh.positions[order], axis=0), axis=1)
    assert np.median(apart) < 0.1  # the mesh's sides are .07, and nodes in their own order stand .2 apart and more
    assert np.median(np.linalg.norm(np.diff(mesh.positions, axis=0), axis=1)) > 0.1
