"""The task: which variables evolve, from how much history, over which step."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from emulator.foundation.scaling import Imputation, Log1p, Normaliser, Quantile, Sqrt
from emulator.foundation.time_step import TimeStep
from graphs.errors import MeshcastError

Role = Literal["prognostic", "diagnostic", "forcing", "static"]


@dataclass(frozen=True)
class Variable:
    """One field of the task.

    role: prognostic (predicted, fed back), diagnostic (predicted only), forcing (given, known ahead) or static.
    units: as in the dataset.
    partner: the other component of a horizontal vector; both share one std and have mean zero.
    bounds: lowest and highest value a prediction may take, None where open.
    conserved: True where the area mean never changes, which every prediction is held to.
    memory: of a forcing that is what a system still knows of another one: that one's name, and the years in which it
        falls to 1/e; see `emulator.forcing_memory`.
    transform, normaliser: what emulators with features see of it, see `emulator.foundation.scaling`; a State, a
        forecast and its scores hold the values themselves.
    imputation: what stands for values that are missing, in what emulators with features see: the mean, the value of the
        nearest node that has one, or a number in the variable's units.
    """

    name: str
    role: Role
    units: str = "1"
    partner: str | None = None
    bounds: tuple[float | None, float | None] | None = None
    conserved: bool = False
    memory: tuple[str, float] | None = None
    transform: Log1p | Sqrt | Quantile | None = None
    normaliser: Normaliser = "mean_std"
    imputation: Imputation = "mean"

    def __post_init__(self) -> None:
        lowest, highest = self.bounds or (None, None)
        if lowest is not None and highest is not None and not lowest < highest:
            raise MeshcastError(f"The bounds of {self.name} must rise, but are {lowest:g} and {highest:g}.")
        if self.memory is not None and (self.role != "forcing" or not 0 < self.memory[1] < float("inf")):
            raise MeshcastError(
                f"{self.name} remembers {self.memory[0]} over {self.memory[1]:g} years, but a memory is a forcing, and "
                "its years are positive."
            )
        scaled = {"transforms": self.transform, "normalisers": self.normaliser != "mean_std"}
        for key in (key for key, value in scaled.items() if value):
            if self.role == "static":
                raise MeshcastError(f"task.{key} names {self.name}, which is static: static fields are scaled as such.")
        if self.role not in ("prognostic", "forcing") and self.imputation != "mean":
            raise MeshcastError(
                f"task.imputation names {self.name}, which is {self.role}: it is of inputs, prognostic or forcing."
            )


MOST_HISTORY = 1_000_000  # far beyond any memory


@dataclass(frozen=True)
class Task:
    """What an emulator does: from `history` states of its variables to the next, `time_step` later.

    variables: in the order the arrays hold them, within each role.
    history: states an emulator sees, the last is now.
    boundary: whether the prognostic variables are given at the mesh's boundary nodes at every step.
    """

    variables: tuple[Variable, ...]
    time_step: TimeStep
    history: int = 1
    boundary: bool = False

    def __post_init__(self) -> None:
        names = [variable.name for variable in self.variables]
        if len(set(names)) != len(names):
            raise MeshcastError(f"Variables must have different names, but the task lists {names}.")
        if not self.prognostic:
            raise MeshcastError("A task needs at least one prognostic variable.")
        if not 1 <= self.history <= MOST_HISTORY:
            raise MeshcastError(f"history must be 1 to {MOST_HISTORY:,}, but is {self.history}.")
        for variable in self.variables:
            if variable.conserved and variable.role != "prognostic":
                raise MeshcastError(
                    f"{variable.name} is {variable.role}, but only a prognostic variable can be conserved from one "
                    "state to the next."
                )
            if variable.partner is not None and variable.partner not in names:
                raise MeshcastError(
                    f"{variable.name} names the partner {variable.partner!r}, which is not in the task: {names}."
                )
        components = {
            name for variable in self.variables if variable.partner for name in (variable.name, variable.partner)
        }
        for variable in self.variables:
            if variable.name in components and (variable.transform or variable.normaliser in ("min_max", "robust")):
                raise MeshcastError(
                    f"{variable.name} is the component of a vector, which turns with the grid: it has no transform and "
                    "no normaliser that moves its zero. Name it in neither, or not in task.partners."
                )
        predicted = {variable.name for variable in self.predicted}
        for variable in self.predicted:
            if variable.partner is not None and variable.partner not in predicted - {variable.name}:
                raise MeshcastError(
                    f"The partner of {variable.name} must be another predicted variable, since both share one std; "
                    f"{variable.partner} is not."
                )

    def with_role(self, role: Role) -> tuple[Variable, ...]:
        """Return variables of one role, in order."""
        return tuple(variable for variable in self.variables if variable.role == role)

    @property
    def prognostic(self) -> tuple[str, ...]:
        return tuple(variable.name for variable in self.with_role("prognostic"))

    @property
    def diagnostic(self) -> tuple[str, ...]:
        return tuple(variable.name for variable in self.with_role("diagnostic"))

    @property
    def forcing(self) -> tuple[str, ...]:
        return tuple(variable.name for variable in self.with_role("forcing"))

    @property
    def given_forcing(self) -> tuple[str, ...]:
        """Return forcings that must come from somewhere: where one is a memory, what it is of."""
        forcing = self.with_role("forcing")
        return tuple(dict.fromkeys(variable.memory[0] if variable.memory else variable.name for variable in forcing))

    @property
    def static(self) -> tuple[str, ...]:
        return tuple(variable.name for variable in self.with_role("static"))

    @property
    def transformed(self) -> tuple[str, ...]:
        """Return the names of the variables that have a transform."""
        return tuple(variable.name for variable in self.variables if variable.transform is not None)

    @property
    def predicted(self) -> tuple[Variable, ...]:
        """Return prognostic, then diagnostic variables: what a forecast holds."""
        return self.with_role("prognostic") + self.with_role("diagnostic")


def names_of(variables: Sequence[Variable]) -> tuple[str, ...]:
    """Return their names, in order."""
    return tuple(variable.name for variable in variables)


def refuse_transforms(task: Task, what: str) -> None:
    """Raise MeshcastError where a task has transforms and `what` works on the values themselves."""
    if names := task.transformed:
        raise MeshcastError(
            f"{what} works on the values themselves, but task.transforms names {', '.join(names)}. Leave one of the "
            "two away."
        )


def wind_pairs(task: Task) -> list[tuple[int, int]]:
    """Return (eastward, northward) places among the prognostic variables of the winds."""
    names, pairs = task.prognostic, dict[tuple[int, int], None]()
    for variable in task.with_role("prognostic"):
        if variable.partner in names:
            east, north = sorted((names.index(variable.name), names.index(variable.partner)))
            pairs[east, north] = None  # declared by one partner or by both
            if _northward_first(names[east], names[north]):
                raise MeshcastError(
                    f"{names[east]} and {names[north]} are partners in this order, but the eastward component of a "
                    f"vector comes first. List {names[north]} before {names[east]}."
                )
    return list(pairs)


def _northward_first(first: str, second: str) -> bool:
    differing = [pair for pair in zip(first.lower(), second.lower(), strict=False) if pair[0] != pair[1]]
    return len(first) == len(second) and differing == [("v", "u")]
