"""Nodes for tests of the dialogue: shells, and logins that do as they are told."""

from __future__ import annotations

import json
import os
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from rpi_clusterhat.nodes.console.console import AsyncConsole, Console
from rpi_clusterhat.nodes.console.times import ConsoleTimes
from rpi_clusterhat.settings.secret import Secret

from .wires import Wire

if TYPE_CHECKING:
    from collections.abc import Sequence

SECRET = "correct horse; $HOME"

QUICK = ConsoleTimes(quiet=0.15, answer=2.0, login=30.0, look=10.0)
"""Shorter than the defaults, for nodes that are on this machine."""

SHELLS = {
    "bash": ("bash", "--norc", "--noprofile", "-i"),
    "bash-posix": ("bash", "--norc", "--noprofile", "--posix", "-i"),
    "dash": ("dash", "-i"),
    "busybox": ("busybox", "sh", "-i"),
    "zsh": ("zsh", "-f", "-i"),
    "fish": ("fish", "--no-config", "-i"),
}


def needs(program: str) -> str:
    """A program's path, where this machine has it; the test is skipped where it has not."""
    found = shutil.which(program)
    if found is None:
        if os.environ.get("CLUSTERHAT_TEST_REQUIRE_CLIENTS") == "1":
            pytest.fail(f"{program} is missing")
        pytest.skip(f"needs {program}")
    return found


def shell(name: str, env: dict[str, str] | None = None, **wire: Any) -> Wire:
    """A shell that somebody is logged in with."""
    program, *rest = SHELLS[name]
    return Wire([needs(program), *rest], env, **wire)


def getty(wire: dict[str, Any] | None = None, **script: Any) -> Wire:
    """A login."""
    told: dict[str, Any] = {
        "late": 0.0,
        "flushes": False,
        "before": "",
        "pieces": [],
        "between": 0.0,
        "banner": "\r\nDebian GNU/Linux 12 p1 ttyGS0\r\n\r\n",
        "prompt": "p1 login: ",
        "user": "pi",
        "asks": True,
        "password_prompt": "Password: ",
        "echoes": False,
        "times_out": False,
        "secret": SECRET,
        "fail_delay": 0.3,
        "incorrect": "\r\nLogin incorrect\r\n",
        "after": "Last login: Thu Nov 26 06:41:13 UTC 2026 on ttyGS0\r\n",
        "asks_more": "",
        "shell": SHELLS["dash"],
    }
    assert told.keys() >= script.keys()
    program = Path(__file__).with_name("getty.py")
    argv = [sys.executable, "-I", "-S", str(program), json.dumps({**told, **script})]
    return Wire(argv, **(wire or {}))


def console(node: Wire, secret: str | None = SECRET, times: ConsoleTimes = QUICK) -> Console:
    return Console(node.path, "pi", None if secret is None else Secret(secret), times=times)


def aconsole(node: Wire, secret: str | None = SECRET, times: ConsoleTimes = QUICK) -> AsyncConsole:
    return AsyncConsole(node.path, "pi", None if secret is None else Secret(secret), times=times)


def words(*argv: str) -> Sequence[str]:
    return argv
