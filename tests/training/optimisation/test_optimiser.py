"""Optimisers: AdamW as torch has it, and Muon, whose steps are of one size in every direction."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from training.optimisation.optimiser import Muon, optimiser_of, orthogonal, updates_averaged


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


def plainly_orthogonal(matrix: torch.Tensor) -> torch.Tensor:
    """One matrix, five times the quintic of Jordan et al. (2024), as their page has it."""
    x = matrix / matrix.norm()
    for _ in range(5):
        square = x @ x.T
        x = 3.4445 * x + (-4.7750 * square + 2.0315 * square @ square) @ x
    return x


def matrices_of(*shapes: tuple[int, int], seed: int = 0) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(shape, generator=generator, dtype=torch.float64) for shape in shapes]


@pytest.mark.parametrize("shape", [(12, 30), (30, 12), (16, 16), (16, 20)])
def test_all_directions_of_an_orthogonal_matrix_have_about_size_one(shape: tuple[int, int]) -> None:
    (matrix,) = matrices_of(shape)
    (found,) = orthogonal([matrix])
    assert found.shape == matrix.shape
    sizes = torch.linalg.svdvals(found)
    assert sizes.min() > 0.5 and sizes.max() < 1.3
    left, _, right = torch.linalg.svd(matrix, full_matrices=False)
    turned = left.T @ found @ right.T
    torch.testing.assert_close(turned, torch.diag(turned.diag()), atol=1e-10, rtol=0)  # along the matrix's own axes


@pytest.mark.parametrize(
    ("dtype", "large_products", "most"),
    [
        (torch.float64, None, 1e-6),  # 1e-7 is added to the size of a matrix
        (torch.float32, torch.float32, 1e-4),
        (torch.float32, torch.bfloat16, 0.03),
        (torch.float32, None, 0.03),
        (torch.bfloat16, None, 0.03),
    ],
)
def test_stacked_matrices_become_what_each_becomes_alone(
    dtype: torch.dtype, large_products: torch.dtype | None, most: float
) -> None:
    """Of many shapes, turned ones among them, one alone of its shape, two with singular values down to 1e-6."""
    matrices = matrices_of((80, 16), (16, 16), (16, 80), (12, 16), (80, 16), (16, 16), (9, 70))
    for matrix in matrices[4:6]:
        matrix *= torch.logspace(0, -6, 16, dtype=torch.float64)
    matrices = [matrix.to(dtype) for matrix in matrices]
    found = orthogonal(matrices, large_products=large_products)
    for matrix, one in zip(matrices, found, strict=True):
        wanted = plainly_orthogonal(matrix.double())
        assert (one.dtype, one.shape) == (dtype, matrix.shape)
        assert float((one.double() - wanted).norm() / wanted.norm()) < most


def test_a_gradient_of_zeros_gives_a_step_of_zeros() -> None:
    assert all(torch.equal(one, torch.zeros_like(one)) for one in orthogonal([torch.zeros(16, 16), torch.zeros(40, 9)]))


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


def plain_muon(module: nn.Module, count: int, rate: float, weight_decay: float) -> None:
    """Updates of the matrices of `updates` alone, one matrix after the other, in the module's own precision."""
    weights = [weight for weight in module.parameters() if weight.ndim == 2 and min(weight.shape) >= 8]
    momenta = [torch.zeros_like(weight) for weight in weights]
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(64, 3, generator=generator)
    y = torch.stack([x[:, 0] * x[:, 1], x[:, 2].sin()], dim=-1)
    for _ in range(count):
        module.zero_grad()
        (module(x.double()) - y.double()).square().mean().backward()
        with torch.no_grad():
            for weight, momentum in zip(weights, momenta, strict=True):
                momentum.mul_(0.95).add_(weight.grad)
                step = plainly_orthogonal(weight.grad + 0.95 * momentum)
                weight.mul_(1 - rate * weight_decay).sub_(rate * 0.2 * max(weight.shape) ** 0.5 * step)


def frozen_but_matrices(seed: int = 0) -> nn.Sequential:
    torch.manual_seed(seed)
    layers = [nn.Linear(3, 16), nn.SiLU(), nn.Linear(16, 16), nn.SiLU(), nn.Linear(16, 16), nn.SiLU(), nn.Linear(16, 2)]
    module = nn.Sequential(*layers)
    for weight in module.parameters():
        weight.requires_grad_(min(weight.shape) >= 8 and weight.ndim == 2)
    return module


