"""Configurations: YAML and dotted overrides to frozen dataclasses, with every fault in one report.

The one file that knows YAML. A configuration is a plain frozen dataclass beside what it configures. It may nest others,
tuples, dictionaries, optional values, and unions of dataclasses told apart by `kind`: `Annotated[A | B, ByKind]`.

Scalars follow YAML 1.2: `1e-3` is a float, `true` and `false` alone are booleans (`no` is a gas), dates are text.
A number is finite, unless its annotation says otherwise (`Annotated[float, pydantic.AllowInfNan()]`).
"""

from __future__ import annotations

import dataclasses
import difflib
import enum
import math
import re
from collections.abc import Mapping, Sequence
from functools import cache
from itertools import chain
from pathlib import Path
from typing import Any, TypeVar

import yaml

from emulator.foundation.configuration_faults import Location, describe, dotted, locate, nearest, show
from graphs.atomic_file import write_text
from graphs.available_memory import readable
from graphs.errors import MeshcastError
from graphs.kinds import kinds_of

C = TypeVar("C")

MOST_BYTES = 2**24  # of a configuration's file
MOST_VALUES = 200_000  # in a configuration; the longest comparison here has a few hundred
MOST_DIGITS = 18  # of a whole number, which 64 bits hold


def load(cls: type[C], path: str | Path | Mapping[str, Any], overrides: Sequence[str] = ()) -> C:
    """Return the configuration of class `cls` in a YAML file (or a mapping already read), with overrides such as
    `a.b=3`.

    Keys the class does not know are refused at every level. An override's value is read as YAML; a whole section is
    replaced by `model={kind: cnn, width: 16}`. A class whose keys have changed refuses the old ones in a static method
    `refuse_old_keys(content)`, which names the new.
    Raises MeshcastError that lists every fault with its dotted path, what came and what was expected.
    """
    source = "the configuration" if isinstance(path, Mapping) else str(path)
    content = resolve(path) if isinstance(path, Mapping) else read_yaml(path)
    overridden: dict[Location, str] = {}
    faults = [fault for text in overrides if (fault := _override(content, text, overridden))]
    if faults:
        raise MeshcastError(_report(source, faults))
    if (refuse_old_keys := getattr(cls, "refuse_old_keys", None)) is not None:
        refuse_old_keys(content)
    return _validate(cls, content, source, overridden)


def load_one_of(classes: Sequence[type], path: str | Path, overrides: Sequence[str] = ()) -> Any:
    """Return the configuration in a YAML file, of the class whose `kind` it names; of the first where it names none."""
    kind = dict(text.split("=", 1) for text in overrides if "=" in text).get("kind", read_yaml(path).get("kind"))
    by_kind: dict[Any, type] = {tag: cls for cls in classes for tag in kinds_of(cls)}
    if kind is not None and kind not in by_kind:
        raise MeshcastError(
            f"{path}: kind is {show(kind)}, but must be one of {', '.join(by_kind)}{nearest(kind, by_kind)}."
        )
    return load(by_kind.get(kind, classes[0]), path, overrides)


def resolve(config: Any) -> Any:
    """Return the configuration in plain types, every default spelt out, as YAML and checkpoints hold it."""
    if dataclasses.is_dataclass(config) and not isinstance(config, type):
        return {item.name: resolve(getattr(config, item.name)) for item in dataclasses.fields(config)}
    if isinstance(config, Mapping):
        return {str(key): resolve(value) for key, value in config.items()}
    if isinstance(config, list | tuple | set | frozenset):
        return [resolve(value) for value in config]
    if isinstance(config, enum.Enum):
        return resolve(config.value)
    if isinstance(config, Path):
        return str(config)
    if config is None or type(config) in (bool, int, float, str):
        return config
    if hasattr(config, "item"):  # a scalar of numpy or torch
        return config.item()
    raise TypeError(f"A configuration holds plain values, not {config!r} of type {type(config).__name__}.")


def dump(config: Any, path: str | Path) -> None:
    """Write the complete configuration as YAML that `load` reads back to an equal one; whole or not at all."""
    text = yaml.dump(resolve(config), Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=120)
    write_text(path, text)


def one_line(value: Any) -> str:
    """Return a value in YAML on one line, sections in braces."""
    text = yaml.dump(resolve(value), Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=math.inf,
                     default_flow_style=True)  # fmt: skip
    return str(text).removesuffix("\n")


# YAML ---------------------------------------------------------------------------------------------------------------


