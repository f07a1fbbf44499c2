"""The dialogue on a console that another program of this library has open: an operator's, or one that runs
commands too."""

from __future__ import annotations

import threading

import pytest

from rpi_clusterhat.nodes.console.shared_line import SharedLine
from rpi_clusterhat.nodes.console.turns import Role
from rpi_clusterhat.nodes.finished import Finished

from .nodes import console, getty, shell
from .ptys import came, program

pytestmark = pytest.mark.slow

OPERATOR = (
    "from rpi_clusterhat.nodes.console.shared_line import SharedLine\n"
    "from rpi_clusterhat.nodes.console.turns import Role\n"
    "line = SharedLine(sys.argv[1], Role.OPERATOR)"
)


@pytest.mark.parametrize("first", ["operator", "dialogue"])
def test_a_command_runs_while_an_operator_is_attached(first: str) -> None:
    with shell("bash") as node, console(node) as talk:
        if first == "dialogue":
            assert talk.run("echo first").output == "first\n"
        else:
            talk.close()
        with program(OPERATOR, node.path):
            assert talk.run("echo one; exit 3") == Finished(3, "one\n")
            assert talk.run("echo two") == Finished(0, "two\n")
        assert talk.run("echo after") == Finished(0, "after\n"), "the operator has left"


def test_a_login_while_an_operator_is_attached() -> None:
    with getty() as node, program(OPERATOR, node.path), console(node) as talk:
        assert talk.run("echo in") == Finished(0, "in\n")


def test_a_watcher_sees_what_a_command_writes() -> None:
    with shell("dash") as node:
        watcher = SharedLine(node.path, Role.WATCHER)
        try:
            with console(node) as talk:
                assert talk.run("echo seen; echo $((6*7))") == Finished(0, "seen\n42\n")
            seen = b""
            while b"42" not in seen:
                more = came(watcher, 1)
                assert more, seen
                seen += more
        finally:
            watcher.close()


def test_commands_of_two_programs_do_not_mix() -> None:
    with shell("bash") as node:
        outcomes: dict[int, list[Finished]] = {1: [], 2: []}

        def work(number: int) -> None:
            with console(node) as talk:
                outcomes[number] = [talk.run(f"echo {number}.{i}; exit {number}") for i in range(3)]

        both = [threading.Thread(target=work, args=(number,)) for number in outcomes]
        for thread in both:
            thread.start()
        for thread in both:
            thread.join(60)
        for number, found in outcomes.items():
            assert found == [Finished(number, f"{number}.{i}\n") for i in range(3)]
