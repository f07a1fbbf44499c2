"""Logins of many kinds, each a program on a terminal of its own."""

from __future__ import annotations

from typing import Any

import pytest

from rpi_clusterhat.errors import ConsoleError, LoginError
from rpi_clusterhat.nodes.console.states import ConsoleState
from rpi_clusterhat.nodes.console.times import ConsoleTimes
from rpi_clusterhat.nodes.finished import Finished

from .nodes import SECRET, SHELLS, console, getty

pytestmark = pytest.mark.slow

MOTD = (
    "Welcome!\r\n * login: see the wiki\r\n * password: ask $\r\n * 100%\r\n\r\n"
    "Last login: Thu Nov 26 on tty1\r\n"
)


@pytest.mark.parametrize(
    "script",
    [
        {},
        {"before": "[    1.234567] usb 1-1: new device\r\n[  OK  ] Reached target Multi-User System.\r\n"},
        {"banner": "\r\nUnauthorized login prohibited.\r\nEnter your login and password:\r\n\r\n"},
        {"banner": "\x1b[H\x1b[2J\x1b[1;31mTop secret\x1b[0m\r\npassword: is on the wall\r\n"},
        {"prompt": "\x1b[1;32mp1\x1b[0m login: \x1b[0m"},
        {"prompt": "Username: ", "password_prompt": "Passwort: "},
        {"prompt": "Benutzername:", "password_prompt": "Kennwort für pi:"},
        {"prompt": "p1 Anmelden: ", "password_prompt": "Mot de passe : "},
        {"password_prompt": "Secret word, please: "},
        {"password_prompt": "パスワード\uff1a"},
        {"password_prompt": "\x1b[1mPassword:\x1b[0m "},
        {"asks": False},
        {"after": MOTD},
        {"after": MOTD, "shell": SHELLS["bash"]},
        {"after": "\x1b[31mcolours\x1b[0m\x1b]0;title\x07\r\n" * 50},
        {"after": "Password: login: "},
        {"late": 1.0},
        {"late": 1.0, "flushes": True},
        {"pieces": ["p1 l", "ogi", "n", ": "], "between": 0.1},
        {"pieces": ["p1 l", "ogin: "], "between": 0.5},
        {"times_out": True},
        {"fail_delay": 2.0, "times_out": True},
    ],
    ids=repr,
)
def test_logins(script: dict[str, Any]) -> None:
    with getty(**script) as node, console(node) as talk:
        assert talk.run("echo hi") == Finished(0, "hi\n")
        assert SECRET not in repr(talk.last_lines(500))
    assert SECRET.encode() not in node.said


def test_the_state_before_and_after() -> None:
    with getty() as node, console(node) as talk:
        assert talk.look() is ConsoleState.LOGIN
        assert talk.look() is ConsoleState.LOGIN
        talk.login()
        assert talk.look() is ConsoleState.SHELL
        talk.login()
    assert node.typed.count(SECRET.encode()) == 1


@pytest.mark.parametrize("wire", [{"pace": 0.02}, {"pace": 0.005}], ids=repr)
def test_a_slow_console(wire: dict[str, Any]) -> None:
    with getty(wire) as node, console(node) as talk:
        assert talk.run("echo hi") == Finished(0, "hi\n")


@pytest.mark.parametrize("script", [{}, {"password_prompt": "Secret word: "}], ids=repr)
def test_a_wrong_secret(script: dict[str, Any]) -> None:
    with getty(fail_delay=1.5, **script) as node, console(node, "letmein1") as talk:
        with pytest.raises(LoginError, match="refused the user 'pi' or the secret") as caught:
            talk.login()
        assert "letmein1" not in str(caught.value)
        assert talk.look() is ConsoleState.LOGIN
    assert node.typed.count(b"letmein1") == 1


def test_no_secret() -> None:
    why = "asks for the password of the user 'pi', and no secret is set"
    with getty() as node, console(node, None) as talk, pytest.raises(LoginError, match=why):
        talk.login()


@pytest.mark.parametrize(
    ("more", "why"),
    [
        ("You are required to change your password immediately.\r\nCurrent password: ", "to be changed"),
        ("You must change your password now.\r\nNew password: ", "to be changed"),
        ("Verification code: ", "refused|another password or code"),
        ("Password: ", "another password or code"),
    ],
)
def test_a_login_that_asks_for_more(more: str, why: str) -> None:
    with getty(after="", asks_more=more) as node, console(node) as talk:
        with pytest.raises(LoginError, match=why) as caught:
            talk.login()
        assert SECRET not in str(caught.value)
    assert node.typed.count(SECRET.encode()) == 1


def test_a_login_that_somebody_else_has_begun() -> None:
    with getty() as node:
        node.write(b"root\n")
        with console(node) as talk:
            assert talk.run("echo hi") == Finished(0, "hi\n")
    assert node.typed.count(SECRET.encode()) == 1


def test_a_secret_that_is_echoed_is_scrubbed() -> None:
    with getty(echoes=True) as node, console(node) as talk:
        talk.login()
        assert SECRET.encode() in node.said
        shown = "\n".join(talk.last_lines(500))
        assert SECRET not in shown
        assert "Password: …" in shown


def test_nobody_answers() -> None:
    times = ConsoleTimes(quiet=0.1, answer=0.3, login=1.5)
    with (
        getty(late=3600.0) as node,
        console(node, times=times) as talk,
        pytest.raises(ConsoleError, match=r"no prompt|nothing answers"),
    ):
        talk.login()
