"""What may be tried: values and ranges by dotted path, some of them of one kind of emulator alone."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np

from emulator.emulator_config import EmulatorConfig
from emulator.foundation.configuration import one_line
from emulator.networks.config import NetworkConfig
from graphs.errors import MeshcastError
from training.experiment import ExperimentConfig
from training.tuning.settings import KIND, NOISE, RATE, combinations, value_at, varied

_NUMBER = r"[-+]?(?:\d+(?:\.\d+)?|\.\d+)(?:[eE][-+]?\d+)?"
_RANGE = re.compile(rf"\s*({_NUMBER})\s*\.\.\s*({_NUMBER})(?:\s+(log))?(?:\s+step\s+({_NUMBER}))?\s*")
_EXAMPLE = "1e-4..1e-1 log, 2..8, 16..64 step 16, or a list: [0, 0.01]"
WHAT = "what to try"  # that asks for settings, in messages
CONTEXTS = 16  # points of the space beside which a value may be in place that the experiment as it stands refuses
_ELSEWHERE = 0.381966  # of a range, where no whole number is likely to lie


@dataclass(frozen=True)
class Choice:
    """Values of which one is taken, in no order."""

    values: tuple[Any, ...]

    def at(self, share: float) -> Any:
        """Return the value at a share of the way from 0 to 1."""
        return self.values[min(int(share * len(self.values)), len(self.values) - 1)]

    def holds(self, value: Any) -> bool:
        """Return whether a value is one of them."""
        return value in self.values

    def __str__(self) -> str:
        return one_line(self.values)


@dataclass(frozen=True)
class Range:
    """Numbers from low to high, both included.

    log: spread evenly in the logarithm. step: between them, from low on. whole: no fractions.
    """

    low: float
    high: float
    log: bool = False
    step: float | None = None
    whole: bool = False

    def at(self, share: float) -> float:
        """Return the number at a share of the way from 0 to 1."""
        if self.step is not None:
            count = int((self.high - self.low) / self.step + 1e-9) + 1
            found = self.low + min(int(share * count), count - 1) * self.step
        elif self.log:
            first, last = (self.low - 0.5, self.high + 0.5) if self.whole else (self.low, self.high)
            found = first * (last / first) ** share
        else:
            first, last = (self.low - 0.5, self.high + 0.5) if self.whole else (self.low, self.high)
            found = first + share * (last - first)
        return self.rounded(found)

    def rounded(self, value: float) -> float:
        """Return the number nearest to a value, of three digits where nothing says which."""
        if self.whole:
            value = round(value)
        elif self.step is None:
            value = float(f"{value:.3g}")
        within = min(max(value, self.low), self.high)
        return int(within) if self.whole else float(within)

    def holds(self, value: Any) -> bool:
        """Return whether a value is one of them."""
        if type(value) not in (int, float) or not self.low <= value <= self.high:
            return False
        steps = 0.0 if self.step is None else (value - self.low) / self.step
        return abs(steps - round(steps)) < 1e-9 and (not self.whole or value == int(value))

    def __str__(self) -> str:
        step = "" if self.step is None else f" step {self.step:g}"
        return f"{self.low:g}..{self.high:g}{' log' * self.log}{step}"


Axis = Choice | Range


@dataclass(frozen=True)
class Space:
    """What may be tried.

    axes: by dotted path into an experiment. kinds: for each kind of emulator to try, its own axes, by dotted path into
        the emulator's section; none where the kind stays. A point of the space has a value for each name: a path, or
        `KIND:PATH` of an axis that one kind alone has.
    """

    axes: Mapping[str, Axis] = field(default_factory=dict)
    kinds: Mapping[str, Mapping[str, Axis]] = field(default_factory=dict)

    @property
    def named(self) -> dict[str, Axis]:
        """Return all axes by name, the kind of emulator first."""
        first = {KIND: Choice(tuple(self.kinds))} if self.kinds else {}
        own = {f"{kind}:{path}": axis for kind, axes in self.kinds.items() for path, axis in axes.items()}
        return {**first, **self.axes, **own}

    @property
    def finite(self) -> bool:
        """Return whether its points can be counted: lists alone."""
        return all(isinstance(axis, Choice) for axis in self.named.values())

    @property
    def size(self) -> float:
        """Return how many points it has; infinite with a range."""
        if not self.finite:
            return math.inf
        axes = [self.active(kind) for kind in self.kinds or (None,)]
        lists = [[len(axis.values) for axis in named.values() if isinstance(axis, Choice)] for named in axes]
        return sum(map(math.prod, lists)) / (len(self.kinds) or 1)

    def active(self, kind: str | None) -> dict[str, Axis]:
        """Return the axes of a point by name, for its kind of emulator; None where kinds are not tried."""
        return {name: axis for name, axis in self.named.items() if ":" not in name or name.startswith(f"{kind}:")}

    def point_at(self, shares: Sequence[float]) -> dict[str, Any]:
        """Return the point at a share of the way along each axis, in the order of `named`."""
        values: dict[str, Any] = {
            name: axis.at(share) for (name, axis), share in zip(self.named.items(), shares, strict=True)
        }
        return {name: values[name] for name in self.active(values.get(KIND))}

    def points(self) -> Iterator[dict[str, Any]]:
        """Yield every point of a finite space, the last axis varying fastest."""
        for kind in self.kinds or (None,):
            lists = {name: axis.values for name, axis in self.active(kind).items() if isinstance(axis, Choice)}
            yield from combinations(lists if kind is None else {**lists, KIND: (kind,)})

    def point_of(self, experiment: ExperimentConfig) -> dict[str, Any] | None:
        """Return the point where an experiment stands as it is; None where it lies outside."""
        kind = experiment.emulator.kind if self.kinds else None
        if kind is not None and kind not in self.kinds:
            return None
        axes = self.active(kind)
        point = {name: value_at(experiment, path_of(name)) for name in axes}
        return point if all(axis.holds(point[name]) for name, axis in axes.items()) else None

    def __str__(self) -> str:
        return "\n".join(f"{name}: {axis}" for name, axis in self.named.items())


def path_of(name: str) -> str:
    """Return the dotted path into an experiment of an axis by its name."""
    return f"emulator.{name.partition(':')[2]}" if ":" in name else name


def settings_of_point(point: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings of a point by dotted path."""
    return {path_of(name): value for name, value in point.items()}


