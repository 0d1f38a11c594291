"""Configurations of emulators: the base of them all, and the register of their kinds."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal, get_args

from emulator.foundation.configuration import adapter_of
from graphs.errors import MeshcastError
from graphs.kinds import kinds_of

Family = Literal[
    "closed forms, solvers",
    "convolutional, spectral",
    "feed-forward, recurrent, attention",
    "graph",
    "TensorFlow",
    "others",
]


@dataclass(frozen=True)
class EmulatorConfig:
    """An emulator's configuration, which YAML names by its `kind`.

    family: with which it is drawn in a comparison.
    registered: the classes that YAML may name, by kind.
    """

    family: ClassVar[Family]
    registered: ClassVar[dict[str, type[EmulatorConfig]]] = {}

    @property
    def kind(self) -> str:
        """Return what YAML calls it: in every kind a field, `kind: Literal["name"] = "name"`."""
        raise NotImplementedError(f"{type(self).__name__} has no kind.")

    def in_words(self) -> str:
        """Return the emulator as a paragraph on methods names it, its sources by their keys in references.bib."""
        return self.kind.replace("_", " ")


def register(*classes: type[EmulatorConfig]) -> Mapping[str, type[EmulatorConfig]]:
    """Let YAML, checkpoints, comparisons and budgets know of these kinds of emulators; all that they know, by kind.

    Raises MeshcastError where one has no kind or no family of its own, or a kind that another has.
    """
    for cls in classes:
        kinds, family = kinds_of(cls), getattr(cls, "family", None)
        if not kinds:
            raise MeshcastError(f'{cls.__name__} needs a field `kind: Literal["name"] = "name"` to be named by.')
        if family not in get_args(Family):
            near = difflib.get_close_matches(str(family), get_args(Family), n=1)
            raise MeshcastError(
                f"The family of {cls.__name__} must be one of {', '.join(map(repr, get_args(Family)))}, but is "
                f"{family!r}.{f' Did you mean {near[0]!r}?' if near else ''}"
            )
        for kind in kinds:
            other = EmulatorConfig.registered.setdefault(kind, cls)
            if (other.__module__, other.__name__) != (cls.__module__, cls.__name__):
                raise MeshcastError(f"{cls.__name__} is of kind {kind}, but so is {other.__name__}. Rename one.")
            EmulatorConfig.registered[kind] = cls  # a plug-in's file may be run again
    adapter_of.cache_clear()
    return EmulatorConfig.registered
