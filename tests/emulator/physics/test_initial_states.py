"""Random initial states."""

from __future__ import annotations

import pytest
import torch

from emulator.physics.simulate import RandomFourierSeries, initial_states
from graphs.errors import MeshcastError
from graphs.meshes.ring import ring


def draw(num_nodes: int, num_modes: int = 5, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return initial_states(RandomFourierSeries(num_modes=num_modes), ring(num_nodes), 20, generator)


def test_a_series_has_mean_zero_largest_value_one_and_no_mode_beyond_its_last() -> None:
    u = draw(160)
    assert u.shape == (20, 160) and u.dtype == torch.float64
    assert u.mean(dim=1).abs().max() < 1e-15
    assert torch.allclose(u.abs().amax(dim=1), torch.ones(20, dtype=torch.float64))
    power = torch.fft.rfft(u).abs()
    assert power[:, 6:].max() < 1e-12 and power[:, 5].max() > 1


def test_the_seed_decides() -> None:
    assert torch.equal(draw(64), draw(64))
    assert not torch.equal(draw(64), draw(64, seed=1))


def test_the_same_draw_on_a_finer_ring_is_the_same_series() -> None:
    coarse, fine = draw(64), draw(128)[:, ::2]
    ratio = (fine / coarse).median(dim=1, keepdim=True).values
    assert torch.allclose(fine, ratio * coarse, atol=1e-12)
    assert (ratio - 1).abs().max() < 0.04, "the largest value is found between the nodes of the coarse one"


def test_amplitudes_fill_their_range_evenly() -> None:
    """Before the division by the maximum each mode's amplitude is uniform, so modes share power evenly."""
    generator = torch.Generator().manual_seed(0)
    u = initial_states(RandomFourierSeries(), ring(32), 4000, generator)
    power = torch.fft.rfft(u).abs().square().mean(dim=0)[1:6]
    assert (power / power.mean() - 1).abs().max() < 0.1


def test_modes_the_ring_cannot_hold_are_refused() -> None:
    with pytest.raises(MeshcastError, match="num_modes must be between 1 and 3"):
        draw(8, num_modes=4)
