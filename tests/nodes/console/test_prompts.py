"""Commands in shells whose prompt looks like anything."""

from __future__ import annotations

import pytest

from rpi_clusterhat.nodes.finished import Finished

from .nodes import console, shell

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("name", ["bash", "dash", "busybox", "zsh"])
@pytest.mark.parametrize(
    "prompt",
    [
        "\x1b[01;32mpi@p1\x1b[00m:\x1b[01;34m~\x1b[00m$ ",
        "",
        "ready ",
        "login: ",
        "two\nlines> ",
        "\x1b]0;title\x07~\x1b[K ",
        "E0123456789ab:0Z ",
    ],
)
def test_any_prompt(name: str, prompt: str) -> None:
    with shell(name, {"PS1": prompt, "PROMPT": prompt}) as node, console(node) as talk:
        assert talk.run("echo hi") == Finished(0, "hi\n")
