"""Identifies the processes of a row: machine, boot, pid namespace and host, and a start time for each pid."""

from __future__ import annotations

import os
from pathlib import Path


def place() -> str:
    """Return ``machine/boot/namespace/host``, which must be equal for a pid to mean the same process."""
    parts = []
    for path in ("/etc/machine-id", "/proc/sys/kernel/random/boot_id"):
        try:
            parts.append(Path(path).read_text(encoding="ascii").strip())
        except (OSError, UnicodeDecodeError):
            parts.append("")
    try:
        parts.append(str(Path("/proc/self/ns/pid").readlink()))
    except OSError:
        parts.append("")
    host = os.uname().nodename
    if not any(parts[1:]):
        import psutil

        parts = [parts[0] or host, f"{psutil.boot_time():.0f}", ""]
    return "/".join([*parts, host])


def ticks(pid: int) -> str | None:
    """Return the start time of a live process, or None; a zombie is dead."""
    try:
        # On Linux the kernel's own count: a time of day would change with the clock.
        state = Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace").rpartition(")")[2].split()
        return None if state[0] in "ZXx" else state[19]
    except (OSError, IndexError):
        pass
    import psutil

    try:
        process = psutil.Process(pid)
        return None if process.status() == psutil.STATUS_ZOMBIE else f"{process.create_time():.2f}"
    except psutil.Error:
        return None


def known_here(there: str, here: str) -> bool:
    """Whether a row of the place `there` can be judged from `here`: it is the same place, or an earlier boot of it.

    Containers may have no machine id, and machines of one image may share it; then the host's name distinguishes them.
    """
    if there == here:
        return True
    machine, boot, _, host = (there.split("/") + [""] * 4)[:4]
    own, present, _, name = here.split("/")
    return bool(own) and (machine, host) == (own, name) and boot != present
