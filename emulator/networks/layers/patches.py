"""Patches of neighbouring nodes: which node lies in which, and where each patch stands."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from emulator.networks.layers.aggregate import zeros_beyond
from emulator.networks.layers.constants import constant
from graphs.harmonics.basis import real_basis
from graphs.mesh import Mesh

Array = NDArray[np.float64]

MOST_HARMONICS = 32  # of the angle on a ring
MOST_DEGREES = 7  # of spherical harmonics: 64 of them
AREA_WAVES = 8  # along either axis of a limited area


class Patches(nn.Module):
    """The nodes of every patch, each in one: [.., node, channel] to [.., patch, slot, channel] and back.

    members: [patch, slot] nodes, the number of nodes (one past the end) where a patch has fewer.
    places: [node] patch · slots + slot.
    """

    def __init__(self, members: NDArray[np.int64], num_nodes: int) -> None:
        super().__init__()
        self.members = constant(members)
        places = np.zeros(num_nodes + 1, dtype=np.int64)
        places[members.ravel()] = np.arange(members.size)
        self.places = constant(places[:-1])

    @property
    def num_slots(self) -> int:
        return self.members.shape[1]

    def gather(self, values: Tensor) -> Tensor:
        """Return [.., patch, slot, channel] from [.., node, channel], zero where there is no node."""
        return zeros_beyond(values).index_select(-2, self.members.reshape(-1)).unflatten(-2, self.members.shape)

    def scatter(self, values: Tensor) -> Tensor:
        """Return [.., node, channel] from [.., patch, slot, channel]."""
        return values.flatten(-3, -2).index_select(-2, self.places)


def patches_of(mesh: Mesh, size: int) -> Patches:
    """Return patches of `size` consecutive nodes on a ring, of size x size rows and columns on a grid, of at most
    size x size
    nodes elsewhere, where all nodes are halved along their longest extent until they are that few.

    On a ring and a grid a slot is one place within every patch, and the last patches are smaller where the size does
    not divide the mesh. Elsewhere slots have no order that could be the same for all.
    """
    if mesh.domain.kind == "ring":
        groups = [np.arange(first, min(first + size, mesh.num_nodes)) for first in range(0, mesh.num_nodes, size)]
        return _padded(groups, mesh.num_nodes)
    if mesh.structured:
        return Patches(_blocks(mesh, size), mesh.num_nodes)
    return _padded(_halved(mesh.positions, np.arange(mesh.num_nodes), size * size), mesh.num_nodes)


def centres(patches: Patches, mesh: Mesh) -> Array:
    """Return unit vectors [patch, coordinate] to the middle of each patch; of one around a whole circle, to a node of
    it."""
    members = patches.members.numpy()
    positions = np.concatenate([mesh.positions, np.zeros((1, mesh.positions.shape[1]))])[members]
    middle = positions.sum(axis=1)
    length = np.linalg.norm(middle, axis=1, keepdims=True)
    return np.where(length > 1e-6, middle / np.maximum(length, 1e-6), positions[:, 0])


def offsets_within(patches: Patches, mesh: Mesh) -> tuple[Array, NDArray[np.bool_]]:
    """Return [patch, slot, coordinate] from each patch's centre to its nodes, the longest one long, and [patch, slot]
    where
    there are nodes; without one, zero."""
    members = patches.members.numpy()
    present = members < mesh.num_nodes
    offsets = mesh.positions[np.where(present, members, 0)] - centres(patches, mesh)[:, None]
    offsets *= present[..., None]
    return offsets / max(float(np.linalg.norm(offsets, axis=-1).max()), 1e-12), present


def place_encoding(positions: Array, mesh: Mesh) -> Array:
    """Return [place, feature] what tells one place from another, smooth on the mesh and periodic where it is.

    - ring: cos kθ and sin kθ for k = 1 ... half the places, at most 32;
    - sphere: real spherical harmonics, their mean square one, up to degree 7 and as far as the places resolve them;
    - limited area: cos and sin of kπs for k = ½, 1, ... 4 along its two longest axes, each scaled to s in -1 ... 1.
    """
    count = len(positions)
    if mesh.domain.kind == "ring":
        angle = np.arctan2(positions[:, 1], positions[:, 0])[:, None]
        k = np.arange(1, max(1, min(MOST_HARMONICS, count // 2)) + 1)
        return np.concatenate([np.cos(k * angle), np.sin(k * angle)], axis=1) * np.sqrt(2.0)
    if mesh.domain.kind == "sphere":
        degree = max(1, min(MOST_DEGREES, int(np.sqrt(count)) - 1))
        basis = real_basis(positions, degree)
        return basis[:, np.abs(basis).max(axis=0) > 1e-12]
    offset = positions - positions.mean(axis=0)
    axes = np.linalg.svd(offset, full_matrices=False)[2][:2]
    along = offset @ axes.T  # [place, axis]
    along = along / np.maximum(np.abs(along).max(axis=0), 1e-12)
    wave = np.pi * 0.5 * np.arange(1, AREA_WAVES + 1) * along[..., None]
    return np.concatenate([np.cos(wave), np.sin(wave)], axis=-1).reshape(count, -1) * np.sqrt(2.0)


def _blocks(mesh: Mesh, size: int) -> NDArray[np.int64]:
    """Return [patch, slot] of a grid of rows and columns, patches row by row."""
    rows, columns = mesh.shape
    high, wide = -(-rows // size), -(-columns // size)
    padded = np.full((high * size, wide * size), mesh.num_nodes)
    padded[:rows, :columns] = np.arange(mesh.num_nodes).reshape(rows, columns)
    return padded.reshape(high, size, wide, size).transpose(0, 2, 1, 3).reshape(high * wide, size * size)


def _halved(positions: Array, nodes: NDArray[np.int64], most: int) -> list[NDArray[np.int64]]:
    if len(nodes) <= most:
        return [nodes]
    own = positions[nodes]
    longest = int(np.argmax(own.max(axis=0) - own.min(axis=0)))
    order = nodes[np.argsort(own[:, longest], kind="stable")]
    middle = len(order) // 2
    return [*_halved(positions, order[:middle], most), *_halved(positions, order[middle:], most)]


def _padded(groups: list[NDArray[np.int64]], num_nodes: int) -> Patches:
    members = np.full((len(groups), max(len(group) for group in groups)), num_nodes)
    for row, group in zip(members, groups, strict=True):
        row[: len(group)] = group
    return Patches(members, num_nodes)
