"""Consoles are opened so that nobody reads beside us, on real pseudo-terminals and beside real programs."""

from __future__ import annotations

import fcntl
import grp
import os
import pwd
import subprocess
import sys
import termios
from typing import TYPE_CHECKING

import pytest

from rpi_clusterhat.errors import ConsoleBusyError, ConsoleError
from rpi_clusterhat.nodes.console.line import DeviceLine

from .ptys import Pair, came, pair_of_ends, program

if TYPE_CHECKING:
    import contextlib
    from collections.abc import Callable, Iterator
    from pathlib import Path


@pytest.fixture
def pair() -> Iterator[Pair]:
    with pair_of_ends() as found:
        yield found


OPENS = "fd = os.open(sys.argv[1], os.O_{} | os.O_NOCTTY | os.O_NONBLOCK)"


def test_bytes_go_both_ways_as_they_are(pair: Pair) -> None:
    line = DeviceLine(pair.path)
    everything = bytes(range(256))
    assert line.read() is None
    os.write(pair.node, everything)
    assert came(line) == everything
    assert line.write(everything) == 256
    assert os.read(pair.node, 1000) == everything
    line.close()


def test_the_terminals_settings_are_restored_but_for_what_the_node_would_notice(pair: Pair) -> None:
    with open(os.open(pair.path, os.O_RDWR | os.O_NOCTTY), "rb", buffering=0) as other:
        former = termios.tcgetattr(other)
        assert former[2] & termios.HUPCL == 0
        former[2] |= termios.HUPCL
        former[4] = former[5] = termios.B9600
        termios.tcsetattr(other, termios.TCSANOW, former)
        former = termios.tcgetattr(other)
    line = DeviceLine(pair.path)
    raw = termios.tcgetattr(line.fd)
    assert raw[0] == 0
    assert not raw[1] & termios.OPOST
    assert not raw[2] & termios.HUPCL
    assert raw[2] & termios.CLOCAL
    assert not raw[3] & (termios.ECHO | termios.ICANON | termios.ISIG)
    assert raw[4] == raw[5] == termios.B115200
    line.close()
    after = termios.tcgetattr(pair.node)
    former[2] &= ~termios.HUPCL
    former[3] &= ~(termios.ECHO | termios.ECHONL)
    assert after == former
    DeviceLine(pair.path).close(restore=False)
    assert termios.tcgetattr(pair.node)[0] == 0


def test_a_node_that_goes_away_is_a_hang_up(pair: Pair) -> None:
    line = DeviceLine(pair.path)
    os.write(pair.node, b"last words")
    os.close(pair.node)
    assert came(line) in (b"last words", b"")
    assert came(line) == b""
    with pytest.raises(ConsoleError, match=f"^the console {pair.path} went away$"):
        line.write(b"?")
    line.close()


def test_a_full_line_takes_what_it_can(pair: Pair) -> None:
    line = DeviceLine(pair.path)
    taken = 0
    while sent := line.write(b"x" * 1000):
        taken += sent
    assert 1000 < taken < 1_000_000
    while not line.write(b"y"):
        assert set(pair.said()) == {ord("x")}
    line.close()


def test_closing_twice_closes_nothing_of_anybody_else(pair: Pair) -> None:
    line = DeviceLine(pair.path)
    line.close()
    with open(os.devnull, "rb") as other:
        line.close()
        os.fstat(other.fileno())
    assert line.read() == b""
    with pytest.raises(ConsoleError, match=r"is closed$"):
        line.write(b"?")


def test_a_forked_child_has_no_part_in_it(pair: Pair) -> None:
    line = DeviceLine(pair.path)
    number = line.fd
    if (child := os.fork()) == 0:
        try:
            os.fstat(number)
        except OSError:
            os._exit(0)
        os._exit(1)
    assert os.waitpid(child, 0)[1] == 0
    assert line.write(b"x") == 1
    line.close()


# What is no console -----------------------------------------------------------------------------------------


def test_no_such_device(tmp_path: Path) -> None:
    gone = tmp_path / "ttypi1"
    gone.symlink_to(tmp_path / "ttyACM0")
    for path in (str(gone), str(tmp_path / "none" / "ttypi1")):
        with pytest.raises(ConsoleError, match=f"^there is no console {path}: the node has no power, "):
            DeviceLine(path)


