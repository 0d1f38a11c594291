"""JSON gives what was written, or says what came in its place."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Any

import pytest

from emulator.foundation.time_step import TimeStep
from emulator.foundation.typed_json import typed_json


@dataclass(frozen=True)
class Header:
    name: str
    places: tuple[int, ...]
    threads: int | None = None


def test_what_was_written_is_read() -> None:
    header = Header("a", (1, 2), 3)
    assert typed_json(Header, json.dumps({**asdict(header), "more": 1}).encode()) == header
    assert typed_json(Header, '{"name": "a", "places": []}') == Header("a", ())
    assert typed_json(tuple[str, ...], '["a", "b"]') == ("a", "b") and typed_json(dict[str, float], '{"a": 1}') == {
        "a": 1
    }
    assert typed_json(TimeStep, json.dumps(asdict(TimeStep.parse("1 month")))) == TimeStep.parse("1 month")


@pytest.mark.parametrize(
    ("kind", "text", "said"),
    [
        (Header, '{"name": "a", "places": [1], "threads": 2.5}', r"threads: .*integer.*2\.5"),
        (Header, '{"name": "a", "places": ["1"]}', r"places\.0: .*integer.*'1'"),
        (Header, '{"name": 7, "places": []}', r"name: .*string.*7"),
        (Header, '{"places": []}', "name: .*required"),
        (Header, "[1, 2]", "object"),
        (list[int], "[true]", "0: .*integer.*True"),
        (list[str], '{"a": "b"}', "array"),
        (list[str], "[", "JSON"),
        (list[str], b"\xff", "JSON"),
        (list[Any], "[" * 100_000, "JSON"),
    ],
)
def test_anything_else_is_refused_with_its_place(kind: Any, text: str | bytes, said: str) -> None:
    with pytest.raises(ValueError, match=said) as caught:
        typed_json(kind, text)
    assert "errors.pydantic.dev" not in str(caught.value) and len(str(caught.value)) < 300
