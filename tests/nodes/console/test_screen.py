"""What a console's bytes look like as text, and what its last line says."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rpi_clusterhat.nodes.console.prompts import asks_for_new_password, last_words, state_of, timed_out
from rpi_clusterhat.nodes.console.screen import Screen, lines_of, plain_text
from rpi_clusterhat.nodes.console.states import ConsoleState

SEQUENCES = [
    "\x1b[0m", "\x1b[1;31m", "\x1b[?2004h", "\x1b]0;a title\x07", "\x1b]8;;http://p1\x1b\\", "\x1b(B",
    "\x1b7", "\x1b=", "\x1bPq#0\x1b\\", "\x9b1m", "\x9d2;t\x9c", "\x07", "\x00", "\x0e", "\x1b[6n",
    "\x1b[38;2;1;2;3m", "\x1b[>4;1m", "\x1b[ q",
]  # fmt: skip

words = st.text(st.characters(exclude_categories=("C", "Zl", "Zp")), max_size=12)
noise = st.lists(st.sampled_from(SEQUENCES), max_size=3).map("".join)


@given(st.lists(st.lists(st.tuples(words, noise), max_size=4), max_size=5))
def test_control_sequences_leave_no_trace(lines: list[list[tuple[str, str]]]) -> None:
    raw = "\r\n".join("".join(word + mark for word, mark in line) for line in lines)
    assert plain_text(raw.encode()) == "\n".join("".join(word for word, _ in line) for line in lines)


@given(st.binary(max_size=3000))
def test_whatever_comes_is_plain_text_of_bounded_size(data: bytes) -> None:
    lines = lines_of(data)
    assert lines
    for line in lines:
        assert not any(char < " " and char != "\t" for char in line)
        assert "\x7f" not in line
    assert sum(map(len, lines)) <= 256 * (len(data) + 1)
    assert state_of(lines) in {None, *ConsoleState}
    state_of(lines, after_user=True)


@given(st.text("\x1b[]0123;PC@JKDGHX\x07\r\n\bab\x9b", max_size=200))
def test_cursors_stay_on_their_line(text: str) -> None:
    for line in lines_of(text.encode()):
        assert len(line) <= 10_500 * 200
        assert not any(char < " " for char in line)


@given(st.lists(st.binary(max_size=100), max_size=40), st.integers(1, 200))
def test_a_screen_keeps_the_newest(pieces: list[bytes], limit: int) -> None:
    screen = Screen(limit)
    whole = b""
    marks: list[int] = []
    for piece in pieces:
        marks.append(screen.received)
        screen.feed(piece)
        whole += piece
    assert screen.received == len(whole)
    kept = screen.since(0)
    assert whole.endswith(kept)
    assert len(kept) >= min(len(whole), limit)
    assert len(kept) <= 2 * limit
    for mark in marks:
        assert whole[mark:].endswith(screen.since(mark))
    assert screen.since(0, 5) == kept[-5:] or not kept


@pytest.mark.parametrize(
    ("raw", "shown"),
    [
        ("10%\r20%\r100%\r\n", ["100%", ""]),
        ("abc\b\bX", ["aXc"]),
        ("abc\b \b", ["ab "]),
        ("\x1b[H\x1b[2Jp1 login: ", ["", "", "p1 login: "]),
        ("%" + " " * 79 + "\r \r\r\x1b[0m\x1b[Jp1% \x1b[K", ["p1% "]),
        ("p1>\x1b[20C12:00\x1b[25D ", ["p1>" + " " * 20 + "12:00"]),
        ("abcdef\x1b[3D\x1b[P", ["abcef"]),
        ("abc\r\x1b[2@", ["  abc"]),
        ("abc\r\x1b[2X", ["  c"]),
        ("abc\x1b[1K", ["   "]),
        ("abc\x1b[2G\x1b[K", ["a"]),
        ("half a \x1b[", ["half a "]),
        ("half a \x1b]0;tit", ["half a "]),
        ("\x1b]0;never closed\r\nseen", ["", "seen"]),
        ("\x1b[99999999999999999999Cx", [" x"]),
    ],
)
def test_editing_within_a_line(raw: str, shown: list[str]) -> None:
    assert lines_of(raw.encode()) == shown


def test_broken_characters() -> None:
    assert lines_of(b"\xff\xc3ok\xe2\x82") == ["\ufffd\ufffdok\ufffd"]


@pytest.mark.parametrize(
    ("last", "state"),
    [
        ("p1 login: ", ConsoleState.LOGIN),
        ("Ubuntu 24.04 LTS p1 ttyS0 login:", ConsoleState.LOGIN),
        ("login:", ConsoleState.LOGIN),
        ("Username: ", ConsoleState.LOGIN),
        ("Last login: ", None),
        ("p1 login: pi", None),
        ("Password: ", ConsoleState.PASSWORD),
        ("[sudo] password for pi: ", ConsoleState.PASSWORD),
        ("Mot de passe : ", ConsoleState.PASSWORD),
        ("Enter PIN: ", ConsoleState.PASSWORD),
        ("Shipping: ", None),
        ("pi@p1:~$ ", ConsoleState.SHELL),
        ("root@p1:~# ", ConsoleState.SHELL),
        ("p1% ", ConsoleState.SHELL),
        (">", ConsoleState.SHELL),
        ("\u276f ", ConsoleState.SHELL),
        ("➜  ~ git:(main) ✗ ", ConsoleState.SHELL),
        ("copied 45%", None),
        ("copied 45.5%", None),
        ("(initramfs) ", ConsoleState.EMERGENCY),
        ("Give root password for maintenance", ConsoleState.EMERGENCY),
        ("Press Enter for system maintenance", ConsoleState.EMERGENCY),
        ("(or press Control-D to continue): ", ConsoleState.EMERGENCY),
        ("[    1.234567] usb 1-1: new device", ConsoleState.BOOTING),
        ("[  OK  ] Started ssh.service", ConsoleState.BOOTING),
        ("", None),
        ("x" * 100_000, None),
    ],
)
def test_what_a_last_line_says(last: str, state: ConsoleState | None) -> None:
    assert state_of([last]) is state
    assert state_of(["", "Debian 12: your login and password: $", last]) is state


def test_what_several_lines_say() -> None:
    assert state_of([]) is None
    assert state_of(["Password:", ""]) is None
    assert state_of(["[    1.234567] usb 1-1: new device", ""]) is ConsoleState.BOOTING
    assert state_of(["[    1.234567] usb 1-1: new device", "p1 login:"]) is ConsoleState.LOGIN
    panic = "[    1.234567] Kernel panic - not syncing: VFS: Unable to mount root fs"
    assert state_of([panic, "[    1.3] ---[ end trace ]---", ""]) is ConsoleState.EMERGENCY
    assert state_of(["Secret word: "]) is None
    assert state_of(["Secret word: "], after_user=True) is ConsoleState.PASSWORD
    assert state_of(["Last login: "], after_user=True) is None
    assert timed_out(["", "Login timed out after 60 seconds."])
    assert not timed_out(["Login incorrect"])
    assert asks_for_new_password(["You are required to change your password immediately"])
    assert not asks_for_new_password(["Login incorrect"])
    assert last_words(["[   12.3] reboot: Power down", ""]) == "[   12.3] reboot: Power down"
    assert last_words(["[   12.3] reboot: Restarting system"]) == ""
    assert last_words(["Power down."]) == "Power down."
    for not_yet in ("[  OK  ] Reached target System Power Off.", "The system is going to power down now!"):
        assert last_words([not_yet]) == "", "its file systems are still mounted"
