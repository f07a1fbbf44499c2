"""What is said with a node's shell: any command, through any login shell, in any pieces."""

from __future__ import annotations

import os
import shutil
import subprocess
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rpi_clusterhat.errors import SettingError
from rpi_clusterhat.nodes.ssh.conversation import OUTPUT_MOST, Conversation, read_command

TOKEN = "0123456789abcdef"
READY = f"{TOKEN}:ready\n".encode()
SHELLS = ["sh", "bash", "dash", "fish", "zsh", "csh", "tcsh", "ksh", "busybox"]
PIECES = st.lists(st.integers(1, 60), max_size=30)


def conversation(command: Any = "true") -> Conversation:
    return Conversation(read_command(command), TOKEN)


def in_pieces(data: bytes, sizes: list[int]) -> list[bytes]:
    pieces: list[bytes] = []
    for size in sizes:
        pieces.append(data[:size])
        data = data[size:]
    return [*pieces, data]


@given(before=st.binary(max_size=99), output=st.binary(max_size=99), status=st.integers(0, 255), sizes=PIECES)
def test_output_and_status_are_found_in_any_pieces(
    before: bytes, output: bytes, status: int, sizes: list[int]
) -> None:
    talk = conversation()
    rest = f"{TOKEN}:{status}\nand {TOKEN}:9\n".encode()
    for piece in in_pieces(before + READY + output + rest, sizes):
        talk.take(piece)
    assert talk.is_ready
    assert talk.status == status
    assert talk.output.text == output.decode(errors="replace").replace("\r\n", "\n")


@given(said=st.binary(max_size=200), sizes=PIECES, is_ready=st.booleans())
def test_what_ends_half_way_is_kept(said: bytes, sizes: list[int], is_ready: bool) -> None:
    talk = conversation()
    if is_ready:
        talk.take(READY)
    for piece in in_pieces(said, sizes):
        talk.take(piece)
    talk.end()
    assert talk.status is None
    tail = talk.output if is_ready else talk.before
    assert tail.text == said.decode(errors="replace").replace("\r\n", "\n")


def test_a_flood_is_bounded_before_and_after() -> None:
    talk = conversation()
    for _ in range(100):
        talk.take(bytes(100_000))
    assert len(talk.before.text) < 100_000
    talk.take(READY)
    for _ in range(100):
        talk.take(b"x" * 100_000)
    talk.take(f"end{TOKEN}:0\n".encode())
    assert len(talk.output.text) == OUTPUT_MOST
    assert talk.output.text.endswith("xend")
    assert not talk.output.is_complete


def _through(shell: str, talk: Conversation, said: bytes | None = None) -> Conversation:
    path = shutil.which(shell)
    if path is None:
        pytest.skip(f"no {shell}")
    argv = [path, *(["sh"] if shell == "busybox" else []), "-c", talk.line]
    # A BusyBox without other programs finds its own: sh and cat are in it.
    ran = subprocess.run(argv, input=talk.said if said is None else said, capture_output=True, check=False)
    talk.take(ran.stdout)
    talk.end()
    return talk


@pytest.mark.parametrize("shell", SHELLS)
def test_words_arrive_as_they_are_through_any_login_shell(shell: str) -> None:
    words = [
        "a b", "", "'", '"', "\\", "a\\'b", "$HOME", "$(exit 1)", "`id`", ";", "&", "|", "*", "~", "!!", "#",
        "new\nline", "trailing\n", "\t", "-n", "--", "é☃🐟", "{a,b}", "%s", TOKEN, "\x7f\x1b[1m",
    ]  # fmt: skip
    talk = _through(shell, conversation(["printf", "<%s>\\n", *words]))
    assert talk.status == 0
    assert talk.output.text == "".join(f"<{word}>\n" for word in words)


@settings(max_examples=60)
@given(st.lists(st.text(st.characters(exclude_characters="\0\r", exclude_categories=["Cs"])), max_size=5))
@pytest.mark.parametrize("shell", ["dash", "fish"])
def test_any_words(shell: str, words: list[str]) -> None:
    talk = _through(shell, conversation(["printf", "%s\\n", "", *words]))
    assert talk.output.text == "".join(f"{word}\n" for word in ["", *words])


@pytest.mark.parametrize(
    ("line", "status", "output"),
    [
        ("exit 3", 3, ""),
        ("echo out; echo err >&2; false", 1, "out\nerr\n"),
        ("cat; printf 'no newline'", 0, "no newline"),
        ("echo a # comment", 0, "a\n"),
        ("cat <<'END'\n$x\nEND", 0, "$x\n"),
        ("exec sh -c 'exit 7'", 7, ""),
        ("set -e; false; echo no", 1, ""),
        ("kill -9 $(exec sh -c 'echo $PPID')", 137, None),
        ("trap 'echo bye' EXIT; exit 2", 2, "bye\n"),
        ("(", 2, None),
        ("no-such-command", 127, None),
    ],
)
@pytest.mark.parametrize("shell", ["dash", "bash", "fish"])
def test_lines(shell: str, line: str, status: int, output: str | None) -> None:
    talk = _through(shell, conversation(line))
    assert talk.status == status
    assert output is None or talk.output.text == output


@pytest.mark.parametrize("shell", ["dash", "bash", "fish"])
def test_a_part_of_a_command_is_never_run(shell: str) -> None:
    whole = conversation("echo one; echo two")
    for cut in range(len(whole.said)):
        if shell != "dash" and cut % 10:
            continue
        talk = _through(shell, conversation("echo one; echo two"), whole.said[:cut])
        assert talk.is_ready
        assert talk.status is None
        assert talk.output.text == ""


def test_the_command_is_in_no_argument() -> None:
    talk = _through("dash", conversation("tr '\\0' ' ' </proc/$$/cmdline; : secret"))
    assert "secret" not in talk.line
    assert "sh -c" in talk.output.text
    assert "secret" not in talk.output.text


WRONG: list[Any] = [
    "", " \n", "a\0b", [], [b"ls"], ["a", 1], ["a\0"], b"ls", None, 3, "x" * (OUTPUT_MOST + 1), "\ud800",
]  # fmt: skip


@pytest.mark.parametrize("command", WRONG, ids=lambda value: repr(value)[:20])
def test_wrong_commands(command: Any) -> None:
    with pytest.raises(SettingError, match=r"^Invalid value for command: .*: expected a line for a shell"):
        read_command(command)


def test_names_of_files_that_are_no_text_arrive() -> None:
    name = os.fsdecode(b"caf\xe9")
    talk = _through("dash", conversation(["printf", "%s", name]))
    assert talk.output.text == "caf\ufffd"
