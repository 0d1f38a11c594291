"""Keys of a training's strategy: its loss, how far it unrolls, when it stops, what is trained and where it starts."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from emulator.foundation.variable_patterns import matches
from graphs.errors import MeshcastError


@dataclass(frozen=True)
class StrategyConfig:
    """Strategies of a training (docs/strategies.md); by default none is followed.

    loss_unit: what the error of each variable is counted in: `first_guess`, what the first guess leaves of it, or
        `tendency`, the root mean square of its change over a time step.
    loss_weights: of variables, by pattern of their names, `{"t_*": 0.5, "*_1000": 2}`: a variable counts the product of
        all that fit it, beside one for the others.
    level_weights: `pressure` counts a variable on a pressure level in proportion to it, and those on none as the mean
        of the levels; `equal` all alike.
    spectral_share: of the loss that is the squared error by wavenumber on a ring, by degree on a sphere, each in units
        of what the first guess leaves there; the rest is that of the nodes.
    members: of `loss: crps`, each from the input with noise of its own.
    gradient_steps: of the rollout in the loss through which a gradient flows: the state is cut from its past after
        every so many. All by default.
    random_unroll: whether each update draws its steps of the rollout, from 1 to those of `unroll` or the curriculum.
    plateau: validations without a better one after which the next stage of the curriculum begins, before its share.
    patience: validations without a better one after which the training ends, counted in the last stage alone.
    frozen: patterns of the network's weights that stay as they start, `["encoder.*"]`.
    initialise_from: an emulator, or its run folder, whose network's weights are taken in place of random ones.
    fresh: patterns of weights that are not taken from there: these start at random.
    """

    loss_unit: Literal["first_guess", "tendency"] = "first_guess"
    loss_weights: dict[str, float] = field(default_factory=dict)
    level_weights: Literal["equal", "pressure"] = "equal"
    spectral_share: float = 0.0
    members: int = 1
    gradient_steps: int | None = None
    random_unroll: bool = False
    plateau: int | None = None
    patience: int | None = None
    frozen: tuple[str, ...] = ()
    initialise_from: str | None = None
    fresh: tuple[str, ...] = ()

    def refuse_bad_strategies(self, loss: str, noise: float, stages: tuple[tuple[float, int], ...]) -> None:
        """Raise MeshcastError where a strategy has a wrong value, or none of what it works on."""
        for name in ("members", "gradient_steps", "plateau", "patience"):
            if (value := getattr(self, name)) is not None and value < 1:
                raise MeshcastError(f"training.{name} must be at least 1, but is {value}.")
        if not 0 <= self.spectral_share <= 1:
            raise MeshcastError(f"training.spectral_share must be a share from 0 to 1, but is {self.spectral_share}.")
        if wrong := {name: weight for name, weight in self.loss_weights.items() if not 0 <= weight < float("inf")}:
            raise MeshcastError(f"training.loss_weights must be numbers from 0, but are {wrong}.")
        if loss == "crps" and (self.members < 2 or not noise > 0):
            raise MeshcastError(
                "training.loss=crps scores members that differ by the noise on their input. Set training.members to 2 "
                f"or more, which is {self.members}, and training.noise above 0, which is {noise:g}."
            )
        if loss != "crps" and self.members > 1:
            raise MeshcastError(
                f"training.members={self.members} is for training.loss=crps, but the loss is {loss}. Set one of them."
            )
        if loss == "crps" and self.spectral_share:
            raise MeshcastError("training.spectral_share counts errors of one forecast, not of members: leave it at 0.")
        if self.random_unroll and max(steps for _, steps in stages) == 1:
            raise MeshcastError("training.random_unroll draws from 1 to training.unroll, which is 1. Set it higher.")
        if self.plateau is not None and len(stages) < 2:
            raise MeshcastError("training.plateau begins the next stage of training.curriculum. Give one of several.")
        if self.fresh and self.initialise_from is None:
            raise MeshcastError("training.fresh is for training.initialise_from, which is not set. Remove it.")

    def strategies_set(self) -> list[str]:
        """Return the keys of this section that are not at their defaults, as `training.KEY=VALUE`."""
        default = StrategyConfig()
        names = StrategyConfig.__dataclass_fields__
        return [f"training.{n}={getattr(self, n)}" for n in names if getattr(self, n) != getattr(default, n)]


def matched(patterns: tuple[str, ...], names: list[str], key: str, what: str) -> dict[str, list[str]]:
    """Return by pattern the names that fit it, `*` and `?` in them; raise MeshcastError where one fits none.

    key: of the configuration that holds the patterns. what: the names are those of.
    """
    found = {pattern: [name for name in names if matches(name, pattern)] for pattern in patterns}
    if empty := [pattern for pattern, fitting in found.items() if not fitting]:
        shown = ", ".join(names[:40]) + (f" and {len(names) - 40} more" if len(names) > 40 else "")
        raise MeshcastError(f"{key} has the pattern {empty[0]!r}, which fits none of {what}: {shown}.")
    return found
