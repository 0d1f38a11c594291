"""Orders to the interposed layer of faults.c: which file operation of a command fails, kills it or stops it."""

from __future__ import annotations

import ctypes
import errno
import mmap
import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

LAYER = "MESHCAST_TORTURE_LAYER"  # names the built layer in a process that was started under it
KINDS = {name: 1 << bit for bit, name in enumerate(
    ("open_read", "open_write", "read", "write", "sync", "rename", "remove", "make", "resize", "close")
)}  # fmt: skip
WRITING = ("open_write", "write", "sync", "rename", "make", "resize", "close")
EVERYTHING = tuple(KINDS)
MODES = ("count", "fail", "fail_on", "short", "kill_before", "kill_half", "kill_after", "stop")


@dataclass(frozen=True)
class Fault:
    """What befalls a command at its `at`-th file operation, from 0, among `kinds`.

    mode: `fail` once with `error`; `fail_on`, at this and every later operation, as a full disk does; `short`: only
        half of the bytes are written, which the system may do; `kill_*`, before or after the operation or with half of
        its bytes; `stop`, until the process is continued.
    """

    mode: str
    kinds: tuple[str, ...]
    at: int = 0
    error: str = ""


# name -> mode, error, and the kinds of operations that can end so.
FAULTS = {
    "full once": ("fail", "ENOSPC", ("open_write", "write", "sync", "rename", "make", "resize", "close")),
    "full": ("fail_on", "ENOSPC", ("open_write", "write", "sync", "rename", "make", "resize")),
    "quota": ("fail_on", "EDQUOT", ("open_write", "write", "sync", "make", "resize", "close")),
    "broken disk": ("fail", "EIO", EVERYTHING),
    "dead disk": ("fail_on", "EIO", EVERYTHING),
    "denied": ("fail", "EACCES", ("open_read", "open_write", "rename", "remove", "make")),
    "read-only": ("fail_on", "EROFS", ("open_write", "rename", "remove", "make")),
    "too many files": ("fail", "EMFILE", ("open_read", "open_write")),
    "short write": ("short", "", ("write",)),
    "short read": ("short", "", ("read",)),
}

KILLS = ("kill_before", "kill_half", "kill_after")


def named_fault(name: str, at: int) -> Fault:
    """Return a fault of FAULTS or KILLS at an operation; killed is where something is written or removed."""
    if name in KILLS:
        return Fault(name, (*WRITING, "remove"), at)
    mode, error, kinds = FAULTS[name]
    return Fault(mode, kinds, at, error)


class Order(ctypes.Structure):
    """`struct order` of faults.c, in memory that survives the process that is struck."""

    _fields_ = (
        *((name, ctypes.c_long) for name in ("mode", "error", "at", "kinds", "count", "fired")),
        ("seen", ctypes.c_long * len(KINDS)),
        ("place", ctypes.c_char * 488),
        ("folder", ctypes.c_char * 512),
    )
    count: int
    fired: int
    seen: ctypes.Array[ctypes.c_long]
    place: bytes

    def operations(self) -> dict[str, int]:
        """Return how many operations of each kind there were."""
        return dict(zip(KINDS, self.seen, strict=True))


def compiler() -> str | None:
    """Return the C compiler of this machine, None where there is none."""
    return shutil.which(os.environ.get("CC", "cc"))


def build(folder: Path) -> Path:
    """Compile the layer into `folder`."""
    layer = folder / "faults.so"
    source = Path(__file__).with_name("faults.c")
    subprocess.run([compiler() or "cc", "-shared", "-fPIC", "-O2", "-o", layer, source, "-ldl"], check=True)
    return layer


def new_order(fault: Fault, folder: Path) -> Order:
    """Return an order on shared memory, for the files below `folder`."""
    order = Order.from_buffer(mmap.mmap(-1, ctypes.sizeof(Order)))
    order.mode, order.at = MODES.index(fault.mode), fault.at
    order.error = getattr(errno, fault.error) if fault.error else 0
    order.kinds = sum(KINDS[kind] for kind in fault.kinds)
    order.folder = str(folder).encode()
    return order


def arm(order: Order | None) -> None:
    """From now on the layer of this process obeys `order`; None lets everything pass."""
    layer = ctypes.CDLL(os.environ[LAYER])
    layer.torture_arm.argtypes = [ctypes.c_void_p]
    layer.torture_arm(ctypes.addressof(order) if order is not None else None)
