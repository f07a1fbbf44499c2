"""An empty list, an empty text or an empty variable of the shell names no node: never all of them."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from rpi_clusterhat import NodeNameError

if TYPE_CHECKING:
    from tests.lab import Lab

NOTHING: dict[str, tuple[Any, ...]] = {
    "no argument": (),
    "an empty text": ("",),
    "an empty list": ([],),
    "a list of nothing": ([[], ()],),
    "a comma": (",",),
    "an iterator that ends at once": (iter(()),),
    "None": (None,),
}
OPERATIONS = ("on", "off", "cycle", "select", "powered")


@pytest.mark.parametrize("nothing", NOTHING.values(), ids=NOTHING)
@pytest.mark.parametrize("operation", OPERATIONS)
def test_nothing_named_is_an_error_and_switches_nothing(
    lab: Lab, operation: str, nothing: tuple[Any, ...]
) -> None:
    expander = lab.expander(nodes=0b0101)

    async def ask(hat: Any) -> None:
        asked = getattr(hat, operation)(*nothing)
        if operation == "powered":
            asked = asked.__aenter__()
        await asked

    async def in_a_task() -> None:
        async with lab.async_hat(expander) as hat:
            with pytest.raises(NodeNameError):
                await ask(hat)

    def ask_now(hat: Any) -> None:
        asked = getattr(hat, operation)(*nothing)
        if operation == "powered":
            asked.__enter__()

    with lab.hat(expander) as hat, pytest.raises(NodeNameError):
        ask_now(hat)
    asyncio.run(in_a_task())
    assert (expander.levels & 0b1111, expander.log) == (0b0101, [])


@pytest.mark.slow
@pytest.mark.parametrize("words", ["off $EMPTY", 'off "$EMPTY"', "on $EMPTY", "cycle $EMPTY"])
def test_an_empty_variable_of_the_shell_names_nothing(tmp_path: Any, words: str) -> None:
    def command(line: str) -> subprocess.CompletedProcess[str]:
        run = f"EMPTY=; '{sys.executable}' -m rpi_clusterhat --backend sim -o 'state={tmp_path}/world' {line}"
        clean = {key: value for key, value in os.environ.items() if not key.startswith("RPI_CLUSTERHAT_")}
        return subprocess.run(["sh", "-c", run], capture_output=True, text=True, check=False, env=clean)

    assert command("on p1").returncode == 0
    done = command(words)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.count("\n") == 1
    assert '"p1": {"powered": true' in " ".join(command("status --json").stdout.split())
