#!/usr/bin/python3
"""The first process of the emulated Pi: prepares it, then runs what the host asks for, one line each way.

The host asks over the serial port with an object of JSON in a line, and is answered likewise:
`run` runs a command to its end, `start` starts one, `heard` tells what it has said, `signal` sends it a
signal, `wait` waits for it.
"""

from __future__ import annotations

import ctypes
import glob
import json
import os
import stat
import subprocess
import time
import traceback
import tty
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

PORT = "/dev/ttyS1"
MODULES = "/modules"
LOCKS, GPIO = "/run/rpi-clusterhat", 2010
"""As the set-up of a controller makes it at each start; and the group's number."""
FINIT_MODULE = 273
"""The number of this call on arm64."""

_libc = ctypes.CDLL(None, use_errno=True)
_started: dict[int, tuple[subprocess.Popen[bytes], str]] = {}


def mount(kind: str, target: str, options: str = "") -> None:
    os.makedirs(target, exist_ok=True)
    if _libc.mount(kind.encode(), target.encode(), kind.encode(), 0, options.encode()):
        raise OSError(ctypes.get_errno(), f"mount {target}")


def load(path: str) -> None:
    fd = os.open(path, os.O_RDONLY)
    try:
        if _libc.syscall(FINIT_MODULE, fd, b"", 0):
            raise OSError(ctypes.get_errno(), f"load {path}")
    finally:
        os.close(fd)


def prepare() -> None:
    mount("proc", "/proc")
    mount("sysfs", "/sys")
    mount("devtmpfs", "/dev")
    mount("tmpfs", "/run", "mode=755")
    mount("tmpfs", "/tmp", "mode=1777")
    mount("debugfs", "/sys/kernel/debug")
    for path in sorted(glob.glob(f"{MODULES}/*.ko")):
        load(path)
    with open("/etc/group", "a") as groups:
        groups.write(f"root:x:0:\ngpio:x:{GPIO}:\n")
    with open("/etc/passwd", "a") as users:
        users.write("root:x:0:0:root:/tmp:/bin/sh\n")
    os.mkdir(LOCKS)
    os.chown(LOCKS, 0, GPIO)
    os.chmod(LOCKS, 0o2770)


def run(command: list[str], seconds: float) -> dict[str, Any]:
    begun = time.monotonic()
    done = subprocess.run(
        command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=seconds, check=False
    )
    return {
        "code": done.returncode,
        "output": done.stdout,
        "errors": done.stderr,
        "seconds": time.monotonic() - begun,
    }


def start(command: list[str]) -> dict[str, Any]:
    said = f"/tmp/said-{len(_started)}"
    with open(said, "wb") as file:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=file, stderr=subprocess.STDOUT)
    _started[process.pid] = process, said
    return {"pid": process.pid}


def heard(pid: int) -> dict[str, Any]:
    process, said = _started[pid]
    with open(said) as file:
        return {"output": file.read(), "code": process.poll()}


def signal(pid: int, number: int) -> dict[str, Any]:
    _started[pid][0].send_signal(number)
    return {}


def wait(pid: int, seconds: float) -> dict[str, Any]:
    _started[pid][0].wait(seconds)
    return heard(pid)


CALLS: dict[str, Callable[..., dict[str, Any]]] = {
    "run": run,
    "start": start,
    "heard": heard,
    "signal": signal,
    "wait": wait,
}


def serve() -> None:
    fd = os.open(PORT, os.O_RDWR | os.O_NOCTTY)
    tty.setraw(fd)
    with open(fd, "r+b", buffering=0) as port:
        port.write(b'{"ready": true}\n')
        pending = b""
        while True:
            pending += port.read(4096)
            *lines, pending = pending.split(b"\n")
            for line in lines:
                asked = json.loads(line)
                try:
                    answer = CALLS[asked.pop("call")](**asked)
                except Exception as error:  # noqa: BLE001 (told to the host)
                    answer = {"raised": f"{type(error).__name__}: {error}"}
                rest = memoryview(json.dumps(answer).encode() + b"\n")
                while rest:
                    rest = rest[port.write(rest) :]


if __name__ == "__main__":
    try:
        prepare()
        serve()
    except BaseException:  # noqa: BLE001 (nobody else would hear of it)
        os.mknod("/kmsg", 0o600 | stat.S_IFCHR, os.makedev(1, 11))
        with open("/kmsg", "w") as log:
            for line in traceback.format_exc().splitlines():
                print(line, file=log, flush=True)
