"""The hash of a run: its configuration, the content of its data and a plug-in's source, in sixteen digits.

The hash covers the configuration with every default spelt out, so that a default changed later gives another hash. A
key added later would change it too, although it changes no run made before. Hence a run is first looked for among the
stored configurations: one of them stands for an experiment where all that it says is what the experiment says, and
every key it lacks has its default there. The run then keeps the hash it is stored under.
"""

from __future__ import annotations

import dataclasses
import hashlib
import inspect
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from emulator.checkpoint import fingerprint_of
from emulator.foundation.configuration import resolve
from emulator.plugins import PluginConfig, find_plugin
from training import losses
from training.experiment import NO_OTHER_RUN, ExperimentConfig
from training.losses import find_loss

# keys of an experiment that say where its files go, how forecasts are labelled and what energy costs: no number changes
PLACES = ("name", "output", "tracking", "grib", "accounting")


def run_hash(experiment: ExperimentConfig, data: Mapping[str, str], stored: Mapping[str, Any] | None = None) -> str:
    """Return the hash of an experiment with its seed: equal for equal science, wherever its files are put.

    data: fingerprints of the data.
    stored: the configuration in plain types as an earlier version stored it; that of `experiment` by default.
    """
    config = {key: value for key, value in (stored or resolve(experiment)).items() if key not in PLACES}
    config["training"] = {key: value for key, value in config["training"].items() if key not in NO_OTHER_RUN}
    content: list[Any] = [{**config, "data": data}, _plugin_source(experiment)]
    if (start := experiment.training.initialise_from) is not None:
        content.append(fingerprint_of(start))
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]


def stands_for(stored: Mapping[str, Any], experiment: ExperimentConfig) -> bool:
    """Return whether a stored configuration is the experiment's, keys that it lacks taken at their defaults."""
    places = {key: resolve(getattr(experiment, key)) for key in PLACES}
    training = {**stored["training"], **{key: getattr(experiment.training, key) for key in NO_OTHER_RUN}}
    return _equal({**stored, **places, "training": training}, experiment)


def _equal(stored: Any, config: Any) -> bool:
    if dataclasses.is_dataclass(config) and isinstance(stored, Mapping):
        fields = {item.name: item for item in dataclasses.fields(config)}
        return stored.keys() <= fields.keys() and all(
            _equal(stored[name] if name in stored else _default(item), getattr(config, name))
            for name, item in fields.items()
        )
    if isinstance(config, Mapping) and isinstance(stored, Mapping):
        return stored.keys() == config.keys() and all(_equal(stored[key], config[key]) for key in config)
    if isinstance(config, list | tuple) and isinstance(stored, list):
        return len(stored) == len(config) and all(map(_equal, stored, config))
    return bool(stored == resolve(config))


def _default(item: dataclasses.Field[Any]) -> Any:
    """Return a field's default in plain types, or NaN, which equals nothing, where it has none."""
    if item.default_factory is not dataclasses.MISSING:
        return resolve(item.default_factory())
    return math.nan if item.default is dataclasses.MISSING else resolve(item.default)


def _plugin_source(config: ExperimentConfig) -> str:
    """Return the text of the plug-in files on which a run's numbers depend; empty where emulator and loss are ours."""
    plugins = [find_plugin(config.emulator.name)] if isinstance(config.emulator, PluginConfig) else []
    loss = find_loss(config.training.loss)
    return "".join(map(_source, plugins + ([loss] if getattr(loss, "__module__", "") != losses.__name__ else [])))


def _source(plugin: Any) -> str:
    try:
        return Path(inspect.getfile(plugin)).read_text(encoding="utf-8")
    except (OSError, TypeError):  # it was defined without a file
        return ""
