"""Writes docs/configuration.md from the dataclasses that a configuration is read into, so that it says what they say.

python scripts/configuration_reference.py > docs/configuration.md
"""

from __future__ import annotations

import dataclasses
import re
import types
from itertools import zip_longest
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

from emulator.physics.climate_simulation import ClimateSimulationConfig
from emulator.physics.simulate import SimulationConfig
from emulator.physics.sphere_simulation import SphereSimulationConfig
from graphs.edges.build import GridGraphs
from graphs.kinds import kinds_in, kinds_of, members_of
from training.comparison.compare import CompareConfig
from training.experiment import ExperimentConfig
from training.tuning.tune import SearchConfig

TOP = {
    "An experiment, for `meshcast train` and `meshcast graph`": ExperimentConfig,
    "A comparison, for `meshcast compare`": CompareConfig,
    "A search, for `meshcast tune --search`": SearchConfig,
    "A simulation on a ring, for `meshcast simulate`": SimulationConfig,
    "A simulation on the sphere, for `meshcast simulate`": SphereSimulationConfig,
    "A simulation of climates, for `meshcast simulate`": ClimateSimulationConfig,
    "A grid and its graphs without data, for `meshcast graph`": GridGraphs,
}
HEAD = """# Configuration

One YAML file says all there is to say about an experiment, a comparison or a simulation. `meshcast configs list` shows
the files that come with the package, `meshcast configs copy NAME` copies one to change, and commands take overrides:

    meshcast train ring-ks training.updates=500 'emulator.graph={processor: {kind: hops, hops: [1, 2, 4]}}'

An override is `path.to.key=value`, its value is read as YAML; a section in braces replaces the whole section. Scalars
follow YAML 1.2: `1e-3` is a number, `true` and `false` alone are booleans, dates are text. A key that is not listed
here is refused, with the nearest one that is. The run folder keeps the complete configuration, with all defaults, in
`config.yaml`. `resume=auto` is no key but part of the command: start, continue, or say that the run is done.

Paths in a configuration count from the folder the command is started in.

*This page is written by `scripts/configuration_reference.py` from the code.*
"""


def page() -> str:
    """The whole page."""
    seen: set[type] = set()
    parts = [HEAD]
    for title, cls in TOP.items():
        parts += [f"## {title}\n", *sections(cls, "", seen)]
    return "\n".join(parts)


def sections(cls: type, path: str, seen: set[type]) -> list[str]:
    """The section of a dataclass and of those it nests, each where it first occurs."""
    if cls in seen:
        return []
    seen.add(cls)
    hints = get_type_hints(cls, include_extras=True)
    kinds = kinds_of(cls)
    parts = []
    if path:
        of_kind = " of kind " + " or ".join(f"`{kind}`" for kind in kinds) if kinds else ""
        parts.append(f"### `{path}`{of_kind}\n")
    doc, names = (cls.__doc__ or "").strip(), [field.name for field in dataclasses.fields(cls)]
    meanings = {  # a field that a base has is explained there
        name: text for base in reversed(cls.__mro__) for name, text in meanings_in(base.__doc__ or "", names).items()
    }
    if said := introduction(doc, list(meanings)):
        parts.append(said + "\n")
    fields = [field for field in dataclasses.fields(cls) if field.name != "kind" or len(kinds) > 1]
    rows = [row(field, hints[field.name], meanings) for field in fields]
    if rows:
        parts.append("\n".join(["| key | value | default | meaning |", "|---|---|---|---|", *rows]) + "\n")
    for field in dataclasses.fields(cls):
        for nested in dataclasses_in(hints[field.name]):
            parts += sections(nested, f"{path}.{field.name}".lstrip("."), seen)
    return parts


def introduction(doc: str, described: list[str]) -> str:
    """What a docstring says before it comes to its fields, on one line."""
    starts = [doc.find(match[0]) for match in _entries(doc, described)]
    return " ".join(doc[: min(starts, default=len(doc))].split())


def meanings_in(doc: str, names: list[str]) -> dict[str, str]:
    """What a docstring says of each field: `name: text` or `name, other: text`, up to the next such entry."""
    found: dict[str, str] = {}
    entries = _entries(doc, names)
    for entry, following in zip_longest(entries, entries[1:]):
        text = doc[entry.end() : following.start() if following else len(doc)]
        for name in entry[1].split(", "):
            found[name] = " ".join(text.split()).rstrip(";.")
    return found


def _entries(doc: str, names: list[str]) -> list[re.Match[str]]:
    if not names:
        return []
    name = "|".join(map(re.escape, names))
    return list(re.finditer(rf"(?<![\w`.])((?:{name})(?:, (?:{name}))*):(?=\s)", doc))


def row(field: dataclasses.Field[Any], hint: Any, meanings: dict[str, str]) -> str:
    meaning = meanings.get(field.name, "").replace("|", "\\|")
    return f"| `{field.name}` | {value(hint)} | {default(field)} | {meaning} |"


def default(field: dataclasses.Field[Any]) -> str:
    """The default as YAML would say it."""
    if field.default_factory is not dataclasses.MISSING:
        given = field.default_factory()
    elif field.default is not dataclasses.MISSING:
        given = field.default
    else:
        return "required"
    if dataclasses.is_dataclass(given):
        kind = getattr(given, "kind", None)
        return f"`{{kind: {kind}}}`" if kind else "its defaults"
    return f"`{plain(given)}`"


def plain(given: Any) -> str:
    match given:
        case None:
            return "null"
        case bool():
            return str(given).lower()
        case tuple() | list():
            return "[" + ", ".join(plain(item) for item in given) + "]"
        case str():
            return given or "''"
        case _:
            return str(given)


def value(hint: Any) -> str:
    """What may stand there, in words."""
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is Annotated:
        return f"section with `kind`: {', '.join(f'`{kind}`' for kind in kinds_in(hint))}"
    if origin is Literal:
        return ", ".join(f"`{choice}`" for choice in arguments)
    if origin in (Union, types.UnionType):
        return " or ".join(map(value, arguments))
    if origin is tuple:
        inner = list(dict.fromkeys(value(argument) for argument in arguments if argument is not Ellipsis))
        return f"list of {' or '.join(inner)}" if Ellipsis in arguments else f"[{', '.join(map(value, arguments))}]"
    if origin is list:
        return "list"
    if origin is dict:
        return "section by name" if arguments[1] is Any else f"by name: {value(arguments[1])}"
    if dataclasses.is_dataclass(hint):
        return "section"
    return {str: "text", int: "whole number", float: "number", bool: "true or false", type(None): "null"}.get(
        hint, "any"
    )


def dataclasses_in(hint: Any) -> list[type]:
    """The dataclasses a type mentions, in order."""
    found = []
    for member in members_of(hint):
        if dataclasses.is_dataclass(member):
            found.append(member)
        elif get_origin(member) is not Literal:
            found += [cls for argument in get_args(member) for cls in dataclasses_in(argument)]
    return found


if __name__ == "__main__":
    print(page(), end="")
