"""The section `task` of an experiment."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from emulator.fields import Fields
from emulator.foundation.scaling import Imputation, Normaliser, Transform
from emulator.foundation.variable_patterns import by_pattern, is_pattern, matches, matching, pairs_by_pattern
from emulator.task import Role, Task, Variable
from graphs.errors import MeshcastError

OF_NAMES = ("conserved", "bounds", "partners", "memory", "transforms", "normalisers", "imputation")
VALUES = ("bounds", "transforms", "normalisers", "imputation")  # by name or pattern
ROLES: tuple[Role, ...] = ("prognostic", "diagnostic", "forcing", "static")


@dataclass(frozen=True)
class TaskConfig:
    """Which variables play which role; units come from the data.

    Every name may be a pattern, which stands for the variables of the training data that it matches: `z_*` for
    geopotential on every level, lowest number first, `"!z_1000"` for one that is left out. What is said of a name goes
    before what is said of a pattern.

    time_step: of the emulator, a multiple of the data's, as `6h`, `1 month` or `2 steps`; theirs by default. Training
        then starts at every frame of the data, and sees those a time step apart.
    history: states the emulator sees.
    partners: of a vector component, the other one, as `{u_*: v_*}` on every level.
    bounds: of a variable, the lowest and the highest value a prediction may take.
    conserved: variables whose area mean every step keeps exactly.
    transforms: of what networks and ridge regression see and predict of a variable, as `{tp: {kind: log1p, scale:
        0.001}, "q_*": sqrt, cp: quantile}`, for tails such as rain's. Forecasts and scores hold the values alone.
    normalisers: what makes it a number of order one then: `mean_std`, `max`, `min_max`, `robust` (median and
        interquartile range) or `unscaled`; `mean_std` by default.
    imputation: what networks and ridge regression see where a prognostic variable or a forcing has no value: `mean` by
        default, `nearest`, of the nearest node that has one, or a number. A flag says where.
    memory: of a forcing that is what a slow system still knows of a global scalar, such as `slow`: that scalar, and the
        years in which it falls to 1/e, as `{slow: [effective_radiative_forcing, 220]}`.
    """

    prognostic: tuple[str, ...]
    diagnostic: tuple[str, ...] = ()
    forcing: tuple[str, ...] = ()
    static: tuple[str, ...] = ()
    time_step: str | None = None
    history: int = 1
    partners: dict[str, str] = field(default_factory=dict)
    bounds: dict[str, tuple[float | None, float | None]] = field(default_factory=dict)
    conserved: tuple[str, ...] = ()
    memory: dict[str, tuple[str, float]] = field(default_factory=dict)
    transforms: dict[str, Transform] = field(default_factory=dict)
    normalisers: dict[str, Normaliser] = field(default_factory=dict)
    imputation: dict[str, Imputation] = field(default_factory=dict)

    def build(self, fields: Fields) -> Task:
        """Return the task, with the units of the data.

        Raises MeshcastError where the data lack a variable, where the task speaks of one it does not name, or where the
        time step is no multiple of theirs.
        """
        if self != (resolved := self.resolved(fields)):
            return resolved.build(fields)
        units = dict(zip(fields.variables, fields.units, strict=True))
        if fields.scalars is not None:
            units = dict(zip(fields.scalars.names, fields.scalars.units, strict=True)) | units
        units |= {name: units.get(of, "1") for name, (of, _) in self.memory.items()}
        variables = tuple(
            Variable(
                name,
                role,
                units.get(name, "1"),
                self.partners.get(name),
                self.bounds.get(name),
                name in self.conserved,
                self.memory.get(name),
                self.transforms.get(name),
                self.normalisers.get(name, "mean_std"),
                self.imputation.get(name, "mean"),
            )
            for role in ROLES
            for name in getattr(self, role)
        )
        named = [variable.name for variable in variables]
        for key in OF_NAMES:
            if strangers := sorted(set(getattr(self, key)) - set(named)):
                raise MeshcastError(
                    f"task.{key} names {', '.join(strangers)}, but the task's variables are {', '.join(named)}."
                )
        if absent := [name for name in (*self.prognostic, *self.diagnostic) if name not in fields.variables]:
            raise MeshcastError(
                f"{fields.source} has no {', '.join(absent)}; it holds {', '.join(fields.variables)}. "
                "Name others under task, or rename with the dataset's `rename`."
            )
        step = fields.time_step
        if self.time_step is not None:
            step = step.times(step.steps_in(self.time_step, "task.time_step"))
        return Task(variables, step, self.history, boundary=fields.mesh.boundary is not None)

    def resolved(self, fields: Fields) -> TaskConfig:
        """Return it with names in place of patterns, of the variables that training data hold.

        Raises MeshcastError where a pattern matches nothing, and where one variable comes under two roles.
        """
        known = (*fields.variables, *(() if fields.scalars is None else fields.scalars.names))
        roles = {role: matching(getattr(self, role), known, f"task.{role}") for role in ROLES}
        if any(map(is_pattern, (name for role in ROLES for name in getattr(self, role)))):
            _refuse_two_roles(roles)
        named = tuple(name for names in roles.values() for name in names)
        found: dict[str, Any] = {key: by_pattern(getattr(self, key), named, f"task.{key}") for key in VALUES}
        found |= {str(role): names for role, names in roles.items()}
        return replace(
            self,
            **found,
            partners=pairs_by_pattern(self.partners, named, "task.partners"),
            conserved=matching(self.conserved, roles["prognostic"], "task.conserved"),
        )

    def predicted_of(self, names: Iterable[str]) -> tuple[str, ...]:
        """Return what is forecast, as far as that can be said before the data are opened: names, and those of `names`
        that a pattern matches."""
        listed = (*self.prognostic, *self.diagnostic)
        return (*listed, *(name for name in names if any(matches(name, pattern) for pattern in listed)))


def _refuse_two_roles(roles: Mapping[Role, Sequence[str]]) -> None:
    for role, names in roles.items():
        for other, others in roles.items():
            if ROLES.index(role) < ROLES.index(other) and (both := [name for name in names if name in others]):
                raise MeshcastError(
                    f"task.{role} and task.{other} both stand for {', '.join(both)}, but a variable has one role. "
                    f'Leave it out of one of them, as "!{both[0]}".'
                )