def space_of(content: Mapping[str, Any]) -> Space:
    """Return the space that YAML, or options of a command, spell: lists and ranges by dotted path.

    `emulator.kind` is a list of kinds, or a section for each with what is tried of it alone.
    Raises MeshcastError where one is neither list nor range.
    """
    first = [path for path in (RATE, NOISE) if path in content]  # so that of equals the lower rate is taken
    others = [path for path in content if path not in (RATE, NOISE, KIND)]
    axes = {path: _axis_of(path, content[path]) for path in first + others}
    for path in axes:
        if path.split(".")[0] not in ("training", "emulator") or path == "training.seed":
            raise MeshcastError(
                f"{path} cannot be tried: paths begin with training. or emulator., and trials share one seed."
            )
    kinds: dict[str, dict[str, Axis]] = {}
    if (tried := content.get(KIND)) is not None:
        if not isinstance(tried, Mapping):
            choice = _axis_of(KIND, tried)
            tried = dict.fromkeys(choice.values) if isinstance(choice, Choice) else {str(choice): None}
        for kind, own in tried.items():
            if not isinstance(own, Mapping | None):
                raise MeshcastError(f"{KIND}: {kind} takes what is tried of it, as {{num_layers: 2..8}}, not {own!r}.")
            kinds[str(kind)] = {path: _axis_of(f"{KIND}: {kind}: {path}", value) for path, value in (own or {}).items()}
    if twice := [path for path in axes if kinds and path.startswith("emulator.")]:
        raise MeshcastError(f"{twice[0]} is of one kind of emulator, and {KIND} tries several. Put it below its kind.")
    return Space(axes, kinds)


def _axis_of(path: str, value: Any) -> Axis:
    """Return the values or the range that a path may take."""
    if isinstance(value, list | tuple):
        if not value:
            raise MeshcastError(f"{path} lists no value to try.")
        if any(value.count(each) > 1 for each in value):
            raise MeshcastError(f"{path} lists a value twice: {json.dumps(value)}.")
        return Choice(tuple(value))
    if isinstance(value, str) and (found := _RANGE.fullmatch(value)):
        low, high, log, step = found.groups()
        whole = re.fullmatch(r"[-+]?\d+", low) is not None and re.fullmatch(r"[-+]?\d+", high) is not None
        return _checked(path, Range(float(low), float(high), bool(log), None if step is None else float(step), whole))
    if isinstance(value, Mapping) and {"low", "high"} <= value.keys() <= {"low", "high", "log", "step"}:
        low, high, log, step = (value.get(key) for key in ("low", "high", "log", "step"))
        if isinstance(low, int | float) and isinstance(high, int | float) and isinstance(step, int | float | None):
            whole = type(low) is int and type(high) is int
            return _checked(path, Range(float(low), float(high), bool(log), step, whole))
    raise MeshcastError(
        f"{path} takes a range or a list of values to try, as {_EXAMPLE}; but it is {json.dumps(value)}."
    )


