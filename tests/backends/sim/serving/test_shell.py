"""The login and the shell of a simulated node."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rpi_clusterhat_sim.shell import PASSWORD, USER, Shell


def shell(refusal: str = "", *, logged_in: bool = True) -> Shell:
    made = Shell("p1", lambda: 61.4, lambda: refusal)
    if logged_in:
        made.typed(f"{USER}\r{PASSWORD}\r")
    return made


def test_a_login() -> None:
    made = shell(logged_in=False)
    assert made.prompt == "p1 login: "
    assert made.typed("pi\r") == "pi\r\nPassword: "
    assert made.typed("wrong\r") == "\r\nLogin incorrect\r\np1 login: "
    assert made.typed("\r") == "\r\np1 login: "
    assert made.typed("pj\x7fi\r") == "pj\b \bi\r\nPassword: "
    said = made.typed("raspberry\r\n")
    assert said.startswith("\r\nLinux p1 ")
    assert said.endswith("pi@p1:~ $ ")
    assert made.typed("exit\r") == "exit\r\nlogout\r\n\r\np1 login: "


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("echo a  'b  c'", "a b  c\r\n"),
        ("echo", "\r\n\r\n"),
        ("uname", "Linux\r\n"),
        ("uname -n", "p1\r\n"),
        ("hostname", "p1\r\n"),
        ("whoami", "pi\r\n"),
        ("uptime", "up 61 s\r\n"),
        ("", ""),
        ("rm -rf /", "-sh: rm: not found\r\n"),
        ("echo '", "-sh: No closing quotation\r\n"),
        ("sudo poweroff", ""),
    ],
)
def test_a_command(line: str, said: str) -> None:
    assert shell().typed(f"{line}\r") == f"{line}\r\n{said}pi@p1:~ $ "


def test_exit_statuses() -> None:
    made = shell("it hangs")
    for line, status in (("true", 0), ("false", 1), ("nothing", 127), ("poweroff", 1), ("echo '", 2)):
        made.typed(f"{line}\r")
        assert made.typed("echo $?\r") == f"echo $?\r\n{status}\r\npi@p1:~ $ "
    assert made.typed("\x03") == "^C\r\npi@p1:~ $ "
    assert made.typed("\x04") == "\r\nlogout\r\n\r\np1 login: "


@given(st.text(max_size=200), st.booleans())
def test_nothing_that_is_typed_breaks_it_and_no_password_is_shown(text: str, logged_in: bool) -> None:
    made = shell(logged_in=logged_in)
    made.typed(text)
    assert made.typed("\r").endswith(made.prompt)
    fresh = shell(logged_in=False)
    fresh.typed("pi\r")
    assert "zyx" not in fresh.typed(f"zyx{text.replace('zyx', '')}").partition("\r")[0]


def test_a_line_without_end_is_bounded() -> None:
    assert len(shell().typed("x" * 100_000)) <= 1024