class _Loader(yaml.SafeLoader):
    """YAML 1.2's scalars (core schema, section 10.3.2) in a loader that makes plain types only, and only so many."""

    def get_single_node(self) -> Any:
        node = super().get_single_node()
        if node is not None and _written_out(node, {}) > MOST_VALUES:
            problem = f"it stands for more than {MOST_VALUES:,} values, aliases (*) written out; write fewer"
            raise yaml.MarkedYAMLError(problem=problem, problem_mark=node.start_mark)
        return node


def _written_out(node: yaml.Node, known: dict[int, float]) -> float:
    """Return how many values a node is with each alias written out; infinitely many where it holds itself."""
    if id(node) not in known:
        known[id(node)] = math.inf  # until it is counted: only a node within itself asks before
        inner = chain.from_iterable(node.value) if isinstance(node, yaml.MappingNode) else node.value
        nodes = () if isinstance(node, yaml.ScalarNode) else inner
        known[id(node)] = 1 + sum(_written_out(each, known) for each in nodes)
    return known[id(node)]


class _Dumper(yaml.SafeDumper):
    """Writes what `_Loader` reads back: text that looks like a number is quoted."""


_Loader.yaml_implicit_resolvers = {}  # none of YAML 1.1's
for _tag, _pattern, _first in (
    ("bool", r"true|True|TRUE|false|False|FALSE", "tTfF"),
    ("int", r"[-+]?[0-9]+|0x[0-9a-fA-F]+|0o[0-7]+", "-+0123456789"),
    ("float", r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf)|\.(nan|NaN)", "-+.0123456789"),
    ("null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    ("merge", r"<<", "<"),
):  # fmt: skip
    _Loader.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(rf"^(?:{_pattern})$"), list(_first))
    _Dumper.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(rf"^(?:{_pattern})$"), list(_first))


def _construct_int(loader: yaml.SafeLoader, node: yaml.ScalarNode) -> int:
    text = loader.construct_scalar(node)
    if len(text) > MOST_DIGITS:
        raise yaml.MarkedYAMLError(problem=f"a number of {len(text)} digits", problem_mark=node.start_mark)
    return int(text, 0) if text[:2] in ("0x", "0o") else int(text)  # 010 is ten, not an octal eight


def _construct_float(loader: yaml.SafeLoader, node: yaml.ScalarNode) -> float:
    return float(loader.construct_yaml_float(node)) + 0.0  # -0.0 becomes 0.0, which it equals, in text and hashes too


def _construct_mapping(loader: yaml.SafeLoader, node: yaml.MappingNode) -> dict[str, Any]:
    seen: set[str] = set()
    for key, _ in node.value:
        if isinstance(key, yaml.ScalarNode) and key.value in seen and key.value != "<<":
            raise yaml.MarkedYAMLError(problem=f"the key {key.value!r} stands twice", problem_mark=key.start_mark)
        seen.add(key.value if isinstance(key, yaml.ScalarNode) else "")
    loader.flatten_mapping(node)
    return {str(key): value for key, value in loader.construct_mapping(node, deep=True).items()}


_Loader.add_constructor("tag:yaml.org,2002:int", _construct_int)
_Loader.add_constructor("tag:yaml.org,2002:float", _construct_float)
_Loader.add_constructor("tag:yaml.org,2002:map", _construct_mapping)


