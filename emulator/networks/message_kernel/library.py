"""The compiled kernel, loaded once a process."""

from __future__ import annotations

import ctypes
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from ctypes import c_int64, c_void_p
from functools import cache

from emulator.networks.message_kernel.compilation import cache_folder, compile_library, find_library
from graphs.errors import MeshcastError

log = logging.getLogger(__name__)

SWITCH = "MESHCAST_MESSAGE_KERNEL"  # an environment variable: one of NAMES, or the fallback
FALLBACK = "sparse"
NAMES = ("plain", "avx2", "avx512", "avx512_bf16", "amx")  # instruction sets by their number in the source
PAIRS, AMX = NAMES.index("avx512_bf16"), NAMES.index("amx")


class Sizes(ctypes.Structure):
    _fields_ = tuple(
        (name, c_int64)
        for name in ("senders", "receivers", "batch", "channels", "hidden", "vectors", "octaves", "kernels")
    )


class Call(ctypes.Structure):
    """The arguments of a pass, as message_kernel.cpp declares them."""

    _fields_ = (
        ("sizes", Sizes),
        *(
            (name, c_void_p)
            for name in (
                *("table", "integers", "floats", "senders", "receivers", "weights", "own_bias", "out_bias"),
                *("out", "total", "gradient"),
                *("own_gradient", "sender_gradient", "hidden_gradient", "vectors_back", "sums_of_chunks"),
            )
        ),
        ("gradients", c_void_p * 5),
        *((name, c_int64) for name in ("chunks", "tile", "threads", "half")),
    )


class Library:
    """The functions of the compiled kernel for one instruction set.

    Calls release Python's lock.
    """

    def __init__(self, loaded: ctypes.CDLL, isa: int) -> None:
        self.name = NAMES[isa]
        self._forward, self._backward, self._pack = (
            getattr(loaded, f"meshcast_{name}_{isa}") for name in ("forward", "backward", "pack")
        )
        self._pack.argtypes = [c_void_p, c_int64, c_void_p, c_void_p, c_void_p, c_int64, c_void_p]
        self._pack.restype = c_int64

    def forward(self, call: Call) -> None:
        _check(self._forward(ctypes.byref(call)))

    def backward(self, call: Call) -> None:
        _check(self._backward(ctypes.byref(call)))

    def pack(self, sizes: Sizes, half: bool, weights: tuple[int, int, int], back: bool, to: int | None) -> int:
        """Pack weights for a pass, and return the units of 32 bits that they take; `to` None asks for that alone."""
        return self._pack(ctypes.addressof(sizes), half, *weights, back, to)


def _check(code: int) -> None:
    assert code == 0, "the kernel was called with a number of kernels that it was not compiled for"


_chosen: list[str] = []


@contextmanager
def using(name: str) -> Iterator[None]:
    """Run a block with one of NAMES, or with the fallback."""
    _chosen.append(name)
    try:
        yield
    finally:
        _chosen.pop()


def message_library() -> Library | None:
    """Return the library for the best instruction set of this processor, or for the one asked for; else None.

    Raises MeshcastError where the environment asks for one that is not known.
    """
    name = _asked_for()
    return None if name == FALLBACK else _library(name)


def fallback_asked_for() -> bool:
    """Return whether sparse products are to be used; raises MeshcastError as `message_library` does."""
    return _asked_for() == FALLBACK


def _asked_for() -> str:
    name = _chosen[-1] if _chosen else os.environ.get(SWITCH, "")
    if name not in ("", FALLBACK, *NAMES):
        raise MeshcastError(f"{SWITCH} must be one of {', '.join((FALLBACK, *NAMES))}, or unset, but is {name}.")
    return name


@cache
def _library(name: str) -> Library | None:
    loaded = _loaded()
    if loaded is None:
        return None
    best = loaded.meshcast_isa()
    wanted = NAMES.index(name) if name in NAMES else best
    found = [isa for isa in range(min(wanted, best), -1, -1) if hasattr(loaded, f"meshcast_forward_{isa}")]
    if best == AMX and AMX not in found and not name:  # an old compiler knows no AMX; pairs in vectors are slow there
        found = [isa for isa in found if isa != PAIRS]
    return Library(loaded, found[0]) if found else None


@cache
def _loaded() -> ctypes.CDLL | None:
    with suppress(OSError, RuntimeError):  # none yet, or one from a machine with other system libraries
        if (library := find_library()) is not None:
            return ctypes.CDLL(str(library))
    try:
        return ctypes.CDLL(str(compile_library(cache_folder())))
    except (OSError, RuntimeError) as error:  # RuntimeError: this user has no home folder
        log.warning("The fused message kernel is not available: %s. Sparse products take its place.", error)
        return None
