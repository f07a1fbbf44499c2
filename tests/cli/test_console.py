"""The command ``console`` between two real terminals: that of a person, and that of a node."""

from __future__ import annotations

import contextlib
import os
import signal
import stat
import subprocess
import sys
import termios
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from rpi_clusterhat.clock import SYSTEM
from rpi_clusterhat.waiting import Readable, drive

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator

    from rpi_clusterhat.waiting import Steps
    from tests.cli.conftest import Command

pytestmark = pytest.mark.slow

PROGRAM = [sys.executable, "-m", "rpi_clusterhat"]
TIMEOUT = 30
ESCAPE = b"\x1d"

_SHELL = """
import fcntl, os, signal, sys, termios
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
for number in (signal.SIGTTOU, signal.SIGHUP):
    signal.signal(number, signal.SIG_IGN)
if not (child := os.fork()):
    os.setpgid(0, 0)
    os.tcsetpgrp(0, os.getpid())
    for number in (signal.SIGTTOU, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)
    os.execv(sys.argv[1], sys.argv[1:])
os.write(int(os.environ["TELLS"]), b"%d\\n" % child)
sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""
"""What a shell does: the command is a job in the foreground. Without a shell it could not be suspended."""


def came(fd: int, expected: bytes) -> bytes:
    """What comes, until it has what is expected."""

    def steps() -> Steps[bytes]:
        whole = b""
        while expected not in whole:
            assert (yield Readable(fd, TIMEOUT)), f"{expected!r} does not come after {whole!r}"
            try:
                part = os.read(fd, 65536)
            except OSError:
                part = b""
            assert part, f"{expected!r} does not come any more after {whole!r}"
            whole += part
        return whole

    return drive(steps())


class Node:
    """A node's console, which comes and goes at one path."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.fd = -1
        self.boot()

    def boot(self) -> None:
        self.fd, self._ours = os.openpty()
        self.path.symlink_to(os.ttyname(self._ours))

    def lose_power(self) -> None:
        self.path.unlink(missing_ok=True)
        if self.fd >= 0:
            os.close(self._ours)
            os.close(self.fd)
        self.fd = -1

    def writes(self, data: bytes) -> None:
        os.write(self.fd, data)

    def hears(self, data: bytes) -> bytes:
        return came(self.fd, data)


class Person:
    """Somebody at a terminal, with the command."""

    def __init__(self, *argv: str) -> None:
        self.fd, terminal = os.openpty()
        self.terminal = terminal
        self.settings = termios.tcgetattr(terminal)
        reads, tells = os.pipe()
        self._shell = subprocess.Popen(
            [sys.executable, "-c", _SHELL, *PROGRAM, "console", *argv],
            stdin=terminal,
            stdout=terminal,
            stderr=terminal,
            start_new_session=True,
            pass_fds=[tells],
            env={**os.environ, "TELLS": str(tells)},
        )
        os.close(tells)
        with open(reads, encoding="ascii") as told:
            self.pid = int(told.readline())

    def signal(self, number: int) -> None:
        os.kill(self.pid, number)

    def stops(self) -> None:
        deadline = SYSTEM.now() + TIMEOUT
        while " T " not in Path(f"/proc/{self.pid}/stat").read_text(encoding="ascii"):
            assert SYSTEM.now() < deadline
            SYSTEM.sleep(0.01)

    def types(self, data: bytes) -> None:
        os.write(self.fd, data)

    def sees(self, data: bytes) -> bytes:
        return came(self.fd, data)

    def ends(self) -> int:
        return self._shell.wait(TIMEOUT)

    def is_restored(self) -> bool:
        return termios.tcgetattr(self.terminal) == self.settings

    def close(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            if self._shell.poll() is None:
                self.signal(signal.SIGKILL)
        self._shell.wait()
        os.close(self.fd)
        os.close(self.terminal)


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Node]:
    found = Node(tmp_path / "ttypi1")
    yield found
    found.lose_power()


@contextlib.contextmanager
def person(node: Node, *argv: str) -> Generator[Person]:
    found = Person("p1", "--device", str(node.path), *argv)
    try:
        yield found
    finally:
        found.close()


@contextlib.contextmanager
def piped(node: Node, *argv: str) -> Generator[subprocess.Popen[bytes]]:
    pipe = subprocess.PIPE
    command = [*PROGRAM, "console", "p1", "--device", str(node.path), *argv]
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe) as process:
        try:
            yield process
        finally:
            process.kill()


