"""One process runs the nodes of a state file, and others switch them."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from rpi_clusterhat import Cluster
from rpi_clusterhat.errors import BackendUnavailableError
from rpi_clusterhat.hardware.backend import SupportsConsoles
from tests.rack.terminal import until
from tests.rack.test_power import processes

if TYPE_CHECKING:
    from collections.abc import Generator
    from pathlib import Path

    from rpi_clusterhat_sim.rack.built import Built

pytestmark = [pytest.mark.rack, pytest.mark.slow]


@pytest.fixture
def state(tmp_path: Path) -> str:
    return str(tmp_path / "board state")


def command(built: Built, state: str, *more: str) -> list[str]:
    return [sys.executable, "-m", "rpi_clusterhat_sim.rack", "--rack", built.place, *more, state]


@pytest.fixture
def supervisor(built: Built, state: str) -> Generator[subprocess.Popen[str]]:
    with subprocess.Popen(
        command(built, state), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as started:
        try:
            assert started.stdout is not None
            assert started.stdout.readline() == f"runs p1 to p4 of {state}\n"
            yield started
        finally:
            started.kill()
            assert until(lambda: not processes(f"{state}.rack"), 10)


def run(state: str, *words: str) -> subprocess.CompletedProcess[str]:
    options = ("--backend", "sim", "-o", f"state={state}", "-o", "nodes=rack", "--board", "2.3")
    return subprocess.run(
        [sys.executable, "-m", "rpi_clusterhat", *words, *options],
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.usefixtures("supervisor")
def test_a_command_that_ends_leaves_the_node_on(state: str) -> None:
    console = f"{state}.rack/dev/ttypi1"
    ran = run(state, "on", "p1")
    assert ran.returncode == 0, ran.stderr
    assert until(lambda: os.path.exists(console), 10)
    with Cluster.open(board="2.3", backend="sim", options={"state": state, "nodes": "rack"}) as hat:
        (bank,) = hat.banks
        assert isinstance(bank.backend, SupportsConsoles)
        assert console in bank.backend.consoles().values()
        assert len(hat.addresses) == 4
        hat.off("p1")
        assert not os.path.lexists(console), "nothing is left when the call returns, whoever ran it"


def test_its_end_ends_the_nodes(built: Built, state: str, supervisor: subprocess.Popen[str]) -> None:
    run(state, "on", "p1")
    assert until(lambda: os.path.exists(f"{state}.rack/dev/ttypi1"), 10)
    second = subprocess.run(command(built, state), capture_output=True, text=True, check=False)
    assert second.returncode == 1
    assert "another process runs the nodes" in second.stderr
    supervisor.send_signal(signal.SIGTERM)
    assert supervisor.wait(10) == 0
    assert not processes(f"{state}.rack")
    ran = run(state, "status")
    assert ran.returncode != 0
    assert "no process runs the nodes" in ran.stderr
    assert "Traceback" not in ran.stderr


def test_without_one_nobody_can_switch(state: str) -> None:
    with pytest.raises(BackendUnavailableError, match=re.escape("rpi_clusterhat_sim.rack '")):
        Cluster.open(board="2.3", backend="sim", options={"state": state, "nodes": "rack"})
