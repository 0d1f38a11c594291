"""How many layers a network may have."""

from __future__ import annotations

from graphs.errors import MeshcastError

MOST_LAYERS = 1_000


def refuse_endless(num_layers: int, section: str) -> None:
    """Raise MeshcastError for more layers than can be built in a minute."""
    if num_layers > MOST_LAYERS:
        raise MeshcastError(f"{section}.num_layers must be at most {MOST_LAYERS:,}, but is {num_layers:,}.")