def test_a_person_talks_to_a_node_and_leaves(node: Node) -> None:
    with person(node) as user:
        told = user.sees(b"shows all keys]\r\n")
        assert f"[connected to p1 on {node.path}: Ctrl-] then . leaves, ".encode() in told
        node.writes(b"\x1b[1mlogin:\x1b[0m ")
        user.sees(b"\x1b[1mlogin:\x1b[0m ")
        user.types(b"pi\r\x03\x1a\x11\xc3\xa9")
        node.hears(b"pi\r\x03\x1a\x11\xc3\xa9")
        assert not user.is_restored()
        user.types(ESCAPE + ESCAPE)
        node.hears(ESCAPE)
        user.types(ESCAPE + b"?")
        user.sees(b"[Ctrl-] and then: . leaves p1; ")
        user.types(ESCAPE + b".never sent")
        user.sees(b"[left p1]\r\n")
        assert user.ends() == 0
        assert user.is_restored()


def test_another_escape_key(node: Node) -> None:
    with person(node, "--escape", "^a") as user:
        user.sees(b"Ctrl-A then . leaves")
        user.types(ESCAPE + b".\x01\x01")
        node.hears(ESCAPE + b".\x01")
        user.types(b"\x01.")
        assert user.ends() == 0


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)]
)
def test_a_signal_leaves_the_terminal_as_it_was(node: Node, number: int, code: int) -> None:
    with person(node) as user:
        user.sees(b"all keys")
        user.signal(number)
        assert user.ends() == code
        assert user.is_restored()


def test_a_terminal_that_hangs_up(node: Node) -> None:
    with person(node) as user:
        user.sees(b"all keys")
        os.close(user.fd)
        user.fd = os.open(os.devnull, os.O_RDONLY)
        assert user.ends() in (0, 129, 141)


@pytest.mark.parametrize("how", ["key", "signal"])
def test_who_is_suspended_gives_the_console_to_others_and_comes_back(node: Node, how: str) -> None:
    with person(node) as user:
        user.sees(b"all keys")
        if how == "key":
            user.types(ESCAPE + b"z")
        else:
            user.signal(signal.SIGTSTP)
        user.stops()
        assert user.is_restored()
        with person(node) as other:
            other.sees(b"all keys")
            node.writes(b"for the other")
            other.sees(b"for the other")
            user.signal(signal.SIGCONT)
            user.sees(b"[p1 is there]")
            assert not user.is_restored()
            node.writes(b"for both")
            user.sees(b"for both")
            other.sees(b"for both")
        node.writes(b"for one")
        user.sees(b"for one")
        user.types(ESCAPE + b".")
        assert user.ends() == 0


def test_several_share_a_console_and_one_only_watches(node: Node) -> None:
    with person(node) as first, person(node, "--watch") as watcher, person(node) as second:
        for each in (first, watcher, second):
            each.sees(b"all keys")
        node.writes(b"boots")
        for each in (first, watcher, second):
            each.sees(b"boots")
        watcher.types(b"rm -rf /\r")
        first.types(b"1")
        node.hears(b"1")
        second.types(b"2")
        assert node.hears(b"2") == b"2"
        first.signal(signal.SIGKILL)
        node.writes(b"goes on")
        watcher.sees(b"goes on")
        second.sees(b"goes on")
        second.types(b"3")
        node.hears(b"3")
        watcher.types(ESCAPE + b".")
        assert watcher.ends() == 0


def test_a_node_that_goes_away_and_comes_back(node: Node) -> None:
    with person(node) as user:
        user.sees(b"all keys")
        node.lose_power()
        user.sees(b"[p1 went away: waiting for it to come back]")
        user.types(b"lost")
        node.boot()
        user.sees(b"[p1 is there]")
        node.writes(b"login: ")
        user.sees(b"login: ")
        user.types(b"pi")
        assert node.hears(b"pi") == b"pi"
        node.lose_power()
        user.sees(b"went away")
        user.types(ESCAPE + b".")
        assert user.ends() == 0
        assert user.is_restored()


def test_a_node_that_has_no_power_so_far(node: Node) -> None:
    node.lose_power()
    with person(node) as user:
        user.sees(f"[there is no console {node.path} so far: waiting for p1 to get power and boot]".encode())
        node.boot()
        user.sees(b"[p1 is there]")


def test_once_ends_with_the_node(node: Node) -> None:
    with person(node, "--once") as user:
        user.sees(b"all keys")
        node.writes(b"last words")
        user.sees(b"last words")
        node.lose_power()
        user.sees(b"[p1 went away]")
        assert user.ends() == 0
        assert user.is_restored()
    with person(node, "--once") as user:
        user.sees(f"rpi-clusterhat: there is no console {node.path}: the node has no power".encode())
        assert user.ends() == 1


