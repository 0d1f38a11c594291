"""Counters of energy that a machine keeps itself, and of its processor's time.

RAPL counts what the processor's packages and their memory take (Linux, `powercap`; only the root user may read it on
many systems). NVML counts what NVIDIA's GPUs take, from Volta on, through the library that comes with their driver.
Both belong to the machine as a whole; which share of the packages' energy is a process's own is told by its share of
the processor's busy time.
"""

from __future__ import annotations

import ctypes
import os
import platform
import re
import time
from dataclasses import dataclass
from functools import cache
from pathlib import Path

POWERCAP = Path("/sys/class/powercap")
NVML = "libnvidia-ml.so.1"


@dataclass(frozen=True)
class PackageCounter:
    """One counter of RAPL.

    path: of the file with microjoules. wraps_at: joules after which it starts from zero again, minutes of full load.
    """

    path: Path
    wraps_at: float

    def joules(self) -> float:
        """Return joules since some moment. Raises OSError or ValueError where the counter cannot be read."""
        return int(self.path.read_text()) / 1e6

    def since(self, before: float, now: float) -> float:
        """Return joules between two readings that are less than one round apart."""
        return now - before if now >= before else now - before + self.wraps_at


def package_counters(folder: Path = POWERCAP) -> list[PackageCounter]:
    """Return the counters of all packages and of their memory; none where one of the packages cannot be read.

    The cores and the graphics within a package, and `psys`, which holds the packages again, are not counted twice.
    """
    found: list[PackageCounter] = []
    for zone in sorted(folder.glob("intel-rapl:*")):  # AMD's too; `intel-rapl-mmio` would be the packages again
        try:
            name = (zone / "name").read_text().strip()
            if not name.startswith("package") and name != "dram":
                continue
            counter = PackageCounter(zone / "energy_uj", int((zone / "max_energy_range_uj").read_text()) / 1e6)
            counter.joules()
            found.append(counter)
        except (OSError, ValueError):
            if re.fullmatch(r"intel-rapl:\d+", zone.name):
                return []
    return found


def process_seconds(children: bool = True) -> float:
    """Return processor seconds of this process and its threads, and of its children that have ended."""
    return time.process_time() + (children_seconds() if children else 0.0)


def children_seconds() -> float:
    """Return processor seconds of the children of this process that have ended."""
    used = os.times()
    return used.children_user + used.children_system


def busy_seconds(stat: Path = Path("/proc/stat")) -> float | None:
    """Return seconds that all cores of the machine were busy since it started; None where the system does not say."""
    try:
        user, nice, system, _, _, irq, softirq = map(int, stat.read_text().split("\n", 1)[0].split()[1:8])
    except (OSError, ValueError):
        return None
    return (user + nice + system + irq + softirq) / os.sysconf("SC_CLK_TCK")


def processor_name(cpuinfo: Path = Path("/proc/cpuinfo")) -> str:
    """Return what the processor calls itself."""
    try:
        if match := re.search(r"^model name\s*:\s*(.+)$", cpuinfo.read_text(errors="replace"), re.MULTILINE):
            return match[1].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine() or "unknown processor"


@cache
def _nvml() -> ctypes.CDLL | None:
    try:
        library = ctypes.CDLL(NVML)
        return library if library.nvmlInit_v2() == 0 else None
    except (OSError, AttributeError):
        return None


def gpu_joules() -> dict[str, float]:
    """Return joules by the GPU's identifier, as `GPU-...`, since the driver was loaded; none that do not count."""
    library, count, found = _nvml(), ctypes.c_uint(), {}
    if library is None or library.nvmlDeviceGetCount_v2(ctypes.byref(count)):
        return {}
    for index in range(count.value):
        device, name, spent = ctypes.c_void_p(), ctypes.create_string_buffer(96), ctypes.c_ulonglong()
        if library.nvmlDeviceGetHandleByIndex_v2(index, ctypes.byref(device)):
            continue
        if library.nvmlDeviceGetUUID(device, name, len(name)):
            continue
        if library.nvmlDeviceGetTotalEnergyConsumption(device, ctypes.byref(spent)):  # [mJ]
            continue
        found[name.value.decode()] = spent.value / 1e3
    return found
