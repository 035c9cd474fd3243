"""What the machine grants this process: cores to compute on and memory to fill. Containers' limits count."""

from __future__ import annotations

import ctypes
import math
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

_CPUS = Path("/sys/devices/system/cpu")
_CGROUPS = Path("/sys/fs/cgroup")


def physical_cores() -> int:
    """Cores that this process may use; two hardware threads of one core count once."""
    if sys.platform == "darwin":
        return max(1, _sysctl("hw.perflevel0.physicalcpu") or _sysctl("hw.physicalcpu") or os.cpu_count() or 1)
    if sys.platform == "win32":
        return max(1, _windows_cores() or os.cpu_count() or 1)
    allowed = os.sched_getaffinity(0)
    cores = {_core_of(cpu) for cpu in allowed}
    return max(1, min(len(cores), _cpu_quota()))


def free_memory() -> int:
    """Bytes that can be filled without swapping."""
    if sys.platform == "darwin":
        pages = sum(_sysctl(f"vm.page_{kind}_count") for kind in ("free", "purgeable", "pageable_external"))
        return pages * (_sysctl("hw.pagesize") or 4096)
    if sys.platform == "win32":
        return _windows_memory()
    return min(_available(Path("/proc/meminfo")), _cgroup_memory())


# ---- Linux ----


def _text(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:
        return ""


def _core_of(cpu: int) -> tuple[str, str]:
    topology = _CPUS / f"cpu{cpu}" / "topology"
    core = _text(topology / "core_id")
    return (_text(topology / "physical_package_id"), core) if core else ("", f"cpu{cpu}")


def _cgroup_folders() -> Iterator[Path]:
    """The cgroup (version 2) of this process and those above it."""
    own = next((line[3:] for line in _text(Path("/proc/self/cgroup")).splitlines() if line.startswith("0::")), "/")
    folder = _CGROUPS / own.lstrip("/")
    while folder != _CGROUPS and _CGROUPS in folder.parents:
        yield folder
        folder = folder.parent
    yield _CGROUPS


def _cpu_quota() -> int:
    limits = [os.cpu_count() or 1]
    quotas = [_text(folder / "cpu.max").split() for folder in _cgroup_folders()]
    quotas.append([_text(_CGROUPS / "cpu" / f"cpu.cfs_{part}_us") for part in ("quota", "period")])  # version 1
    known = [parts for parts in quotas if len(parts) == 2 and all(part.isdigit() for part in parts)]
    limits += [math.ceil(int(quota) / int(period)) for quota, period in known if int(period)]
    return max(1, min(limits))


def _available(meminfo: Path) -> int:
    for line in _text(meminfo).splitlines():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024
    return 1 << 62


def _cgroup_memory() -> int:
    free = [1 << 62]
    for folder in _cgroup_folders():
        limit, used = _text(folder / "memory.max"), _text(folder / "memory.current")
        if limit.isdigit() and used.isdigit():
            free.append(max(0, int(limit) - int(used) + _page_cache(folder)))
    return min(free)


def _page_cache(folder: Path) -> int:
    """Bytes of files that the group holds in memory and would give up."""
    names = ("inactive_file", "active_file")
    lines = (line.split() for line in _text(folder / "memory.stat").splitlines())
    return sum(int(parts[1]) for parts in lines if len(parts) == 2 and parts[0] in names)


# ---- macOS and Windows ----


def _sysctl(name: str) -> int:
    value, size = ctypes.c_int64(0), ctypes.c_size_t(8)
    call = getattr(ctypes.CDLL(None), "sysctlbyname", None)
    if call is None or call(name.encode(), ctypes.byref(value), ctypes.byref(size), None, ctypes.c_size_t(0)):
        return 0
    return value.value


class _MemoryStatus(ctypes.Structure):
    """MEMORYSTATUSEX. Source: Windows sysinfoapi.h."""

    _fields_ = (
        ("length", ctypes.c_uint32),
        ("load", ctypes.c_uint32),
        *((name, ctypes.c_uint64) for name in ("total", "available", "total_file", "available_file")),
        *((name, ctypes.c_uint64) for name in ("total_virtual", "available_virtual", "extended")),
    )


def _windows_memory() -> int:
    status = _MemoryStatus(length=ctypes.sizeof(_MemoryStatus))
    kernel: Any = ctypes.CDLL("kernel32")
    return int(status.available) if kernel.GlobalMemoryStatusEx(ctypes.byref(status)) else 1 << 62


def _windows_cores() -> int:
    """Count RelationProcessorCore (0) entries. Source: GetLogicalProcessorInformationEx."""
    kernel: Any = ctypes.CDLL("kernel32")
    size = ctypes.c_uint32(0)
    kernel.GetLogicalProcessorInformationEx(0, None, ctypes.byref(size))
    buffer = ctypes.create_string_buffer(max(8, size.value))
    if not kernel.GetLogicalProcessorInformationEx(0, buffer, ctypes.byref(size)):
        return 0
    at = cores = 0
    while at + 8 <= size.value:
        cores += 1
        at += max(8, int.from_bytes(buffer.raw[at + 4 : at + 8], "little"))
    return cores
