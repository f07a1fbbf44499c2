"""The library switches computers, which are behind the lines of a simulated board."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import urllib.request
from contextlib import closing
from typing import TYPE_CHECKING, Any

import pytest

from rpi_clusterhat import Cluster, HttpProbe, TcpProbe, wait_until_up
from rpi_clusterhat.errors import BackendUnavailableError
from rpi_clusterhat.hardware.backend import SupportsConsoles, SupportsSsh
from tests.rack.terminal import BOOT, Terminal, until

if TYPE_CHECKING:
    from collections.abc import Generator
    from pathlib import Path

    from rpi_clusterhat_sim.rack.built import Built

pytestmark = [pytest.mark.rack, pytest.mark.slow]


def opened(place: str, **options: Any) -> Cluster:
    options = {"nodes": "rack", "rack": place, **options}
    return Cluster.open(board="2.3", backend="sim", options=options)


@pytest.fixture(scope="module")
def hat(built: Built) -> Generator[Cluster]:
    """Its nodes p1 and p2 are up."""
    with opened(built.place) as hat:
        hat.on(["p1", "p2"])
        for name in ("p1", "p2"):
            wait_until_up(HttpProbe(*hat.addresses[name]), timeout=BOOT)
        yield hat


def consoles(hat: Cluster) -> dict[str, str]:
    (bank,) = hat.banks
    assert isinstance(bank.backend, SupportsConsoles)
    return dict(zip(bank.names, bank.backend.consoles().values(), strict=True))


def ssh(hat: Cluster, built: Built, known: Path, node: str, user: str, *command: str) -> str:
    (bank,) = hat.banks
    assert isinstance(bank.backend, SupportsSsh)
    host, port = list(bank.backend.ssh_addresses().values())[bank.names.index(node)]
    options = ("BatchMode=yes", "StrictHostKeyChecking=accept-new", f"UserKnownHostsFile={known}")
    done = subprocess.run(
        [
            *("ssh", "-F", "none", "-i", built.key, "-p", str(port)),
            *(word for option in options for word in ("-o", option)),
            f"{user}@{host}",
            *command,
        ],
        capture_output=True,
        text=True,
        timeout=BOOT,
        check=True,
    )
    return done.stdout


def refused(address: tuple[str, int]) -> bool:
    with closing(socket.socket()) as client:
        return client.connect_ex(address) != 0


@pytest.mark.parametrize("node", ["p1", "p2"])
def test_each_answers_the_web_with_its_name(hat: Cluster, node: str) -> None:
    host, port = hat.addresses[node]
    assert host == "127.0.0.1"
    with urllib.request.urlopen(f"http://{host}:{port}/hello") as answer:
        assert json.load(answer)["node"] == node


@pytest.mark.parametrize("user", ["root", "pi"])
def test_each_lets_people_in_by_ssh(hat: Cluster, built: Built, tmp_path: Path, user: str) -> None:
    known = tmp_path / "known_hosts"
    said = {
        node: ssh(hat, built, known, node, user, "hostname; id -un; ip -brief -4 address show vec0; df -h /")
        for node in ("p1", "p2")
    }
    for number, node in enumerate(said, 1):
        name, who, network, *_ = said[node].splitlines()
        assert name == node
        assert who == user
        assert f"10.77.0.{number}/24" in network
    first, second = known.read_text().splitlines()
    assert first.split()[1:] != second.split()[1:], "each has a host key of its own"


def test_they_reach_each_other(hat: Cluster, built: Built, tmp_path: Path) -> None:
    assert "1 received" in ssh(hat, built, tmp_path / "known", "p1", "root", "ping -c 1 -W 5 p2")


def test_a_user_may_halt_it(hat: Cluster, built: Built, tmp_path: Path) -> None:
    allowed = ssh(hat, built, tmp_path / "known", "p1", "pi", "sudo -n -l")
    assert "/usr/sbin/poweroff" in allowed


def test_a_service_can_be_confined(hat: Cluster, built: Built, tmp_path: Path) -> None:
    confined = ("DynamicUser=yes", "ProtectSystem=strict", "PrivateTmp=yes", "MemoryMax=64M", "TasksMax=32")
    words = " ".join(f"-p {word}" for word in (*confined, "SystemCallFilter=@system-service"))
    command = f"systemd-run --quiet --pipe --wait {words} sh -c 'touch /etc/x 2>/dev/null || echo kept out'"
    assert ssh(hat, built, tmp_path / "known", "p2", "root", command) == "kept out\n"


def test_a_person_logs_in_on_the_console(hat: Cluster) -> None:
    assert os.path.basename(consoles(hat)["p2"]) == "ttypi2"
    with Terminal(consoles(hat)["p2"]) as terminal:
        terminal.log_in("pi")
        terminal.say("hostname")
        terminal.wait_for("p2\r\n")
        terminal.say("exit")
        terminal.wait_for("p2 login: ")


def test_the_port_is_open_while_the_server_listens(hat: Cluster, built: Built, tmp_path: Path) -> None:
    probe = TcpProbe(*hat.addresses["p2"])
    known = tmp_path / "known"
    ssh(hat, built, known, "p2", "root", "systemctl stop hello")
    assert until(lambda: refused(hat.addresses["p2"]), 10)
    ssh(hat, built, known, "p2", "root", "systemctl start hello")
    wait_until_up(probe, timeout=BOOT, interval=0.1)


def test_nothing_answers_when_a_call_that_cuts_returns(hat: Cluster) -> None:
    """Its own node, as the others are shared."""
    console = consoles(hat)["p3"]
    assert not os.path.lexists(console)
    assert refused(hat.addresses["p3"])
    hat.on("p3")
    assert until(lambda: os.path.exists(console), 5)
    wait_until_up(TcpProbe(*hat.addresses["p3"]), timeout=BOOT, interval=0.1)
    with socket.create_connection(hat.addresses["p3"]) as client:
        hat.off("p3")
        assert refused(hat.addresses["p3"])
        assert not os.path.lexists(console)
        with pytest.raises(ConnectionResetError):
            client.recv(100)
    assert not refused(hat.addresses["p1"])


def test_no_rack_is_said_with_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(BackendUnavailableError, match="run 'make rack'"):
        opened(str(tmp_path))