def _checked(path: str, found: Range) -> Range:
    if not found.low < found.high:
        raise MeshcastError(f"{path} is the range {found}, whose low end must lie below its high one.")
    if found.log and found.low <= 0:
        raise MeshcastError(
            f"{path} is the range {found}, but a logarithm needs a low end above 0. Give a small one, or leave out log."
        )
    if found.log and found.step is not None:
        raise MeshcastError(f"{path} is the range {found}, but steps are even: leave out log or step.")
    if found.step is not None and not 0 < found.step <= found.high - found.low:
        raise MeshcastError(f"{path} is the range {found}, but a step lies above 0 and within the range.")
    return found


def fitted(space: Space, experiment: ExperimentConfig) -> Space:
    """Return the space with ranges of whole numbers where a key takes no others, checked against an experiment.

    Raises MeshcastError where a path leads nowhere, or an end of a range or a listed value is refused.
    """
    if not space.named:
        raise MeshcastError("Nothing to try: give --try 'training.learning_rate=1e-4..1e-2 log', or --search FILE.")
    takes = partial(_taken, space, experiment)
    axes = {path: _fitted(path, axis, experiment, {}, takes) for path, axis in space.axes.items()}
    kinds = {}
    for kind, own in space.kinds.items():
        varied(experiment, {KIND: kind}, WHAT)
        refuse_closed_form(kind)
        kinds[kind] = {
            path: _fitted(f"emulator.{path}", axis, experiment, {KIND: kind}, takes) for path, axis in own.items()
        }
    return Space(axes, kinds)


def refuse_closed_form(kind: str) -> None:
    """Raise MeshcastError where emulators of a kind are not fitted by gradient descent."""
    cls = EmulatorConfig.registered[kind]
    if not issubclass(cls, NetworkConfig):
        raise MeshcastError(f"An emulator of kind {kind} is fitted in closed form and makes no trials.")


def _taken(space: Space, experiment: ExperimentConfig, settings: Mapping[str, Any]) -> None:
    """Raise MeshcastError where an experiment refuses settings, as it stands and with others of the space beside."""
    try:
        varied(experiment, settings, WHAT)
    except MeshcastError:
        for point in scattered(space, CONTEXTS, seed=0):
            beside = settings_of_point(point)
            if beside.get(KIND) == settings.get(KIND):
                with suppress(MeshcastError):
                    varied(experiment, {**beside, **settings}, WHAT)
                    return
        raise


def _fitted(
    path: str,
    axis: Axis,
    experiment: ExperimentConfig,
    given: Mapping[str, Any],
    taken: Callable[[Mapping[str, Any]], None],
) -> Axis:
    def takes(value: Any) -> None:
        taken({**given, path: value})

    if isinstance(axis, Choice):
        for value in axis.values:
            takes(value)
        return axis
    between = axis.low + _ELSEWHERE * (axis.high - axis.low)
    between += 0.25 if between == int(between) else 0.0
    fractions = True
    if axis.whole:
        try:
            takes(between)
            fractions = type(value_at(varied(experiment, given, WHAT), path)) is not int
        except MeshcastError:
            fractions = False
    if not fractions and axis.step is not None and axis.step != int(axis.step):
        raise MeshcastError(f"{path} takes whole numbers, but the range {axis} has steps of {axis.step:g}.")
    found = replace(axis, whole=not fractions)
    for share in (0.0, 1.0):
        takes(found.at(share))
    if fractions:
        takes(between)  # ends may be whole numbers by chance, as in 1e0..1e1
    return found


def scattered(space: Space, count: int, seed: int) -> list[dict[str, Any]]:
    """Return points spread evenly over a space: the first of a scrambled Sobol sequence (Owen 1998, doi
    10.1006/jcom.1998.0487).

    The first of many are those of few.
    """
    from scipy.stats.qmc import Sobol

    sequence = Sobol(len(space.named), rng=np.random.default_rng(seed))
    shares = sequence.random_base2(max(count - 1, 0).bit_length())[:count]
    return [space.point_at(list(row)) for row in shares]