def test_updates_are_those_of_one_matrix_after_the_other() -> None:
    ours, plain = frozen_but_matrices(), frozen_but_matrices().double()
    updates(Muon(ours, 0.01, 0.1), ours, 5)
    plain_muon(plain, 5, 0.01, 0.1)
    begun = frozen_but_matrices()
    for found, wanted, start in zip(ours.parameters(), plain.parameters(), begun.parameters(), strict=True):
        moved = float((wanted - start).detach().norm())
        assert float((found - wanted).detach().norm()) <= 0.03 * moved


def test_a_state_of_an_earlier_version_loads() -> None:
    """Version 0.1 stored a momentum for each matrix, and count, mean and square for each other weight."""
    module = network()
    optimiser = Muon(module, 0.01, 0.1)
    earlier = {
        "state": {
            0: {"momentum": torch.full((12, 16), 0.5)},
            **{
                index: {"count": 7, "mean": torch.zeros_like(weight), "square": torch.ones_like(weight)}
                for index, weight in enumerate(
                    (weight for weight in module.parameters() if weight.shape != (12, 16)), 1
                )
            },
        },
        "param_groups": [
            {"lr": 0.02, "weight_decay": 0.0, "last_row": -2, "params": [0]},
            {"lr": 0.02, "weight_decay": 0.0, "last_row": None, "params": [1, 2, 3, 4, 5]},
        ],
    }
    optimiser.load_state_dict(earlier)
    before = module[2].weight.detach().clone()
    for weight in module.parameters():
        weight.grad = torch.zeros_like(weight)
    optimiser.step()
    wanted = 0.02 * 0.2 * 4 * plainly_orthogonal(torch.full((12, 16), 0.5, dtype=torch.float64))
    torch.testing.assert_close((before - module[2].weight.detach()).double(), wanted, atol=1e-4, rtol=0.02)
    assert optimiser.state_dict()["state"][1]["count"] == 8


@pytest.mark.parametrize("kind", ["adamw", "muon"])
@pytest.mark.parametrize("decayed", ["all", "matrices"])
def test_an_update_without_gradient_only_decays_by_hand(kind: str, decayed: str) -> None:
    module = nn.Sequential(nn.Linear(3, 16), nn.LayerNorm(16), nn.Linear(16, 12))
    optimiser = optimiser_of(kind, module, learning_rate=0.1, weight_decay=0.5, decayed=decayed)  # type: ignore[arg-type]
    before = {name: weight.detach().clone() for name, weight in module.named_parameters()}
    for weight in module.parameters():
        weight.grad = torch.zeros_like(weight)
    optimiser.step()
    for name, weight in module.named_parameters():
        is_matrix = name in ("0.weight", "2.weight")
        kept = 1 - 0.1 * 0.5 if decayed == "all" or is_matrix else 1.0
        torch.testing.assert_close(weight.detach(), kept * before[name], rtol=1e-6, atol=0)
    assert float(before["1.weight"].min()) == 1.0  # the norm's scales, which would have been seen to shrink


@pytest.mark.parametrize("kind", ["adamw", "muon"])
def test_what_decays_makes_no_difference_without_decay(kind: str) -> None:
    first, second = network(), network()
    losses = [
        updates(optimiser_of(kind, module, 3e-3, 0.0, decayed), module, 8)  # type: ignore[arg-type]
        for module, decayed in ((first, "all"), (second, "matrices"))
    ]
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)


def test_by_default_all_weights_of_adamw_are_one_group() -> None:
    module = network()
    (group,) = optimiser_of("adamw", module, 1e-3, 1e-2).param_groups
    assert [id(weight) for weight in group["params"]] == [id(weight) for weight in module.parameters()]


@pytest.mark.parametrize(
    ("share", "update", "updates", "count"),
    [(0.0, 10, 10, 0), (0.25, 6, 8, 0), (0.25, 7, 8, 1), (0.25, 8, 8, 2), (1.0, 1, 8, 1), (1.0, 0, 8, 0)],
)
def test_the_updates_that_an_average_over_the_last_holds(share: float, update: int, updates: int, count: int) -> None:
    assert updates_averaged(share, update, updates) == count