def test_a_transcript_has_what_the_node_wrote_and_is_the_users_alone(node: Node, tmp_path: Path) -> None:
    file = tmp_path / "p1.log"
    for text in (b"first\r\n\xff\x00", b"second\r\n"):
        with person(node, "--transcript", str(file)) as user:
            user.sees(b"all keys")
            user.types(b"secret\r")
            node.hears(b"secret\r")
            node.writes(text)
            user.sees(text)
            user.types(ESCAPE + b".")
            assert user.ends() == 0
    assert file.read_bytes() == b"first\r\n\xff\x00second\r\n"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_a_simulated_node(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RPI_CLUSTERHAT_BACKEND", "sim")
    monkeypatch.setenv(
        "RPI_CLUSTERHAT_OPTIONS", f"state={tmp_path}/hat.json serve=yes boot_time=1 halt_time=1"
    )
    subprocess.run([*PROGRAM, "on", "p2"], check=True, capture_output=True)
    user = Person("p2")
    other = Person("p2", "--watch")
    try:
        for each in (user, other):
            each.sees(b"all keys]")
        user.sees(b"p2 login: ")
        user.types(b"pi\rraspberry\r")
        other.sees(b"pi@p2:~ $ ")
        user.types(b"sudo poweroff\r")
        user.sees(b"reboot: Power down\r\n")
        user.sees(b"[p2 went away: waiting for it to come back]")
        other.sees(b"[p2 went away: waiting for it to come back]")
        user.types(ESCAPE + b".")
        assert user.ends() == 0
    finally:
        user.close()
        other.close()


# Pipes ------------------------------------------------------------------------------------------------------


def test_bytes_are_copied_as_they_are_through_pipes(node: Node) -> None:
    everything = bytes(range(256)) * 8
    with piped(node) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(everything)
        process.stdin.close()
        got = b""
        while len(got) < len(everything):
            got += os.read(node.fd, 65536)
        assert got == everything
        node.writes(everything)
        assert process.stdout.read() == everything
        assert process.wait(TIMEOUT) == 0
        assert process.stderr is not None
        assert process.stderr.read() == b""


def test_an_end_of_the_input_waits_for_the_answer(node: Node) -> None:
    with piped(node) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(b"uname\r")
        process.stdin.close()
        node.hears(b"uname\r")
        for _ in range(4):
            SYSTEM.sleep(0.5)
            node.writes(b"Linux ")
        assert process.stdout.read() == b"Linux " * 4
        assert process.wait(TIMEOUT) == 0


def test_a_log_of_a_node_that_comes_and_goes(node: Node) -> None:
    with piped(node, "--watch") as process:
        assert process.stdout is not None
        node.writes(b"one")
        came(process.stdout.fileno(), b"one")
        node.lose_power()
        assert process.stderr is not None
        assert process.stderr.readline() == b"rpi-clusterhat: p1 went away: waiting for it to come back\n"
        node.boot()
        assert process.stderr.readline() == b"rpi-clusterhat: p1 is there\n"
        node.writes(b"two")
        came(process.stdout.fileno(), b"two")
        process.send_signal(signal.SIGTERM)
        assert process.wait(TIMEOUT) == 143


def test_nobody_reads_the_output_any_more(node: Node) -> None:
    with piped(node, "--watch") as process:
        assert process.stdout is not None
        node.writes(b"one")
        came(process.stdout.fileno(), b"one")
        process.stdout.close()
        node.writes(b"two")
        assert process.wait(TIMEOUT) == 141


# What is wrong ----------------------------------------------------------------------------------------------


def test_a_console_that_another_program_has_open(node: Node) -> None:
    code = (
        "import os, sys; os.open(sys.argv[1], os.O_RDWR | os.O_NOCTTY); print(flush=True); sys.stdin.read()"
    )
    pipe = subprocess.PIPE
    command = [sys.executable, "-c", code, str(node.path)]
    with subprocess.Popen(command, stdin=pipe, stdout=pipe) as other:
        assert other.stdout is not None
        other.stdout.readline()
        # The node's end is in this process, which therefore is no stranger.
        with piped(node) as process:
            _, err = process.communicate(timeout=TIMEOUT)
        other.communicate()
    assert process.returncode == 1
    assert err.startswith(f"rpi-clusterhat: the console {node.path} is open in another program, ".encode())
    assert f"(process {other.pid}): end it first\n".encode() in err


def test_wrong_words(command: Command, tmp_path: Path) -> None:
    assert command("console").err.startswith("rpi-clusterhat: the following arguments are required: NODE")
    assert command("console", "p1", "p2").code == 2
    assert command("--backend", "sim", "console", "p9").code == 2
    result = command("--backend", "sim", "console", "p[1-2]")
    assert (result.code, result.err) == (2, "rpi-clusterhat: console takes one node, not p1, p2\n")
    assert command("console", "p1", "--escape", "xx").code == 2
    result = command("console", "p1", "--device", "/x", "--transcript", str(tmp_path / "none" / "log"))
    assert result.code == 2
    assert result.err.endswith("log cannot be written: No such file or directory\n")


def test_no_terminal(command: Command, tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.touch()
    result = command("console", "p1", "--device", str(file))
    assert result.code == 1
    assert result.err.startswith(f"rpi-clusterhat: {file} is not a terminal: ")
