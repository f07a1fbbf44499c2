"""The example of the documentation, on a real sshd."""

from __future__ import annotations

import functools
import os
import runpy
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import rpi_clusterhat
from rpi_clusterhat import Ssh

if TYPE_CHECKING:
    from tests.nodes.ssh.sshd import Sshd

EXAMPLE = Path(__file__).resolve().parents[3] / "examples/ssh_nodes.py"


@pytest.mark.slow
def test_the_example(
    sshd: Sshd, keys: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    here = functools.partial(
        Ssh, port=sshd.port, identity=str(sshd.identity), config="none", folder=str(keys)
    )
    monkeypatch.setattr(rpi_clusterhat, "Ssh", here)
    monkeypatch.setattr(sys, "argv", [str(EXAMPLE), "127.0.0.1", "no-such-host.invalid"])
    runpy.run_path(str(EXAMPLE), run_name="__main__")
    kernel = os.uname()
    ours, other = capsys.readouterr().out.splitlines()
    assert ours == f"127.0.0.1: {kernel.sysname} {kernel.release}"
    assert other.startswith("no-such-host.invalid: no-such-host was not reached by ssh: Could not resolve")