def read_yaml(path: str | Path) -> dict[str, Any]:
    """Return a YAML file in plain types; raise MeshcastError where there is none, or it is not keys and values."""
    path = Path(path)
    try:
        with path.open("rb") as file:
            content = file.read(MOST_BYTES + 1)
        if len(content) > MOST_BYTES:
            raise MeshcastError(f"{path} is longer than {readable(MOST_BYTES)}, which no configuration is.")
        text = content.decode("utf-8")
    except FileNotFoundError:
        raise MeshcastError(f"There is no configuration {path}.{_nearest_file(path)}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise MeshcastError(f"Cannot read the configuration {path}: {error}") from None
    try:
        read = yaml.load(text, Loader=_Loader)
    except (yaml.YAMLError, RecursionError) as error:
        raise MeshcastError(f"{path} is not valid YAML{_explain(error)}") from None
    if not isinstance(read, dict):
        came = "is empty" if read is None else f"holds {show(read)}"
        raise MeshcastError(f"{path} must hold keys and values (`key: value`), but {came}.")
    return read


def read_values(texts: Sequence[str]) -> dict[str, Any]:
    """Return values by path from texts such as `a.b=[1, 2]`; raise MeshcastError where one is none."""
    found: dict[str, Any] = {}
    for text in texts:
        path, _, _ = text.partition("=")
        content: dict[str, Any] = {}
        if fault := _override(content, text, {}):
            raise MeshcastError(f"{fault}.")
        for key in path.strip().split("."):
            content = content[key]
        found[path.strip()] = content
    return found


def _explain(error: Exception) -> str:
    mark = getattr(error, "problem_mark", None)
    problem = getattr(error, "problem", None) or getattr(error, "context", None) or str(error)
    return f": line {mark.line + 1}, column {mark.column + 1}: {problem}." if mark else f": {problem}."


def _nearest_file(path: Path) -> str:
    if not path.parent.is_dir():
        return f" The folder {path.parent} does not exist either."
    names = [item.name for item in path.parent.iterdir() if item.suffix in (".yaml", ".yml")]
    near = difflib.get_close_matches(path.name, names, n=1, cutoff=0.5)
    return f" Did you mean {path.with_name(near[0])}?" if near else ""


def _override(content: dict[str, Any], text: str, overridden: dict[Location, str]) -> str | None:
    """Set one `a.b=value` in `content`; the fault in words where it cannot be done."""
    way, equals, value = text.partition("=")
    keys = way.strip().split(".")
    if not equals or not all(keys):
        return f"{text}: an override reads path.to.key=value, for example training.seed=3"
    try:
        parsed = yaml.load(value, Loader=_Loader)
    except (yaml.YAMLError, RecursionError) as error:
        return f"{text}: the value is not valid YAML{_explain(error)}"
    parent: Any = content
    location: list[str | int] = []
    for depth, key in enumerate(keys):
        index: str | int = int(key) if isinstance(parent, list) and key.isdecimal() and len(key) < MOST_DIGITS else key
        if isinstance(parent, list) and not (isinstance(index, int) and index < len(parent)):
            return f"{text}: {dotted(location)} is a list of {len(parent)}; name an entry 0 to {len(parent) - 1}"
        if not isinstance(parent, dict | list):
            return f"{text}: {dotted(location)} is {show(parent)}, which has no keys"
        location.append(index)
        if depth == len(keys) - 1:
            parent[index] = parsed  # type: ignore[index]
        else:
            if isinstance(parent, dict) and parent.get(key) is None:
                parent[key] = {}
            parent = parent[index]
    overridden[tuple(location)] = text
    return None


# Validation ---------------------------------------------------------------------------------------------------------


@cache
def adapter_of(cls: type) -> Any:
    """Return pydantic's adapter of a class in a tuple; to be cleared where a union gains or loses a registered kind."""
    import pydantic

    # A dataclass of its own takes no configuration here, but those inside a container inherit the container's.
    config = pydantic.ConfigDict(extra="forbid", allow_inf_nan=False)
    return pydantic.TypeAdapter(tuple[cls], config=config)  # type: ignore[valid-type]


def _validate(cls: type[C], content: dict[str, Any], source: str, overridden: Mapping[Location, str]) -> C:
    import pydantic
    import pydantic_core

    try:
        # Strict, so that "3" is no number and true no seed; through JSON, so that a list may still become a tuple.
        text = pydantic_core.to_json([content], inf_nan_mode="constants")
        return adapter_of(cls).validate_json(text, strict=True)[0]  # type: ignore[arg-type]
    except pydantic_core.PydanticSerializationError as error:
        if "depth" in str(error):
            raise MeshcastError(f"{source} has more sections within each other than any configuration.") from None
        raise MeshcastError(
            f"{source} holds \\u escapes that are halves of a character. Write the character itself, in UTF-8."
        ) from None
    except pydantic.ValidationError as error:
        faults: dict[str, None] = {}
        for item in error.errors():
            location = locate(content, item["loc"][1:], item["type"])
            origins = [text for at, text in overridden.items() if at[: len(location)] == location[: len(at)]]
            origin = f" (from {', '.join(origins)})" if location and origins else ""
            faults[describe(cls, content, item, location) + origin] = None
        raise MeshcastError(_report(source, list(faults))) from None


def _report(source: str, faults: Sequence[str]) -> str:
    count = "1 fault" if len(faults) == 1 else f"{len(faults)} faults"
    return "\n  ".join([f"{source} has {count}:", *faults])
