"""The network that names equations: what must not matter does not, and a tiny case is learned."""

import torch

from inference.detectors.trajectory_classifier import TrajectoryCNN, standardised


def network() -> TrajectoryCNN:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return TrajectoryCNN(num_frames=3, num_equations=2, width=8)


def travelling(speed: float, count: int = 8, nodes: int = 32) -> torch.Tensor:
    """Waves [piece, frame, node] that move by `speed` nodes a frame."""
    x = 2 * torch.pi * (torch.arange(nodes) - speed * torch.arange(3)[:, None]) / nodes
    return torch.stack([torch.cos(2 * x + phase) for phase in torch.arange(count)])


def test_pieces_are_freed_of_their_mean_and_unit() -> None:
    pieces = torch.randn(4, 3, 16)
    found = standardised(pieces)
    torch.testing.assert_close(found.mean(dim=(1, 2)), torch.zeros(4), atol=1e-6, rtol=0)
    torch.testing.assert_close(found.square().mean(dim=(1, 2)), torch.ones(4))
    torch.testing.assert_close(network()(pieces), network()(5.0 + 20.0 * pieces), atol=1e-4, rtol=1e-4)


def test_a_turned_trajectory_has_the_same_logits() -> None:
    pieces = torch.randn(4, 3, 16)
    torch.testing.assert_close(network()(pieces), network()(pieces.roll(5, dims=-1)), atol=1e-5, rtol=1e-4)


def test_the_order_of_frames_matters() -> None:
    pieces = travelling(2.0)
    assert (network()(pieces) - network()(pieces.flip(1))).abs().max() > 1e-3


def test_waves_that_move_are_told_from_waves_that_rest() -> None:
    classifier = network()
    pieces = torch.cat([travelling(2.0), travelling(0.0)])
    which = torch.arange(2).repeat_interleave(8)
    optimiser = torch.optim.Adam(classifier.parameters(), lr=1e-2)
    for _ in range(60):
        optimiser.zero_grad()
        torch.nn.functional.cross_entropy(classifier(pieces), which).backward()
        optimiser.step()
    assert (classifier(pieces).argmax(1) == which).all()