@pytest.mark.parametrize("kind", ["file", "folder", "fifo", "null"])
def test_no_terminal(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "ttypi1"
    match kind:
        case "file":
            path.write_bytes(b"")
        case "folder":
            path.mkdir()
        case "fifo":
            os.mkfifo(path)
        case _:
            path.symlink_to(os.devnull)
    before = len(os.listdir("/proc/self/fd"))
    with pytest.raises(ConsoleError, match=f"^{path} is not a terminal: "):
        DeviceLine(str(path))
    assert len(os.listdir("/proc/self/fd")) == before


def test_no_permission(
    pair: Pair, tmp_path: Path, as_nobody: Callable[[], contextlib.AbstractContextManager[None]]
) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can make a device")
    device = tmp_path / "ttyS9"
    os.mknod(device, 0o660 | 0o020000, os.makedev(4, 64))
    os.chown(device, 0, grp.getgrnam("dialout").gr_gid)
    device.chmod(0o660)
    for folder in [tmp_path, *tmp_path.parents[:-2]]:
        folder.chmod(0o755)
    os.chmod(pair.path, 0o600)
    with as_nobody():
        with pytest.raises(ConsoleError) as caught:
            DeviceLine(pair.path)
        assert str(caught.value) == (
            f"no permission to open the console {pair.path}: it is a pseudo-terminal, "
            "which only the user who made it may open"
        )
        with pytest.raises(ConsoleError) as caught:
            DeviceLine(str(device))
        assert str(caught.value) == (
            f"no permission to open the console {device}: join the group dialout "
            f"('sudo usermod -aG dialout {pwd.getpwuid(65534).pw_name}') and log in again"
        )
    device.chmod(0o600)
    with as_nobody(), pytest.raises(ConsoleError) as caught:
        DeviceLine(str(device))
    assert str(caught.value) == (
        f"no permission to open the console {device}: give it to the group dialout "
        f"('sudo chgrp dialout {device}; sudo chmod g+rw {device}')"
    )


# Others -----------------------------------------------------------------------------------------------------


def test_a_program_that_reads_it_is_named(pair: Pair) -> None:
    with program(OPENS.format("RDONLY"), pair.path) as process:
        with pytest.raises(ConsoleBusyError) as caught:
            DeviceLine(pair.path)
        assert f"{pair.path} is open in another program, " in str(caught.value)
        assert f"(process {process.pid}): end it first" in str(caught.value)
    DeviceLine(pair.path).close()


def test_a_program_that_only_writes_takes_nothing_away(pair: Pair) -> None:
    with program(OPENS.format("WRONLY"), pair.path):
        DeviceLine(pair.path).close()


def test_the_program_at_the_other_end_may_have_both_ends_open() -> None:
    code = "import os, sys; a, b = os.openpty(); print(os.ttyname(b), flush=True)"
    command = [sys.executable, "-c", f"{code}\nsys.stdin.read()"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        DeviceLine(process.stdout.readline().strip()).close()
        process.communicate()


def test_modem_manager_is_told_to_keep_away(pair: Pair) -> None:
    code = f"{OPENS.format('RDWR')}; open('/proc/self/comm', 'w').write('ModemManager')"
    with program(code, pair.path) as process, pytest.raises(ConsoleBusyError) as caught:
        DeviceLine(pair.path)
    assert str(caught.value) == (
        f"the console {pair.path} is open in another program, ModemManager (process {process.pid}), which "
        "takes it for a modem: run 'sudo systemctl disable --now ModemManager', or set ID_MM_DEVICE_IGNORE=1 "
        "for the device in a udev rule"
    )


def test_a_second_line_does_not_steal_from_the_first(pair: Pair) -> None:
    line = DeviceLine(pair.path)
    with pytest.raises(ConsoleBusyError, match="another program"):
        DeviceLine(pair.path)
    os.write(pair.node, b"for the first")
    assert came(line) == b"for the first"
    line.close()


def test_a_program_that_keeps_all_others_out(
    pair: Pair, as_nobody: Callable[[], contextlib.AbstractContextManager[None]]
) -> None:
    if os.geteuid() != 0:
        pytest.skip("root is never kept out: another user is needed")
    os.chmod(pair.path, 0o666)
    code = f"{OPENS.format('WRONLY')}; import fcntl, termios; fcntl.ioctl(fd, termios.TIOCEXCL)"
    with program(code, pair.path), as_nobody(), pytest.raises(ConsoleBusyError) as caught:
        DeviceLine(pair.path)
    assert str(caught.value) == (
        f"another program has the console {pair.path} open: "
        f"see which with 'sudo fuser -v {pair.path}', and end it"
    )


def test_modem_manager_is_suspected_where_nobody_is_seen(
    pair: Pair, as_nobody: Callable[[], contextlib.AbstractContextManager[None]]
) -> None:
    if os.geteuid() != 0:
        pytest.skip("root is never kept out: another user is needed")
    os.chmod(pair.path, 0o666)
    code = (
        f"{OPENS.format('RDWR')}; import fcntl, termios; fcntl.ioctl(fd, termios.TIOCEXCL)\n"
        "open('/proc/self/comm', 'w').write('ModemManager')"
    )
    with program(code, pair.path) as process, as_nobody(), pytest.raises(ConsoleBusyError) as caught:
        DeviceLine(pair.path)
    assert (
        f"is open in another program, probably ModemManager (process {process.pid}), which takes it for a"
        in str(caught.value)
    )


def test_one_that_is_killed_leaves_the_line_free(pair: Pair) -> None:
    code = (
        "import sys; from rpi_clusterhat.nodes.console.line import DeviceLine; line = DeviceLine(sys.argv[1])"
    )
    with program(code, pair.path) as process:
        with pytest.raises(ConsoleBusyError):
            DeviceLine(pair.path)
        process.kill()
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        line = DeviceLine(pair.path)
        flags = fcntl.ioctl(line.fd, 0x80045440, b"\0" * 4)  # TIOCGEXCL
        assert flags == b"\0" * 4
        line.close()
