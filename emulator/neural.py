"""A network as an emulator: normalise, guess, correct, advance."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from emulator.baselines.first_guess import SolverStep
from emulator.boundary import overwritten
from emulator.features.inputs import Inputs
from emulator.state import State, Step
from emulator.task import Task
from graphs.mesh import Mesh


class NeuralEmulator(nn.Module):
    """A network that corrects a first guess of the next state.

        x(t + 1) = guess(x) + s · network(x, forcing, static)        in normalised units

    s is the standard deviation of what the guess leaves, so that the network always learns a target of order one. With
    a decoder that starts at zero the untrained emulator is its guess, and the network learns the rest.

    inputs: the scales of the training part, float32.
    network: [batch, node, feature] to [batch, node, predicted], features as `inputs.features` orders them.
    first_guess: [batch, node, feature] to the normalised next values [batch, node, predicted]; None is persistence. A
        `SolverStep` gives features for the network as well.
    correction_std: [predicted], s above.
    node_weights: [node, predicted] what each node counts for in a loss and in validation: its area, none at a boundary.
    """

    def __init__(
        self, task: Task, mesh: Mesh, inputs: Inputs, network: nn.Module, first_guess: nn.Module | None = None
    ) -> None:
        super().__init__()
        self.task, self.mesh = task, mesh
        self.inputs = inputs.float()
        self.network = network
        self.first_guess = first_guess
        self.correction_std = nn.Buffer(torch.ones(len(task.predicted)))
        weights = torch.from_numpy(mesh.weights).float()[:, None].repeat(1, len(task.predicted))
        self.node_weights = nn.Buffer(weights, persistent=False)

    def guess(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Return the first guess [batch · member, node, predicted] of the normalised next values, in full precision,
        and the features [batch · member, node, input] that the network sees, with those of a solver's step."""
        if self.first_guess is not None:
            # Mixed precision is for the network: three digits of the state itself would drown what it corrects.
            with torch.autocast(features.device.type, enabled=False):
                guess = self.first_guess(features)
            if not isinstance(self.first_guess, SolverStep):
                return guess, features
            guess, seen = guess
            return guess, torch.cat([features, seen], dim=-1) if self.first_guess.config.seen else features
        inputs = self.inputs
        now = features[..., inputs.num_fields - inputs.num_prognostic : inputs.num_fields]
        return nn.functional.pad(now, (0, len(self.task.diagnostic))), features  # a diagnostic variable is its mean

    def step(self, state: State, forcing: Tensor, generator: torch.Generator | None = None) -> Step:
        """Return the state one time step later, and the diagnostic variables; see `emulator.protocol.Emulator`."""
        guess, features = self.guess(self.inputs.features(state, forcing))
        normalised = guess + self.correction_std * self.network(features)
        following, diagnostic = self.inputs.advance(state, normalised)
        if self.task.boundary:
            following = overwritten(following, forcing, self.task, self.inputs.boundary)
        return following, diagnostic
