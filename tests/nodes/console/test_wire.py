"""How a command is sent, and how its output and status are found in whatever comes back."""

from __future__ import annotations

import subprocess

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rpi_clusterhat.nodes.console.wire import Answers, Question, shell_line, typed_check

TOKEN = "0123456789ab"
OTHER = "ba9876543210"


def fed(data: bytes, cuts: list[int], keep: int = 1 << 20) -> Answers:
    answers = Answers(TOKEN, keep)
    at = 0
    for cut in sorted({cut % (len(data) + 1) for cut in cuts}):
        answers.feed(data[at:cut])
        at = cut
    answers.feed(data[at:])
    return answers


outputs = st.text(
    st.characters(exclude_categories=("C", "Zl", "Zp"), include_characters="\n\t"), max_size=200
)


@given(outputs, st.integers(0, 255), st.lists(st.integers(0, 10**6), max_size=20))
def test_output_and_status_whatever_the_pieces(output: str, status: int, cuts: list[int]) -> None:
    said = output.encode().replace(b"\n", b"\r\n")
    end = f"E{TOKEN}:{status}Z\r\n".encode()
    data = b"noise\r\nR%bZ\r\n\r\nA%b:0Z\r\n\r\nS%bZ\r\n" % ((TOKEN.encode(),) * 3) + said + end * 3
    answers = fed(data + f"\r\nX{TOKEN}Z\r\np1$ ".encode(), cuts)
    assert answers.is_ready
    assert answers.asked == [0]
    assert answers.status == status
    assert answers.output() == output
    assert answers.is_complete
    assert answers.is_over


@given(st.binary(max_size=500), st.lists(st.integers(0, 10**6), max_size=9))
def test_what_is_no_mark_is_no_status(data: bytes, cuts: list[int]) -> None:
    other = f"S{OTHER}Z\r\nE{OTHER}:0Z E{TOKEN}:Z E{TOKEN}:1[ 1.2]Z e{TOKEN}:0Z".encode()
    answers = fed(f"S{TOKEN}Z\r\n".encode() + data + other, cuts)
    assert answers.status is None


@given(st.text(max_size=300))
def test_what_is_sent_never_looks_like_an_answer(command: str) -> None:
    question = Question(command.replace("\0", "") or "x", TOKEN)
    for sent in (question.opening, question.script, *question.pieces, typed_check(TOKEN)[0]):
        assert len(sent) < 1000
        answers = fed(sent, [])
        assert not answers.is_ready
        assert not answers.has_begun
        assert answers.asked == []
        assert all(0x20 <= byte < 0x7F for byte in sent[:-1])
    assert typed_check(TOKEN)[1] not in typed_check(TOKEN)[0]


typable = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=40)


@settings(max_examples=30)
@given(st.lists(typable, max_size=5))
def test_words_arrive_as_they_are(words: list[str]) -> None:
    question = Question(shell_line(["printf", "%s\\0", *words]), TOKEN)
    coded = b"".join(piece.rstrip(b"\n").split(b":", 2)[2] for piece in question.pieces)
    program = 'c=$(printf %b "$1"); exec /bin/sh -c "$c"'
    done = subprocess.run(["sh", "-c", program, "sh", coded], stdout=subprocess.PIPE, check=True)
    assert done.stdout.split(b"\0")[:-1] == ([word.encode() for word in words] or [b""])


@given(st.integers(0, 5000), st.integers(1, 500))
def test_the_newest_output_is_kept(count: int, keep: int) -> None:
    answers = Answers(TOKEN, keep)
    answers.feed(f"S{TOKEN}Z\r\n".encode())
    text = "".join(f"{number}," for number in range(count))
    for at in range(0, len(text), 97):
        answers.feed(text[at : at + 97].encode())
    assert text.endswith(answers.output())
    answers.feed(f"E{TOKEN}:0Z".encode())
    assert text.endswith(answers.output())
    assert len(answers.output()) == min(keep, len(text))
    if answers.is_complete:
        assert answers.output() == text


def test_an_end_without_a_beginning_is_not_complete() -> None:
    answers = fed(f"lost\r\nE{TOKEN}:7Z".encode(), [])
    assert (answers.status, answers.output(), answers.is_complete) == (7, "", False)


@pytest.mark.parametrize("command", ["-x", "  ls", "a\\", "%s"])
def test_any_line_stays_itself(command: str) -> None:
    assert shell_line(command) == command
