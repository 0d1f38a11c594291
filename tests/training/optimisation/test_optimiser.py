"""Optimisers: AdamW as torch has it, and Muon, whose steps are of one size in every direction."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from training.optimisation.optimiser import Muon, optimiser_of, orthogonal


def network(seed: int = 0) -> nn.Sequential:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(3, 16), nn.SiLU(), nn.Linear(16, 12), nn.SiLU(), nn.Linear(12, 2))


def updates(optimiser: torch.optim.Optimizer, module: nn.Module, count: int, seed: int = 1) -> list[float]:
    """Losses of a small regression."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(64, 3, generator=generator)
    y = torch.stack([x[:, 0] * x[:, 1], x[:, 2].sin()], dim=-1)
    losses = []
    for _ in range(count):
        optimiser.zero_grad()
        loss = (module(x) - y).square().mean()
        loss.backward()
        optimiser.step()
        losses.append(float(loss.detach()))
    return losses


@pytest.mark.parametrize("shape", [(12, 30), (30, 12), (16, 16)])
def test_all_directions_of_an_orthogonal_matrix_have_about_size_one(shape: tuple[int, int]) -> None:
    matrix = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    found = orthogonal(matrix)
    assert found.shape == matrix.shape
    sizes = torch.linalg.svdvals(found)
    assert sizes.min() > 0.5 and sizes.max() < 1.3
    left, _, right = torch.linalg.svd(matrix, full_matrices=False)
    turned = left.T @ found @ right.T
    torch.testing.assert_close(turned, torch.diag(turned.diag()), atol=1e-4, rtol=0)  # along the matrix's own axes


def test_muon_moves_matrices_by_steps_of_adams_size() -> None:
    module = network()
    optimiser = Muon(module, 0.01, 0.0)
    before = [weight.detach().clone() for weight in module.parameters()]
    updates(optimiser, module, 1)
    sizes = [
        float((weight.detach() - old).square().mean().sqrt())
        for weight, old in zip(module.parameters(), before, strict=True)
    ]
    assert sizes[2] == pytest.approx(0.2 * 0.01, rel=0.3)  # the 12 x 16 matrix
    assert sizes[0] == pytest.approx(0.01, rel=1e-3)  # three inputs: AdamW's, whose first step is the rate
    assert [len(group["params"]) for group in optimiser.param_groups] == [1, 5]


def test_muon_moves_all_that_an_output_of_a_convolution_hears_as_one_row() -> None:
    torch.manual_seed(0)
    module = nn.Conv1d(12, 10, 3)
    before = module.weight.detach().clone()
    optimiser = Muon(module, 0.01, 0.0)
    module(torch.randn(8, 12, 20)).square().mean().backward()
    optimiser.step()
    sizes = torch.linalg.svdvals((module.weight.detach() - before).flatten(1)) / (0.2 * 0.01 * 36**0.5)
    assert sizes.min() > 0.5 and sizes.max() < 1.3


def test_the_weights_that_are_no_matrices_take_torchs_adamw() -> None:
    ours, theirs = nn.Linear(3, 5), nn.Linear(3, 5)
    theirs.load_state_dict(ours.state_dict())
    rival = torch.optim.AdamW(theirs.parameters(), lr=0.01, betas=(0.9, 0.95), weight_decay=0.1)
    for optimiser, module in ((Muon(ours, 0.01, 0.1), ours), (rival, theirs)):
        wide = nn.Sequential(module, nn.Linear(5, 2).requires_grad_(False))
        nn.init.ones_(wide[1].weight)
        nn.init.zeros_(wide[1].bias)
        updates(optimiser, wide, 5)
    torch.testing.assert_close(ours.weight, theirs.weight)


@pytest.mark.parametrize("kind", ["adamw", "muon"])
def test_a_regression_is_learned(kind: str) -> None:
    module = network()
    losses = updates(optimiser_of(kind, module, 0.01, 1e-4), module, 150)  # type: ignore[arg-type]
    assert losses[-1] < 0.1 * losses[0]


def test_a_restored_muon_goes_on_bit_for_bit() -> None:
    whole, first, second = network(), network(), network()
    updates(Muon(whole, 0.01, 0.1), whole, 6)
    optimiser = Muon(first, 0.01, 0.1)
    updates(optimiser, first, 3)
    second.load_state_dict(first.state_dict())
    resumed = Muon(second, 0.5, 0.0)
    resumed.load_state_dict(optimiser.state_dict())
    updates(resumed, second, 3)
    assert all(torch.equal(a, b) for a, b in zip(whole.parameters(), second.parameters(), strict=True))
