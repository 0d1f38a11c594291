"""The front door: the command line, and the few names a user imports.

Each name is imported when it is first used, so that `import meshcast` costs next to nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

from meshcast.shadowing import refuse_other_packages

__version__ = "0.1.0"

refuse_other_packages()

_MODULE_OF = {
    "Mesh": "graphs.mesh",
    "Graph": "graphs.graph",
    "MeshcastError": "graphs.errors",
    "ring": "graphs.meshes.ring",
    "latlon": "graphs.meshes.latlon",
    "icosphere": "graphs.meshes.icosphere",
    "default_graphs": "graphs.edges.build",
    "Variable": "emulator.task",
    "Task": "emulator.task",
    "TimeStep": "emulator.foundation.time_step",
    "State": "emulator.state",
    "Forcings": "emulator.forcings",
    "Emulator": "emulator.protocol",
    "rollout": "emulator.protocol",
    "Fields": "emulator.fields",
    "open_fields": "emulator.data.sources",
    "spread_starts": "emulator.data.starts",
    "states_at": "emulator.data.starts",
    "Forecast": "emulator.data.forecast",
    "load_emulator": "emulator.build",
    "forecast": "inference.forecasts.forecast",
    "verify": "inference.scores.verification",
    "compare": "training.comparison.compare",
    "Metric": "inference.scores.metrics",
}

__all__ = ["__version__", *_MODULE_OF]


def __getattr__(name: str) -> Any:
    if name not in _MODULE_OF:
        raise AttributeError(f"module 'meshcast' has no attribute {name!r}; it offers {', '.join(_MODULE_OF)}")
    value = getattr(import_module(_MODULE_OF[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
