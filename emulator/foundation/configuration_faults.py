"""What is wrong with a configuration, in words: where, what came, what was expected, and the nearest that is valid."""

from __future__ import annotations

import dataclasses
import difflib
import re
import typing
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from graphs.kinds import kinds_in, kinds_of, members_of

Location = tuple[str | int, ...]


def describe(cls: Any, content: Any, item: Mapping[str, Any], location: Location) -> str:
    """Return one of pydantic's errors in our words, for content that did not fit `cls` at a `locate`d place."""
    path, kind, came = dotted(location), item["type"], item["input"]
    if kind in ("unexpected_keyword_argument", "extra_forbidden"):
        known = _keys(_annotation(cls, content, location[:-1]))
        near = difflib.get_close_matches(str(location[-1]), known, n=1, cutoff=0.5)
        hint = f"did you mean {dotted((*location[:-1], near[0]))}?" if near else f"known keys: {', '.join(known)}"
        return f"{path}: unknown key; {hint}"
    if kind in ("missing", "missing_argument"):
        absent = "missing" if _value(content, location) is None else f"got {show(_value(content, location))}"
        return f"{path}: {absent}, expected {_expected(_annotation(cls, content, location))}"
    if kind in ("union_tag_not_found", "union_tag_invalid"):
        tags = list(kinds_in(_annotation(cls, content, location)))
        if not isinstance(came, Mapping) or "kind" not in came:
            return f"{path}.kind: missing, expected one of {', '.join(tags)}"
        return f"{path}.kind: got {show(came['kind'])}, expected one of {', '.join(tags)}{nearest(came['kind'], tags)}"
    if kind == "value_error":
        message = str(item["ctx"]["error"])
        return f"{path}: {message}" if path else message
    if kind == "literal_error":
        options = item["ctx"]["expected"]
        hint = nearest(came, re.findall(r"'([^']*)'", options))
        return f"{path}: got {show(came)}, expected {options}{hint}"
    known = _keys(_annotation(cls, content, location))
    if known and kind.endswith("_type"):
        return f"{path}: got {show(came)}, expected a section with the keys {', '.join(known)}"
    expected = item["msg"].removeprefix("Input should be ").replace("valid array", "list")
    return f"{path}: got {show(came)}, expected {expected}"


def nearest(came: Any, valid: Iterable[str]) -> str:
    """Return a question that names the valid word nearest to what came; empty where none is near."""
    near = difflib.get_close_matches(str(came), valid, n=1, cutoff=0.5)
    return f"; did you mean {near[0]}?" if near else ""


def show(value: Any) -> str:
    """Return the text of a value, cut at 60 characters."""
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def dotted(location: Sequence[str | int]) -> str:
    """Return a location as `a.0.b`."""
    return ".".join(str(key) for key in location)


def locate(content: Any, way: Location, fault: str) -> Location:
    """Where a fault lies in the content; pydantic adds names of union members to the way, which are left out."""
    at: Any = content
    location: list[str | int] = []
    for depth, key in enumerate(way):
        inside = isinstance(key, int) and key < len(at) if isinstance(at, list) else isinstance(at, dict) and key in at
        if inside:
            at = at[key]
        elif isinstance(at, dict) and depth == len(way) - 1 and fault.startswith("missing"):
            pass
        else:
            continue
        location.append(key)
    return tuple(location)


def _annotation(cls: Any, content: Any, location: Location) -> Any:
    """Return the type declared at a place in the content, following each union by the content's `kind`."""
    annotation = cls
    for depth, key in enumerate(location):
        found: Any = None
        for member in members_of(annotation):
            origin, arguments = typing.get_origin(member), typing.get_args(member)
            if dataclasses.is_dataclass(member):
                at = _value(content, location[:depth])
                kind = at.get("kind") if isinstance(at, Mapping) else None
                if kind is None or not kinds_of(member) or kind in kinds_of(member):
                    found = found or typing.get_type_hints(member, include_extras=True).get(str(key))
            elif isinstance(origin, type) and issubclass(origin, Mapping):
                found = found or arguments[-1]
            elif origin in (tuple, list, Sequence) and arguments:
                variadic = origin is not tuple or arguments[-1] is Ellipsis
                found = found or arguments[0 if variadic else min(int(key), len(arguments) - 1)]
        annotation = found
    at = _value(content, location)
    of_kind = [m for m in members_of(annotation) if isinstance(at, Mapping) and at.get("kind") in kinds_of(m)]
    return of_kind[0] if len(of_kind) == 1 else annotation


def _value(content: Any, location: Location) -> Any:
    for key in location:
        try:
            content = content[key]
        except (KeyError, IndexError, TypeError):
            return None
    return content


def _keys(annotation: Any) -> list[str]:
    names = [f.name for m in members_of(annotation) if dataclasses.is_dataclass(m) for f in dataclasses.fields(m)]
    return list(dict.fromkeys(names))


def _expected(annotation: Any) -> str:
    members = members_of(annotation)
    if len(members) == 1 and typing.get_origin(members[0]) is dict:
        return f"names, each with {_expected(typing.get_args(members[0])[-1])}"
    if any(dataclasses.is_dataclass(m) for m in members):
        return f"a section with the keys {', '.join(_keys(annotation))}"
    return " or ".join(getattr(m, "__name__", str(m)) if typing.get_origin(m) is None else str(m) for m in members)
