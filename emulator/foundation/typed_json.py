"""JSON as values of the types that were written, since a file may hold anything in their place."""

from __future__ import annotations

from functools import cache
from typing import Any


def typed_json(kind: Any, text: str | bytes) -> Any:
    """Return what JSON holds, as a dataclass or a type such as `list[int]`.

    Nothing else is taken for it: "3" is no number, 3.5 no count, true no 1. Keys that a dataclass does not have are
    left out. Raises ValueError, which names the place, what came and what was expected.
    """
    import pydantic

    try:
        return _adapter_of(kind).validate_json(text, strict=True)
    except pydantic.ValidationError as error:
        fault = error.errors(include_url=False)[0]
        place = ".".join(map(str, fault["loc"]))
        came = "" if fault["type"] in ("missing", "json_invalid") else f", but came {fault['input']!r:.60}"
        raise ValueError(f"{f'{place}: ' if place else ''}{fault['msg']}{came}") from None


@cache
def _adapter_of(kind: Any) -> Any:
    import pydantic

    return pydantic.TypeAdapter(kind)
