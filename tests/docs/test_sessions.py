"""How a page is read, and what a terminal does with what is typed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from .sessions import Command, Save, Setting, Skipped, agrees, steps
from .terminal import Terminal

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


def test_three_dots_stand_for_lines() -> None:
    assert agrees("a\n...\nd\n", "a\nb\nc\nd\n")
    assert agrees("a\n...\n", "a\n")
    assert not agrees("a\n...\nd\n", "a\nb\n")
    assert not agrees("a.c\n", "abc\n")


def test_an_ellipsis_stands_for_what_varies_in_a_line() -> None:
    assert agrees("4 passed in …s\n", "4 passed in 0.01s\n")
    assert not agrees("4 passed in …s\n", "4 passed in 0.01s\nand more\n")
    assert not agrees("4 passed in …s\n", "3 passed in 0.01s\n")


def test_what_a_page_has_its_reader_do() -> None:
    page = """\
Save this as `first.py`:

<!-- from examples/first.py -->

```python
print("no command")
```

<!-- end -->

```console
$ python first.py
no command
$ cat <<END
> more
> END
more
```

1. In a list:

    ```sh
    # a comment
    one \\
      two   # and a comment
    three
    ```

<!-- typed with NAME=a value -->

<!-- not typed: needs root -->
```sh
sudo four
five
```

```python
shown_only()
```
"""
    assert steps(page) == [
        Save("first.py", 'print("no command")\n'),
        Command("python first.py\n", "no command\n"),
        Command("cat <<END\nmore\nEND\n", "more\n"),
        Command("one \\\n  two   # and a comment\n"),
        Command("three\n"),
        Setting("NAME", "a value"),
        Skipped("sudo four", "needs root"),
    ]


def test_a_console_block_begins_with_a_command() -> None:
    with pytest.raises(ValueError, match="begins with a command"):
        steps("```console\nwhat comes\n```\n")


@pytest.fixture
def terminal(tmp_path: Path) -> Iterator[Terminal]:
    with Terminal(tmp_path, {"PATH": "/usr/bin:/bin", "LANG": "C.UTF-8"}) as terminal:
        yield terminal


@pytest.mark.slow
class TestTerminal:
    def test_state_is_carried_on(self, terminal: Terminal) -> None:
        assert terminal.type("mkdir there; cd there; export A=1; f() { echo $A; }\n") == (0, "")
        assert terminal.type("f; basename $PWD\n") == (0, "1\nthere\n")
        assert terminal.type("(exit 3)\n") == (3, "")
        assert terminal.type("echo $?\n") == (0, "3\n")

    def test_nothing_comes_from_the_tests_own_environment(self, terminal: Terminal) -> None:
        _, came = terminal.type("env | cut -d= -f1 | sort | tr '\\n' ' '\n")
        assert set(came.split()) == {"PATH", "LANG", "PS1", "PS2", "PROMPT_COMMAND", "PWD", "SHLVL", "_"}

    def test_it_shows_what_a_person_sees(self, terminal: Terminal) -> None:
        assert terminal.type("printf 'wait 2 s\\r\\033[Kdone\\nno end'; echo two >&2; test -t 1\n") == (
            0,
            "done\nno endtwo\n",
        )
        assert terminal.type("printf 'no end'\n") == (0, "no end\n")

    def test_ctrl_c_is_typed_when_what_is_above_it_has_been_shown(self, terminal: Terminal) -> None:
        status, came = terminal.type("echo on; sleep 60; echo off\n", "on\n^C\n")
        assert (status, came.strip()) == (130, "on")

    def test_what_goes_on_in_the_background_is_waited_for(self, terminal: Terminal) -> None:
        assert terminal.type("(sleep 0.3; echo up; sleep 60) &\n", "up\n") == (0, "up\n")
        assert len(terminal.left(0)) >= 1
        assert terminal.type("kill %1; wait\n")[0] == 0
        assert terminal.left(5) == []

    def test_a_command_that_does_not_end_is_told(self, terminal: Terminal) -> None:
        with pytest.raises(AssertionError, match=r"it goes on, and has shown:\nso far"):
            terminal.type("echo so far; sleep 60\n", timeout=0.5)
        terminal.type("", "so far\n^C\n")

    def test_what_outlives_the_terminal_is_told(self, tmp_path: Path) -> None:
        terminal = Terminal(tmp_path, {"PATH": "/usr/bin:/bin"}, patience=0.2)
        terminal.type("trap '' HUP; sleep 60 & disown; sleep 0.1; trap - HUP\n")
        with pytest.raises(AssertionError, match="outlive"):
            terminal.close()
        assert terminal.left(5) == []
