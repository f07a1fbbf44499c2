"""The command ``run`` on nodes that are a real sshd."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rpi_clusterhat._names import parse_nodes
from rpi_clusterhat.cli.run import folded, groups
from rpi_clusterhat.errors import ClusterHatError, NodeAccessError
from rpi_clusterhat.nodes.finished import Finished
from tests.nodes.servers import LONG, closed_port
from tests.nodes.ssh.sshd import USER, Sshd, clients, eventually

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.cli.conftest import Command

KNOWN = [f"p{n}" for n in range(1, 100)]


@given(st.sets(st.sampled_from(KNOWN), min_size=1))
def test_folded_names_are_the_same_nodes(names: set[str]) -> None:
    ordered = sorted(names, key=KNOWN.index)
    assert parse_nodes([folded(ordered)], KNOWN) == ordered


def test_folded_names() -> None:
    assert folded(["p3"]) == "p3"
    assert folded(["p1", "p2", "p3", "p7"]) == "p[1-3,7]"
    assert folded(["p3", "p1"]) == "p[1,3]"


def test_equal_outcomes_are_one() -> None:
    error = NodeAccessError("no answer")
    same, other = Finished(0, "a\n"), Finished(1, "a\n")
    outcomes: dict[str, Finished | ClusterHatError] = {
        "p1": same,
        "p2": other,
        "p3": Finished(0, "a\n"),
        "p4": error,
    }
    assert groups(outcomes) == [(same, ["p1", "p3"]), (other, ["p2"]), (error, ["p4"])]


@pytest.fixture(scope="module")
def sshd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sshd]:
    with Sshd(tmp_path_factory.mktemp("sshd")) as server:
        yield server


@pytest.fixture
def runtime(sshd: Sshd, settings: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Path]:
    """Where sockets lie. The settings reach four nodes, which are one sshd; the fourth is not there."""
    with closed_port() as port, tempfile.TemporaryDirectory(prefix="ct", dir="/tmp") as folder:
        settings.write_text(
            f'backend = "sim"\nboard = "2.3"\n[node]\nhost = "127.0.0.1"\nuser = "{USER}"\n'
            f'ssh_port = {sshd.port}\nssh_identity = "{sshd.identity}"\nssh_config = "none"\n'
            f"[node.p4]\nssh_port = {port}\n"
        )
        monkeypatch.setenv("XDG_RUNTIME_DIR", folder)
        monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
        yield Path(folder)
        assert list(Path(folder).iterdir()) == []
        eventually(lambda: not clients(Path(folder)))


@pytest.mark.slow
@pytest.mark.usefixtures("runtime")
def test_output_and_exit_code(command: Command) -> None:
    done = command("run", "p[1-2]", "--", "printf", "%s\\n", "a b", "$HOME", "", "--", "-h")
    assert done.code == 0
    assert sorted(done.out.splitlines()) == sorted(
        f"{name}: {line}" for name in ("p1", "p2") for line in ("a b", "$HOME", "", "--", "-h")
    )
    assert command("run", "p1", "p3", "--fold", "--", "echo", "on") == (0, "p[1,3]: on\n", "")
    assert command("run", "p1", "--", "true") == (0, "", "")
    code, out, err = command("run", "p1", "--", "sh", "-c", "echo bad; exit 7")
    assert (code, out, err) == (7, "p1: bad\n", "rpi-clusterhat: p1: exit status 7\n")


@pytest.mark.slow
@pytest.mark.usefixtures("runtime")
def test_a_node_that_is_not_there_does_not_hold_up_the_others(command: Command) -> None:
    code, out, err = command("run", "all", "--fold", "--", "echo", "on")
    assert (code, out) == (255, "p[1-3]: on\n")
    assert err.startswith("rpi-clusterhat: p4 was not reached by ssh: connect to host 127.0.0.1 port")


@pytest.mark.slow
@pytest.mark.usefixtures("runtime")
def test_json(command: Command) -> None:
    code, out, err = command("run", "p1,p4", "--json", "--", "sh", "-c", "echo a; exit 3")
    assert (code, err) == (255, "")
    [line] = out.splitlines()
    rows = json.loads(line)
    assert rows["p1"] == {"status": 3, "output": "a\n", "is_complete": True}
    assert rows["p4"]["error"].startswith("p4 was not reached by ssh")


@pytest.mark.slow
@pytest.mark.usefixtures("runtime")
def test_nodes_are_asked_side_by_side_and_given_up_in_time(command: Command, tmp_path: Path) -> None:
    # Each waits for all the others.
    script = 'touch "$1/$$"; until [ "$(ls "$1" | wc -l)" = 3 ]; do sleep 0.05; done'
    (tmp_path / "met").mkdir()
    assert command("run", "p[1-3]", "--", "sh", "-c", script, "sh", str(tmp_path / "met")).code == 0
    hang = ["sh", "-c", f'touch "$1/$$"; exec sleep {LONG}', "sh", str(tmp_path / "hung")]
    (tmp_path / "hung").mkdir()
    code, out, err = command("run", "p[1-2]", "--timeout", "4", "--", *hang)
    assert (code, out) == (255, "")
    assert err.count("did not end within") == 2
    for pid in os.listdir(tmp_path / "hung"):
        os.kill(int(pid), 9)


@pytest.mark.slow
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_all_of_them(number: int, code: int, runtime: Path, tmp_path: Path) -> None:
    script = f'touch "$1/$$"; exec sleep {LONG}'
    (tmp_path / "met").mkdir()
    words = ["run", "p[1-3]", "--", "sh", "-c", script, "sh", str(tmp_path / "met")]
    process = subprocess.Popen(
        [sys.executable, "-m", "rpi_clusterhat", *words], stderr=subprocess.PIPE, text=True
    )
    eventually(lambda: len(os.listdir(tmp_path / "met")) == 3)
    process.send_signal(number)
    _, err = process.communicate(timeout=LONG)
    assert (process.returncode, err) == (
        code, "rpi-clusterhat: interrupted: the command may run on where it was begun\n",
    )  # fmt: skip
    for pid in os.listdir(tmp_path / "met"):
        os.kill(int(pid), 9)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["run", "p1"], "run needs a command after --: rpi-clusterhat run p1 -- uptime"),
        (["run", "p1", "--"], "run needs a command after --: rpi-clusterhat run p1 -- uptime"),
        (["run", "p1", "uptime"], "run needs a command after --: rpi-clusterhat run p1 -- uptime"),
        (["run", "--", "uptime"], "no node is named"),
        (["run", "p9", "--", "uptime"], "'p9' names no node"),
        (["run", "p1", "--by", "air", "--", "uptime"], "invalid choice: 'air'"),
        (["run", "p1", "--timeout", "x", "--", "uptime"], "invalid value 'x'"),
        (["on", "--", "run", "p1"], "'run' names no node"),
    ],
)
def test_usage(words: list[str], says: str, command: Command) -> None:
    code, out, err = command("--backend", "sim", *words)
    assert (code, out) == (2, "")
    assert says in err


def test_help_after_the_dashes_is_the_commands(command: Command) -> None:
    assert command("run", "p1", "--help", "--", "ls").out.startswith("usage: rpi-clusterhat [OPTIONS] run")
