"""Gradient descent for small networks: inputs and targets in memory, no run folder."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor, nn

from graphs.errors import MeshcastError
from training.optimisation.optimiser import warm_up_cosine

Loss = Callable[[Tensor, Tensor], Tensor]
Network = TypeVar("Network", bound=nn.Module)
Augment = Callable[[Tensor, torch.Generator], Tensor]


@dataclass(frozen=True, kw_only=True)
class DescentConfig:
    """How a small network is fitted by AdamW: the learning rate rises over a tenth of the updates, a cosine follows.

    epochs: passes through the samples. batch_size: samples an update; all of them where None.
    seed: of the order of samples and of what is added to them.
    """

    epochs: int
    batch_size: int | None = None
    learning_rate: float = 2e-2
    seed: int = 0

    def __post_init__(self) -> None:
        if self.epochs < 1 or (self.batch_size is not None and self.batch_size < 1) or not self.learning_rate > 0:
            raise MeshcastError(
                "A descent needs at least one epoch, one sample a batch and a positive learning rate, but has "
                f"epochs {self.epochs}, batch_size {self.batch_size} and learning_rate {self.learning_rate}."
            )


@dataclass(frozen=True)
class Losses:
    """A training history.

    epoch: those at whose end the losses were taken, from 1.
    training: mean loss over the epoch's batches. test: on samples that trained nothing; empty without any.
    """

    epoch: tuple[int, ...]
    training: tuple[float, ...]
    test: tuple[float, ...]


def seeded(build: Callable[[], Network], seed: int) -> Network:
    """Return a network with weights drawn from a seed, and leave the global generator as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return build()


def num_parameters(network: nn.Module) -> int:
    """Return the number of trainable weights."""
    return sum(weight.numel() for weight in network.parameters() if weight.requires_grad)


def descend(
    network: nn.Module,
    loss: Loss,
    samples: tuple[Tensor, Tensor],
    config: DescentConfig,
    test: tuple[Tensor, Tensor] | None = None,
    augment: Augment | None = None,
) -> Losses:
    """Fit a network in place, and leave it in evaluation mode.

    samples, test: inputs and targets, sample first.
    augment: makes each batch's inputs anew, such as by adding noise.
    """
    inputs, targets = samples
    generator = torch.Generator().manual_seed(config.seed)
    size = min(config.batch_size or len(inputs), len(inputs))
    updates = config.epochs * -(-len(inputs) // size)
    optimiser = torch.optim.AdamW(network.parameters(), config.learning_rate, weight_decay=0.0)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimiser, lambda update: warm_up_cosine(update, max(updates // 10, 1), updates)
    )
    shown = max(config.epochs // 100, 1)
    epochs, training, tested = [], [], []
    for epoch in range(1, config.epochs + 1):
        network.train()
        total = 0.0
        order = torch.randperm(len(inputs), generator=generator) if size < len(inputs) else torch.arange(len(inputs))
        for batch in order.split(size):
            given = inputs[batch] if augment is None else augment(inputs[batch], generator)
            value = loss(network(given), targets[batch])
            optimiser.zero_grad()
            value.backward()
            nn.utils.clip_grad_norm_(network.parameters(), 1.0)
            optimiser.step()
            schedule.step()
            total += float(value.detach()) * len(batch) / len(inputs)
        if epoch % shown == 0 or epoch == config.epochs:
            epochs.append(epoch)
            training.append(total)
            if test is not None:
                with torch.no_grad():
                    tested.append(float(loss(network.eval()(test[0]), test[1])))
    network.eval()
    return Losses(tuple(epochs), tuple(training), tuple(tested))
