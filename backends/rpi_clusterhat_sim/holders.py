"""Who holds a line whose level ends with its holder, and whether he still lives."""

from __future__ import annotations

import os
from itertools import count

__all__ = ["is_alive", "new_holder"]

_number = count(1)


def new_holder() -> str:
    """A name for one open backend of this process: its process, when that began, and a number."""
    pid = os.getpid()
    return f"{pid} {_started(pid) or 0} {next(_number)}"


def is_alive(holder: str) -> bool:
    """Whether the holder's process still runs."""
    pid, _, rest = holder.partition(" ")
    started = rest.partition(" ")[0]
    if not pid.isdigit():
        return False
    try:
        os.kill(int(pid), 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        pass  # another user's, but there is one
    now = _started(int(pid))
    # Where /proc hides other users' processes, that there is one of this number has to do.
    return now is None or (now != 0 and str(now) == started)


def _started(pid: int) -> int | None:
    """Returns when a process began, in ticks since the boot, or 0 for a zombie.

    Source: proc_pid_stat(5), fields 3 and 22; field 2 may hold spaces and brackets.
    """
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            fields = file.read().rpartition(b")")[2].split()
    except OSError:
        return None
    return 0 if fields[0] in (b"Z", b"X") else int(fields[19])
