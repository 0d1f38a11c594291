"""A fit on circles of latitude, applied wave by wave, is the fit itself."""

import numpy as np
import pytest
import torch

from graphs.harmonics.rows import RowWaves
from graphs.meshes.gaussian import gaussian
from graphs.meshes.icosphere import icosphere
from graphs.meshes.latlon import latlon
from inference.scores.flow import HarmonicView

GRIDS = {"gaussian": gaussian(6), "latlon": latlon(np.linspace(82.5, -82.5, 12), np.arange(0, 360, 15.0))}


@pytest.mark.parametrize("grid", GRIDS)
def test_wave_by_wave_is_the_whole_matrix(grid: str) -> None:
    mesh = GRIDS[grid]
    matrix = HarmonicView(mesh, 7).winds.matrix
    waves = RowWaves.of(matrix.numpy(), mesh.shape)
    assert waves is not None
    winds = np.random.default_rng(0).normal(size=(5, 2 * mesh.num_nodes))
    np.testing.assert_allclose(waves @ winds, (matrix @ torch.from_numpy(winds).T).numpy(), rtol=0, atol=1e-11)


def test_a_matrix_of_other_rows_or_nodes_is_none() -> None:
    mesh = gaussian(6)
    assert RowWaves.of(np.random.default_rng(0).normal(size=(3, 2 * mesh.num_nodes)), mesh.shape) is None
    scattered = icosphere(1)
    assert RowWaves.of(np.ones((3, 2 * scattered.num_nodes)), scattered.shape) is None
