"""One console, shared by several: real pseudo-terminals, sockets, threads and processes."""

from __future__ import annotations

import os
import signal
import stat
import threading
from functools import partial
from typing import TYPE_CHECKING

import pytest

from rpi_clusterhat.errors import ConsoleBusyError, ConsoleError
from rpi_clusterhat.nodes.console import place as places_module
from rpi_clusterhat.nodes.console.backlog import LIMIT
from rpi_clusterhat.nodes.console.hub import MEMBERS
from rpi_clusterhat.nodes.console.line import DeviceLine, open_line
from rpi_clusterhat.nodes.console.packets import CHUNK, VERSION
from rpi_clusterhat.nodes.console.shared_line import SharedLine
from rpi_clusterhat.nodes.console.turns import Role

from .ptys import OPENS_LINE, Pair, came, pair_of_ends, program, until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

pytestmark = pytest.mark.slow


@pytest.fixture
def pair() -> Iterator[Pair]:
    with pair_of_ends() as found:
        yield found


@pytest.fixture
def opened(pair: Pair) -> Iterator[Callable[..., SharedLine]]:
    """Opens the console, again and again, and closes all that was opened."""
    lines: list[SharedLine] = []

    def line(role: Role = Role.PROGRAM) -> SharedLine:
        lines.append(SharedLine(pair.path, role))
        return lines[-1]

    yield line
    for each in lines:
        each.close()
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("console ")]


def test_all_see_what_the_node_writes_and_the_node_gets_what_each_writes(
    pair: Pair, opened: Callable[..., SharedLine]
) -> None:
    lines = [opened(role) for role in (Role.OPERATOR, Role.OPERATOR, Role.WATCHER)]
    os.write(pair.node, b"Raspbian\r\nlogin: ")
    for line in lines:
        assert came(line) == b"Raspbian\r\nlogin: "
        assert line.read() is None
    assert lines[0].write(b"pi") == 2
    assert pair.said() == b"pi"
    assert lines[1].write(b"\x03\xff") == 2
    assert pair.said() == b"\x03\xff"
    with pytest.raises(ConsoleError, match=f"^the console {pair.path} is only watched$"):
        lines[2].write(b"x")


def test_what_the_node_wrote_before_is_there(pair: Pair, opened: Callable[..., SharedLine]) -> None:
    for _ in range(20):
        os.write(pair.node, b"login: ")
        line = opened()
        assert came(line) == b"login: "
        line.close()


def test_a_program_has_the_console_to_itself_until_its_turn_ends(
    pair: Pair, opened: Callable[..., SharedLine]
) -> None:
    operator, first, second = opened(Role.OPERATOR), opened(), opened()
    until(lambda: operator.has_turn, operator)
    first.ask_turn()
    until(lambda: first.has_turn, first)
    until(lambda: not operator.has_turn, operator)
    assert operator.turn_of.endswith(f"(process {os.getpid()})")
    second.ask_turn()
    assert operator.write(b"operator") == 8
    assert second.write(b"second") == 6
    first.write(b"first")
    assert pair.said() == b"first"
    assert pair.hears_nothing()
    first.end_turn()
    assert not first.has_turn
    assert pair.said() == b"second"
    until(lambda: second.has_turn, second)
    assert pair.hears_nothing()
    second.close()
    assert pair.said() == b"operator"
    until(lambda: operator.has_turn, operator)


def test_who_writes_without_asking_takes_the_turn_and_order_is_kept(
    pair: Pair, opened: Callable[..., SharedLine]
) -> None:
    first, second = opened(), opened()
    first.write(b"1 ")
    assert pair.said() == b"1 "
    second.write(b"2 ")
    second.end_turn()
    second.write(b"3 ")
    assert pair.hears_nothing()
    first.end_turn()
    assert pair.said_all(4) == b"2 3 "


def test_one_who_leaves_while_it_waits_writes_nothing_later(
    pair: Pair, opened: Callable[..., SharedLine]
) -> None:
    first, second = opened(), opened()
    first.write(b"first")
    assert pair.said() == b"first"
    second.write(b"poweroff")
    second.close()
    first.end_turn()
    assert pair.hears_nothing()


def test_what_was_written_before_the_line_was_closed_comes_to_the_node(
    pair: Pair, opened: Callable[..., SharedLine]
) -> None:
    for line in (opened(), opened()):
        line.write(b"sudo ")
        line.write(b"poweroff\n")
        line.close()
        assert pair.said_all(14) == b"sudo poweroff\n"


def test_much_is_taken_bit_by_bit(pair: Pair, opened: Callable[..., SharedLine]) -> None:
    opened(Role.WATCHER)
    line = opened()
    whole = bytes(i % 251 for i in range(200_000))
    sent, got = 0, b""
    while len(got) < len(whole):
        sent += line.write(whole[sent : sent + 5000])
        if not pair.hears_nothing(0.0):
            got += pair.said()
    assert got == whole


