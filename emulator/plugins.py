"""A researcher's own models: found by entry point or file, run only where the user names them."""

from __future__ import annotations

import importlib.util
import inspect
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any, Literal, Self

from torch import nn

from emulator.data.formats import FORMATS, DataFormat
from emulator.emulator_config import EmulatorConfig, register
from emulator.networks.config import NetworkConfig
from emulator.networks.layers.feature_layout import FeatureLayout
from graphs.errors import MeshcastError
from graphs.graph import ModelGraphs
from graphs.mesh import Mesh

GROUP = "meshcast.emulators"
CLOSED_FORM = ("fit", "step", "arrays", "from_arrays")
KINDS = {  # dictionaries a file may have
    "EMULATORS": "name to class",
    "METRICS": "name to Metric",
    "LOSSES": "name to function",
    "FORMATS": "name to DataFormat",
}
_contributed: dict[str, dict[str, Any]] = {kind: {} for kind in KINDS} | {"FORMATS": FORMATS}  # by files, and by us
_from_files: set[tuple[str, str]] = set()


@dataclass(frozen=True)
class PluginConfig(NetworkConfig):
    """A model from outside the package.

    name: as the plug-in calls itself, in its file's EMULATORS or as an entry point of the group meshcast.emulators.
    options: handed to it as keyword arguments.
    first_guess, node_statistics, departures: of a network; of no meaning to a closed form.
    """

    family = "others"
    name: str
    kind: Literal["plugin"] = "plugin"
    options: dict[str, Any] = field(default_factory=dict)

    def in_words(self) -> str:
        options = ", ".join(f"{name} {value}" for name, value in self.options.items())
        return f"the plug-in “{self.name}”" + (f" with {options}" if options else "")

    def build(self, layout: FeatureLayout, mesh: Mesh, graphs: ModelGraphs | None = None) -> nn.Module:
        return find_plugin(self.name)(layout.num_inputs, layout.num_outputs, mesh, **self.options)

    def with_width(self, width: int) -> Self:
        raise MeshcastError(
            f"The plug-in {self.name} cannot be scaled to a number of parameters, since only its author knows which "
            "option does that. Set its options by hand, and leave it out of the budget of parameters."
        )


def load_plugins(paths: Sequence[str | Path]) -> None:
    """Run plug-in files, each with some of the dictionaries EMULATORS of name to class, METRICS, LOSSES and FORMATS.

    A loss is a function as those of `training/losses.py`.
    A class is an `EmulatorConfig`, whose kind YAML then knows as it knows ours; or a network, `nn.Module` built by
    `cls(num_inputs, num_outputs, mesh, **options)` that maps [batch, node, input] to [batch, node, output] and is
    trained as ours are; or a closed form with `cls.fit(task, part, **options)`, `step` as every emulator, `arrays()`
    and `cls.from_arrays(task, mesh, arrays, **options)` for its checkpoint.
    """
    for path in map(Path, paths):
        if not path.is_file():
            raise MeshcastError(f"There is no plug-in file {path}.")
        spec = importlib.util.spec_from_file_location(f"meshcast_plugin_{path.stem}", path)
        assert spec is not None and spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[spec.name] = module
        try:
            spec.loader.exec_module(module)
        except Exception as error:
            raise MeshcastError(f"The plug-in {path} fails when it is run: {type(error).__name__}: {error}") from error
        found = {kind: getattr(module, kind) for kind in KINDS if hasattr(module, kind)}
        if not all(isinstance(named, dict) for named in found.values()) or not any(found.values()):
            wanted = " or ".join(f"{kind} of {content}" for kind, content in KINDS.items())
            raise MeshcastError(f"The plug-in {path} needs a dictionary {wanted}.")
        for kind, named in found.items():
            _register(path, kind, named)


def _register(path: Path, kind: str, named: dict[str, Any]) -> None:
    configurations = {n: cls for n, cls in named.items() if inspect.isclass(cls) and issubclass(cls, EmulatorConfig)}
    register(*configurations.values())
    named = {name: value for name, value in named.items() if name not in configurations}
    for name, value in named.items():
        if kind == "FORMATS" and not isinstance(value, DataFormat):
            raise MeshcastError(f"The plug-in {path} has {value!r} in FORMATS under {name!r}; expected a DataFormat.")
        if name in _contributed[kind] and (kind, name) not in _from_files:
            raise MeshcastError(f"The plug-in {path} names one of its {kind} {name!r}, as the package does: rename it.")
    _contributed[kind].update(named)
    _from_files.update((kind, name) for name in named)


def contributed(kind: str) -> dict[str, Any]:
    """Return the dictionary into which plug-in files put what they have of a kind, one of `KINDS`."""
    return _contributed[kind]


def find_plugin(name: str) -> Any:
    """Return the class a plug-in registered under `name`."""
    from_files, installed = contributed("EMULATORS"), entry_points(group=GROUP)
    if name not in {*from_files, *installed.names}:
        known = sorted({*from_files, *installed.names})
        raise MeshcastError(
            f"No plug-in is called {name!r}; known are {', '.join(known) or 'none'}. Name its file with --plugin, or "
            f"install a package with an entry point of the group {GROUP}."
        )
    plugin = from_files[name] if name in from_files else installed[name].load()
    lacking = [] if is_network(plugin) else [method for method in CLOSED_FORM if not hasattr(plugin, method)]
    if lacking:
        raise MeshcastError(
            f"The plug-in {name!r} is neither a torch.nn.Module nor a closed form, which needs the methods "
            f"{', '.join(CLOSED_FORM)}: it lacks {', '.join(lacking)}."
        )
    return plugin


def is_network(plugin: Any) -> bool:
    """Return whether the plug-in is a network for Lightning to train, false where it fits itself."""
    return inspect.isclass(plugin) and issubclass(plugin, nn.Module) and not hasattr(plugin, "fit")
