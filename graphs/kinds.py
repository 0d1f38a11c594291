"""Sections of a configuration that their key `kind` distinguishes."""

from __future__ import annotations

import dataclasses
import types
from typing import Annotated, Any, Union, get_args, get_origin, get_type_hints


class ByKind:
    """Marks a union of dataclasses that `kind` alone distinguishes: `Annotated[A | B, ByKind]`.

    Each has a field `kind: Literal["a"] = "a"`, which the YAML must name. A member with an attribute `registered`, a
    dictionary of kinds to classes, stands for the classes registered there. pydantic would try the members of a bare
    union one by one, and report a fault in one once for every other.
    """

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: Any) -> Any:
        from pydantic_core import core_schema

        choices = {tag: handler.generate_schema(member) for tag, member in kinds_in(source).items()}
        return core_schema.tagged_union_schema(choices, discriminator=cls._discriminator(source))

    @classmethod
    def _discriminator(cls, source: Any) -> Any:
        return "kind"


class ByKindOrFirst(ByKind):
    """As `ByKind`, and a section that names no `kind` is the first member's, of that one's default kind."""

    @classmethod
    def _discriminator(cls, source: Any) -> Any:
        first = members_of(source)[0]

        def tag(section: Any) -> Any:
            kind = section.get("kind", first.kind) if isinstance(section, dict) else getattr(section, "kind", None)
            return kind if isinstance(kind, str) else repr(kind)

        return tag


class ByKindOrName(ByKind):
    """As `ByKind`, and text in place of a section is its `kind`: `sqrt` for `{kind: sqrt}`."""

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: Any) -> Any:
        from pydantic_core import core_schema

        def section(given: Any) -> Any:
            return {"kind": given} if isinstance(given, str) else given

        return core_schema.no_info_before_validator_function(
            section, super().__get_pydantic_core_schema__(source, handler)
        )


def kinds_in(annotation: Any) -> dict[str, type]:
    """Return the dataclasses an annotation allows, by kind."""
    return {tag: member for member in members_of(annotation) for tag in kinds_of(member)}


def kinds_of(member: Any) -> tuple[str, ...]:
    """Return the values a dataclass's `kind` may take; none for anything else."""
    return get_args(get_type_hints(member).get("kind")) if dataclasses.is_dataclass(member) else ()


def members_of(annotation: Any) -> list[Any]:
    """Return the types a value may have: a union's without None, and what is registered in place of an open base."""
    origin = get_origin(annotation)
    if origin is Annotated:
        return members_of(get_args(annotation)[0])
    if origin in (Union, types.UnionType):
        return [m for member in get_args(annotation) for m in members_of(member) if m is not type(None)]
    registered = vars(annotation).get("registered") if isinstance(annotation, type) else None
    return [annotation] if registered is None else list(registered.values())
