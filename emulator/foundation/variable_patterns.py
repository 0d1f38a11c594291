"""Variables by pattern: `z_*` is geopotential on every level, and `!z_1000` is not."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import TypeVar

from graphs.errors import MeshcastError

T = TypeVar("T")
EXCEPT = "!"


def is_pattern(name: str) -> bool:
    """Return whether a name stands for others: `*` for any characters, `?` for one, `!` before what is left out."""
    return "*" in name or "?" in name or name.startswith(EXCEPT)


def matches(name: str, pattern: str) -> bool:
    """Return whether a name is what a pattern says; a name without `*` or `?` says itself."""
    return _groups(name, pattern) is not None


def matching(patterns: Sequence[str], known: Iterable[str], key: str) -> tuple[str, ...]:
    """Return the names that a list of names and patterns stands for, each once.

    They come in the order of the list, those of one pattern with their numbers rising (z_50, z_100), whatever order the
    data have. A name without `*` or `?` stands for itself, known or not; `!z_1000` and `!z_*` take away from the rest.

    known: the names that patterns are looked for among. key: of the configuration, as `task.prognostic`.
    Raises MeshcastError where a pattern matches nothing, and where an exclusion takes nothing away.
    """
    if not any(map(is_pattern, patterns)):
        return tuple(patterns)
    known = sorted(set(known), key=_by_number)
    found = dict[str, None]()
    for pattern in patterns:
        if not pattern.startswith(EXCEPT):
            some = [name for name in known if matches(name, pattern)] if is_pattern(pattern) else [pattern]
            found |= dict.fromkeys(some or _refuse(key, pattern, known))
    for pattern in patterns:
        if pattern.startswith(EXCEPT):
            gone = [name for name in found if matches(name, pattern.removeprefix(EXCEPT))]
            for name in gone or _refuse(key, pattern, found):
                del found[name]
    return tuple(found)


def by_pattern(given: Mapping[str, T], names: Sequence[str], key: str) -> dict[str, T]:
    """Return the value of each of the names that a name or a pattern of a mapping speaks of; a name before a pattern.

    Names that are not among `names` stay, for the caller to refuse.
    Raises MeshcastError where a pattern matches nothing, and where two say something else of one variable.
    """
    found = dict[str, T]()
    said: dict[str, str] = {}
    for pattern, value in given.items():
        if not is_pattern(pattern):
            continue
        for name in [name for name in names if matches(name, pattern)] or _refuse(key, pattern, names):
            if name in found and found[name] != value and name not in given:
                raise MeshcastError(
                    f"{key} says {found[name]!r} of {name} by {said[name]!r}, and {value!r} by {pattern!r}. Name "
                    f"{name} itself, or make the patterns apart."
                )
            found[name], said[name] = value, pattern
    return found | {name: value for name, value in given.items() if not is_pattern(name)}


def pairs_by_pattern(given: Mapping[str, str], names: Sequence[str], key: str) -> dict[str, str]:
    """Return the partner of each of the names: `u_*: v_*` makes v_850 that of u_850, and so on for every level.

    Raises MeshcastError where a pattern matches nothing, or where the two have other wildcards.
    """
    found = dict[str, str]()
    for pattern, partner in given.items():
        if not is_pattern(pattern) and not is_pattern(partner):
            continue
        if pattern.startswith(EXCEPT) or re.findall(r"[*?]", pattern) != re.findall(r"[*?]", partner):
            raise MeshcastError(
                f"{key} pairs {pattern!r} with {partner!r}, but both must have the same `*` and `?`, as `u_*: v_*`."
            )
        for name in [name for name in names if matches(name, pattern)] or _refuse(key, pattern, names):
            parts = iter(_groups(name, pattern) or ())
            found[name] = re.sub(r"[*?]", lambda _, parts=parts: next(parts), partner)  # type: ignore[misc]
    return found | {name: partner for name, partner in given.items() if not is_pattern(name)}


def _groups(name: str, pattern: str) -> tuple[str, ...] | None:
    """Return what the wildcards of a pattern stand for in a name, None where it does not match."""
    text = re.escape(pattern).replace(r"\*", "(.*)").replace(r"\?", "(.)")
    found = re.fullmatch(text, name)
    return None if found is None else found.groups()


def _by_number(name: str) -> list[tuple[int, str]]:
    """Return what names are sorted by, numbers in them by their value."""
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"(\d+)", name)]


def _refuse(key: str, pattern: str, known: Iterable[str]) -> list[str]:
    known = list(known)
    bare = pattern.strip(EXCEPT).replace("*", "").replace("?", "")
    near = difflib.get_close_matches(bare, known, n=3, cutoff=0.4)
    what = "takes nothing away from" if pattern.startswith(EXCEPT) else "matches none of"
    raise MeshcastError(
        f"{key}: {pattern!r} {what} the variables {', '.join(known)}."
        + (f" The nearest are {', '.join(near)}." if near else "")
    )
