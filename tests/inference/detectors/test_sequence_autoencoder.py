"""The autoencoder of sequences: a narrow code, in both directions of time."""

import torch

from inference.detectors.plausibility import SequenceAutoencoder


def network(code: int = 3) -> SequenceAutoencoder:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return SequenceAutoencoder(num_channels=2, width=8, code=code)


def test_sequences_of_any_length_come_back_in_their_shape() -> None:
    for times in (1, 5, 12):
        assert network()(torch.randn(4, times, 2)).shape == (4, times, 2)


def test_sequences_of_one_code_are_written_alike() -> None:
    """Nothing passes beside the code: with its weights at zero all sequences get the same reconstruction."""
    autoencoder = network()
    torch.nn.init.zeros_(autoencoder.code.weight)
    written = autoencoder(torch.randn(5, 7, 2))
    torch.testing.assert_close(written, written[:1].expand_as(written))


def test_the_code_hears_the_first_and_the_last_time() -> None:
    sequences = torch.randn(1, 9, 2, requires_grad=True)
    network().encode(sequences).sum().backward()
    assert (sequences.grad.abs().sum(-1) > 0).all()


def test_a_tiny_set_of_sequences_is_learned_by_heart() -> None:
    autoencoder = network(code=4)
    phase = torch.linspace(0, 3, 4)[:, None, None]
    time = torch.linspace(0, 6, 8)[None, :, None]
    sequences = torch.cat([torch.sin(time + phase), torch.cos(time + phase)], dim=-1)
    optimiser = torch.optim.Adam(autoencoder.parameters(), lr=2e-2)
    for _ in range(300):
        optimiser.zero_grad()
        loss = (autoencoder(sequences) - sequences).square().mean()
        loss.backward()
        optimiser.step()
    assert loss.item() < 0.02
