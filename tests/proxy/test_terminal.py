"""A proxy on a terminal ends when that is closed."""

from __future__ import annotations

import os
import re
import signal
import sys
import urllib.request

import pytest

from tests.proxy.running import PATIENCE
from tests.proxy.test_demo import all_end, hang_up, running

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="needs the hang-up of a terminal"),
]

PROXY = [
    *(sys.executable, "-m", "clusterhat_proxy", "--backend", "sim"),
    *("--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"),
]
SERVES = b"status on "


def below_a_shell(before: str = "") -> list[str]:
    """The shell hangs up on it when the terminal is closed, as an interactive one does."""
    return ["sh", "-c", f'{before}"$@"; true', "sh", *PROXY]


def answers(said: bytes) -> bool:
    address = re.search(rb"status on (http://[^\s]+)/", said)
    assert address is not None
    with urllib.request.urlopen(f"{address[1].decode()}/healthz", timeout=PATIENCE) as answer:
        return bool(answer.status == 200)


def test_it_ends_when_its_terminal_is_closed() -> None:
    with running(below_a_shell(), SERVES) as (_, terminal, below, _):
        hang_up(terminal)
        all_end(below)


def test_it_ends_when_the_terminal_that_it_was_started_by_is_closed() -> None:
    with running(PROXY, SERVES) as (pid, terminal, _, _):
        proxy = os.pidfd_open(pid)
        hang_up(terminal)
        all_end([proxy])
        os.close(proxy)


def test_a_signal_reloads_it_while_the_terminal_is_there() -> None:
    with running(below_a_shell(), SERVES) as (_, terminal, below, said):
        signal.pidfd_send_signal(below[0], signal.SIGHUP)
        assert answers(said)
        hang_up(terminal)
        all_end(below)


def test_with_nohup_it_stays_when_its_terminal_is_closed() -> None:
    with running(below_a_shell("trap '' HUP; "), SERVES) as (_, terminal, below, said):
        hang_up(terminal)
        signal.pidfd_send_signal(below[0], signal.SIGHUP)
        assert answers(said)
        signal.pidfd_send_signal(below[0], signal.SIGTERM)
        all_end(below)