def test_a_node_that_takes_nothing_holds_nobody_up(pair: Pair, opened: Callable[..., SharedLine]) -> None:
    line, other = opened(), opened(Role.WATCHER)
    until(lambda: not line.write(b"x" * 4096), line)
    os.write(pair.node, b"still there")
    assert came(other) == b"still there"
    line.close()
    os.write(pair.node, b"still there")
    assert came(other) == b"still there"


def test_one_who_does_not_read_misses_the_oldest_and_holds_nobody_up(
    pair: Pair, opened: Callable[..., SharedLine]
) -> None:
    reader, sleeper = opened(), opened(Role.WATCHER)
    lines = [b"%07d\n" % i for i in range(4 * LIMIT // 8)]
    for i in range(0, len(lines), 400):
        part = b"".join(lines[i : i + 400])
        os.write(pair.node, part)
        assert came(reader, len(part)) == part
    assert reader.skipped == 0
    kept = b""
    while not kept.endswith(lines[-1]):
        kept += came(sleeper) or b""
    assert sleeper.skipped > 0
    assert sleeper.skipped + len(kept) == len(lines) * 8
    assert len(kept) > LIMIT - CHUNK
    assert b"".join(lines).endswith(kept[CHUNK - LIMIT :])


def test_a_node_that_goes_away_is_the_end_for_all(pair: Pair, opened: Callable[..., SharedLine]) -> None:
    lines = [opened(), opened(), opened(Role.WATCHER)]
    os.write(pair.node, b"last words")
    assert came(lines[0]) == b"last words"
    os.close(pair.node)
    assert came(lines[0]) == b""
    assert came(lines[1]) == b"last words"
    assert came(lines[1]) == b""
    assert came(lines[2]) == b"last words"
    for line in lines:
        assert line.read() == b""
        assert line.fd >= 0
    with pytest.raises(ConsoleError, match=f"^the console {pair.path} went away$"):
        lines[0].write(b"?")


def test_a_line_that_is_closed(pair: Pair, opened: Callable[..., SharedLine]) -> None:
    line = opened()
    line.close()
    line.close()
    with pytest.raises(ConsoleError, match=f"^the console {pair.path} is closed$"):
        line.write(b"x")
    assert line.fd == -1


# Who may come in --------------------------------------------------------------------------------------------


def test_many_share_it_but_not_any_number(
    pair: Pair, opened: Callable[..., SharedLine], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rpi_clusterhat.nodes.console.shared_line._WELCOME", 0.3)
    lines = [opened(Role.WATCHER) for _ in range(MEMBERS)]
    with pytest.raises(ConsoleBusyError, match=r"\(process \d+\), which does not answer: end it first$"):
        opened()
    lines[5].close()
    opened()


def test_one_who_does_not_say_who_it_is_has_to_go(
    pair: Pair, opened: Callable[..., SharedLine], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rpi_clusterhat.nodes.console.hub._GREETING", 0.1)
    line = opened()
    place = next(iter(places_module.places(os.stat(pair.path), "")))
    for nonsense in (b"", b"i" + b"rm -rf /\n", b"h", b"h" + VERSION + b"x", b"\0"):
        stranger = place.connect()
        if nonsense:
            stranger.send(nonsense)
        stranger.settimeout(10)
        assert stranger.recv(100) in (b"", b"w" + VERSION + line.turn_of.encode())
        stranger.close()
    assert pair.hears_nothing()
    line.write(b"x")
    assert pair.said() == b"x"


def test_another_version_is_told_so(
    pair: Pair, opened: Callable[..., SharedLine], monkeypatch: pytest.MonkeyPatch
) -> None:
    opened()
    monkeypatch.setattr("rpi_clusterhat.nodes.console.shared_line.VERSION", b"0")
    with pytest.raises(ConsoleBusyError, match=r"which has another version of this library: end it first$"):
        opened()


def test_who_may_switch_nodes_may_come_in_and_nobody_else(tmp_path: Path) -> None:
    for mode, expected in ((0o2770, 0o660), (0o700, 0o600)):
        folder = tmp_path / ("x" * 120) / oct(mode)  # longer than the path of a socket may be
        folder.mkdir(parents=True)
        folder.chmod(mode)
        if os.geteuid() == 0:
            os.chown(folder, 0, 20)
            folder.chmod(mode)
        place = places_module.Place(str(folder), "console-4-64")
        listener = place.listen()
        found = os.stat(folder / "rpi-clusterhat.console-4-64.socket")
        assert stat.S_IMODE(found.st_mode) == expected
        assert found.st_gid == folder.stat().st_gid
        place.connect().close()
        listener.close()
        assert os.listdir(folder) == []
        with pytest.raises(FileNotFoundError):
            place.connect()


def test_a_serial_device_is_met_where_nodes_are_switched_and_a_pseudo_terminal_at_home(
    pair: Pair, tmp_path: Path
) -> None:
    serial = os.stat_result((0, 0, 0, 0, 0, 0, 0, 0, 0, 0), {"st_rdev": os.makedev(166, 2)})
    for found, folders in ((serial, 2), (os.stat(pair.path), 1)):
        places = list(places_module.places(found, str(tmp_path)))
        assert len(places) == folders
        assert (places[0].folder == str(tmp_path)) is (folders == 2)
        own = os.stat(places[-1].folder)
        assert own.st_uid == os.geteuid()
        assert stat.S_IMODE(own.st_mode) == 0o700
    assert next(iter(places_module.places(serial, str(tmp_path)))).key == "console-166-2"


def all_came(lines: list[SharedLine], size: int) -> list[bytes]:
    """What comes on several lines at once, so many bytes each."""
    whole = [b""] * len(lines)

    def read() -> bool:
        for i, line in enumerate(lines):
            whole[i] += line.read() or b""
        return min(map(len, whole)) >= size

    until(read)
    return whole


def writes(line: SharedLine, data: bytes) -> bool:
    return line.write(data) == len(data)


# Programs ---------------------------------------------------------------------------------------------------


def test_another_process_shares_it(pair: Pair, opened: Callable[..., SharedLine]) -> None:
    with program(f"{OPENS_LINE}; line.write(b'theirs')", pair.path):
        assert pair.said() == b"theirs"
        line = opened()
        assert repr(line) == f"<SharedLine {pair.path}, shared>"
        os.write(pair.node, b"for both")
        assert came(line) == b"for both"
        line.write(b"ours")
        assert pair.hears_nothing()
        until(lambda: line.turn_of != "", line)
        assert not line.has_turn
    until(lambda: line.has_turn, line)
    assert pair.said() == b"ours"


def test_the_others_go_on_when_the_one_that_has_it_open_leaves(
    pair: Pair, opened: Callable[..., SharedLine]
) -> None:
    with program(OPENS_LINE, pair.path):
        lines = [opened(Role.OPERATOR), opened(Role.WATCHER), opened(Role.OPERATOR)]
        os.write(pair.node, b"before ")
    os.write(pair.node, b"after\r\n")
    assert all_came(lines, 14) == [b"before after\r\n"] * 3
    assert sorted(repr(line).rpartition(" ")[2] for line in lines) == ["own>", "shared>", "shared>"]
    lines[2].write(b"x\r")
    assert pair.said() == b"x\r"


def test_the_others_go_on_when_the_one_that_has_it_open_is_killed(
    pair: Pair, opened: Callable[..., SharedLine]
) -> None:
    for _ in range(5):
        with program(f"{OPENS_LINE}; line.write(b'!')", pair.path) as process:
            assert pair.said() == b"!"
            lines = [opened(), opened(Role.WATCHER)]
            lines[0].ask_turn()
            process.kill()
            os.write(pair.node, b"on and on")
            assert all_came(lines, 9) == [b"on and on", b"on and on"]
            until(lambda: lines[0].has_turn, lines[0])  # noqa: B023
        lines[0].write(b"on")
        assert pair.said() == b"on"
        for line in lines:
            line.close()


def test_a_node_that_goes_away_with_the_program_that_had_it_open(
    pair: Pair, opened: Callable[..., SharedLine]
) -> None:
    with program(OPENS_LINE, pair.path) as process:
        line = opened()
        process.kill()
        os.close(pair.node)
        assert came(line) == b""


def test_nothing_that_was_typed_is_lost_when_the_console_changes_hands(
    pair: Pair, opened: Callable[..., SharedLine]
) -> None:
    typed = b""
    with program(OPENS_LINE, pair.path) as process:
        line = opened(Role.OPERATOR)
        for i in range(400):
            key = b"%d," % i
            typed += key
            until(partial(writes, line, key))
            if i == 200:
                assert process.stdin is not None
                process.stdin.close()
                process.stdin = None
    assert came(line, 1, 0.3) is None
    assert pair.said_all(len(typed)) == typed


def test_one_that_is_stopped_is_named(
    pair: Pair, opened: Callable[..., SharedLine], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rpi_clusterhat.nodes.console.shared_line._WELCOME", 0.3)
    with program(OPENS_LINE, pair.path) as process:
        process.send_signal(signal.SIGSTOP)
        os.waitid(os.P_PID, process.pid, os.WSTOPPED | os.WNOWAIT)
        try:
            with pytest.raises(ConsoleBusyError) as caught:
                opened()
            assert f"(process {process.pid}), which does not answer: end it first" in str(caught.value)
        finally:
            process.send_signal(signal.SIGCONT)


def test_a_forked_child_does_not_keep_the_console(pair: Pair) -> None:
    code = (
        f"{OPENS_LINE}\nif not os.fork(): os.close(0); os.close(1); os.execlp('sleep', 'sleep', '2')\n"
        "sys.stdin.read = lambda: os._exit(9)"
    )
    with program(code, pair.path):
        pass
    DeviceLine(pair.path).close()


def test_who_opens_it_first_without_a_place_to_meet_has_it_alone(
    pair: Pair, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    unsafe = tmp_path / "unsafe"
    unsafe.mkdir()
    unsafe.chmod(0o777)
    monkeypatch.setattr(places_module, "_own_folder", lambda: str(unsafe))
    line = open_line(pair.path)
    os.write(pair.node, b"hello")
    assert came(line) == b"hello"
    with pytest.raises(ConsoleBusyError):
        open_line(pair.path)
    line.close()
    assert os.listdir(unsafe) == []
