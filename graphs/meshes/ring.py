"""The periodic ring: the one-dimensional world of advection, Burgers, Korteweg-de Vries, Kuramoto-Sivashinsky."""

from __future__ import annotations

import numpy as np

from graphs.available_memory import refuse_too_large
from graphs.errors import MeshcastError
from graphs.mesh import Domain, Mesh

BYTES_PER_NODE = 50  # angles, positions and areas


def ring(num_nodes: int, length: float = 1.0) -> Mesh:
    """Return evenly spaced nodes on a periodic ring of any unit of length, node i at x = i · length / num_nodes."""
    if num_nodes < 3:
        raise MeshcastError(f"A ring needs at least 3 nodes, but num_nodes is {num_nodes}.")
    refuse_too_large(BYTES_PER_NODE * num_nodes, f"A ring of {num_nodes:,} nodes", "Choose fewer.")
    angle = 2.0 * np.pi * np.arange(num_nodes) / num_nodes
    positions = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    return Mesh(positions, np.full(num_nodes, 1.0 / num_nodes), (num_nodes,), Domain("ring", float(length)))
