"""Boots the lab's kernel as an ordinary process and runs one command in it, on this machine's own files.

python -m tests.kernel.lab.booting COMMAND [ARGUMENT...] exits with the command's code.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from typing import TYPE_CHECKING, NamedTuple

from .building import default_place

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

HERE = os.path.dirname(os.path.abspath(__file__))
CHECKOUT = os.path.dirname(os.path.dirname(os.path.dirname(HERE)))
INSIDE = "CLUSTERHAT_TEST_INSIDE_LAB"
"""Set in the environment of everything that runs inside."""


class BootError(Exception):
    """The kernel did not come up, or did not come to an end in time; the text has its last words."""


class Ran(NamedTuple):
    code: int
    output: str


def run(
    place: str,
    command: Sequence[str],
    *,
    seconds: float = 120.0,
    env: Mapping[str, str] | None = None,
    results: str | None = None,
    memory: str = "384M",
) -> Ran:
    """Runs ``command`` as root inside, in the checkout, on the kernel built in ``place``.

    Inside, the machine's files are read-only; /run and /mnt are writable. What the command leaves in the
    folder that its environment names as LAB_RESULTS is copied to ``results``. Raises `BootError`.
    """
    with tempfile.TemporaryDirectory(prefix="lab-") as exchange:
        left = os.path.join(exchange, "results")
        os.mkdir(left)
        with open(os.path.join(exchange, "job.json"), "w") as file:
            json.dump(_job(place, command, env or {}), file)
        console = _boot(place, exchange, memory, seconds)
        output = _read(os.path.join(exchange, "output"))
        code = _read(os.path.join(exchange, "code"))
        if not code:
            raise BootError(f"the lab's kernel ended before its command\n{console[-4000:]}\n{output[-4000:]}")
        if results is not None:
            shutil.copytree(left, results, dirs_exist_ok=True)
        return Ran(int(code), output)


def _job(place: str, command: Sequence[str], env: Mapping[str, str]) -> dict[str, object]:
    inside = {
        "HOME": "/mnt/tmp",
        "TMPDIR": "/mnt/tmp",
        "LANG": "C.UTF-8",
        "PATH": f"{os.path.dirname(sys.executable)}:/usr/sbin:/usr/bin:/sbin:/bin",
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONPATH": CHECKOUT,
        "LAB_MODULES": place,
        "LAB_RESULTS": "/mnt/exchange/results",
        INSIDE: "1",
        **env,
    }
    folders = list(dict.fromkeys((sys.base_prefix, sys.prefix, CHECKOUT, place)))
    return {"command": list(command), "cwd": CHECKOUT, "env": inside, "folders": folders}


def _boot(place: str, exchange: str, memory: str, seconds: float) -> str:
    """Boots, waits for the end, and returns what the kernel said."""
    arguments = [
        os.path.join(place, "linux"),
        f"mem={memory}",
        *("root=/dev/root", "rootfstype=hostfs", "rootflags=/", "ro"),
        *("con=null", "con0=null,fd:1", "ssl=null", "quiet"),
        f"uml_dir={exchange}/",
        f"LAB_EXCHANGE={exchange}",
        f"init={sys.executable}",
        *("--", "-I", os.path.join(HERE, "init.py")),
    ]
    path = os.path.join(exchange, "console")
    with open(path, "wb") as console:
        kernel = subprocess.Popen(
            arguments,
            env={"PATH": os.defpath, "TMPDIR": exchange, "HOME": exchange},
            stdin=subprocess.DEVNULL,
            stdout=console,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            kernel.wait(seconds)
        except subprocess.TimeoutExpired:
            output = _read(os.path.join(exchange, "output"))[-4000:]
            raise BootError(f"no end within {seconds:g} s\n{_read(path)[-4000:]}\n{output}") from None
        finally:
            with contextlib.suppress(ProcessLookupError):  # the kernel's processes are processes here
                os.killpg(kernel.pid, signal.SIGKILL)
            kernel.wait()
    return _read(path)


def _read(path: str) -> str:
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read()
    except FileNotFoundError:
        return ""


if __name__ == "__main__":
    ran = run(default_place(), sys.argv[1:])
    print(ran.output, end="")
    sys.exit(ran.code)
