"""What the proxy tells systemd and takes over from it, on real sockets; and the units."""

from __future__ import annotations

import fcntl
import json
import os
import re
import shlex
import shutil
import socket
import subprocess
import sys
import time
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from clusterhat_proxy import systemd
from clusterhat_proxy.options import Options
from rpi_clusterhat.settings import DEFAULT_LOCK_DIR

if TYPE_CHECKING:
    from collections.abc import Generator

FOLDER = Path(__file__).resolve().parents[2] / "examples/proxy"
SERVICE = "rpi-clusterhat-proxy.service"
SOCKET = "rpi-clusterhat-proxy.socket"


# Notifications ---------------------------------------------------------------------------------------------


@pytest.fixture(params=["path", "abstract"])
def manager(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Generator[socket.socket]:
    name = str(tmp_path / "notify") if request.param == "path" else f"\0rpi-clusterhat-test-{os.getpid()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiver:
        receiver.bind(name)
        receiver.settimeout(5)
        monkeypatch.setenv("NOTIFY_SOCKET", name.replace("\0", "@"))
        yield receiver


def test_the_manager_is_told(manager: socket.socket) -> None:
    systemd.ready()
    systemd.status("2 nodes on\n  1 waiting\0")
    systemd.alive()
    systemd.stopping()
    systemd.notify("A=1\nB=2")
    got = [manager.recv(4096) for _ in range(5)]
    assert got == [b"READY=1", b"STATUS=2 nodes on 1 waiting\0", b"WATCHDOG=1", b"STOPPING=1", b"A=1\nB=2"]


def test_a_reload_says_when_it_began(manager: socket.socket) -> None:
    before = time.monotonic()
    systemd.reloading()
    after = time.monotonic()
    said = re.fullmatch(rb"RELOADING=1\nMONOTONIC_USEC=(\d+)", manager.recv(4096))
    assert said
    assert before - 1e-5 <= int(said[1]) / 1e6 <= after


@pytest.mark.parametrize(
    "address", [None, "", "/nowhere/notify", "@nobody-listens-here", "/" + "x" * 200, "vsock:2:1", "relative"]
)
def test_nobody_to_tell_is_no_error(address: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    if address is None:
        monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    else:
        monkeypatch.setenv("NOTIFY_SOCKET", address)
    systemd.ready()


def test_a_manager_that_does_not_read_is_not_waited_for(
    manager: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(systemd, "_SEND_MOST", 0.01)
    sent = 0
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as other, suppress(BlockingIOError):
        other.setblocking(False)
        other.connect(manager.getsockname())
        while True:
            other.send(b"full")
            sent += 1
    systemd.ready()
    assert [manager.recv(4096) for _ in range(sent)] == [b"full"] * sent
    manager.setblocking(False)
    with pytest.raises(BlockingIOError):
        manager.recv(4096)


@pytest.mark.parametrize(
    ("microseconds", "pid", "expected"),
    [
        ("30000000", "own", 15.0),
        ("30000000", None, 15.0),
        ("30000000", "1", None),
        ("0", "own", None),
        ("-5", "own", None),
        ("soon", "own", None),
        (None, "own", None),
    ],
)
def test_the_watchdog_is_told_twice_in_its_time(
    microseconds: str | None, pid: str | None, expected: float | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in (("WATCHDOG_USEC", microseconds), ("WATCHDOG_PID", pid)):
        if value is None:
            monkeypatch.delenv(name, raising=False)
        else:
            monkeypatch.setenv(name, value.replace("own", str(os.getpid())))
    assert systemd.watchdog_interval() == expected


# Sockets ---------------------------------------------------------------------------------------------------

# As systemd does: descriptors from 3 on, and the variables with the number of the process that it becomes.
STARTER = """
import os, sys
*descriptors, code = sys.argv[1:]
for i, fd in enumerate(descriptors):
    os.dup2(int(fd), 3 + i)
if os.environ["LISTEN_PID"] == "own":
    os.environ["LISTEN_PID"] = str(os.getpid())
os.execv(sys.executable, [sys.executable, "-W", "error", "-c", code])
"""
CHILD = """
import json, os
from clusterhat_proxy.systemd import listen_sockets
try:
    found = listen_sockets()
except OSError as error:
    print(json.dumps({"error": error.strerror}))
    raise SystemExit
print(json.dumps({
    "names": {name: [one.getsockname()[1] for one in sockets] for name, sockets in found.items()},
    "inherited": [one.get_inheritable() for sockets in found.values() for one in sockets],
    "left": [name for name in os.environ if name.startswith("LISTEN_")],
    "again": len(listen_sockets()),
}), flush=True)
for sockets in found.values():
    for one in sockets:
        connection, _ = one.accept()
        connection.sendall(b"taken over")
        connection.close()
        one.close()
"""


def child(sockets: list[socket.socket], names: str | None, pid: str = "own", count: int | None = None) -> Any:
    """What a process that is started with these sockets says of them; its connections are tried."""
    env = {**os.environ, "LISTEN_PID": pid, "LISTEN_FDS": str(len(sockets) if count is None else count)}
    if names is not None:
        env["LISTEN_FDNAMES"] = names
    with ExitStack() as stack:
        descriptors = [fcntl.fcntl(one, fcntl.F_DUPFD, 20) for one in sockets]  # not where they have to go
        for fd in descriptors:
            stack.callback(os.close, fd)
        process = stack.enter_context(
            subprocess.Popen(
                [sys.executable, "-c", STARTER, *map(str, descriptors), CHILD],
                env=env,
                pass_fds=descriptors,
                stdout=subprocess.PIPE,
            )
        )
        stack.callback(process.kill)
        assert process.stdout
        said = json.loads(process.stdout.readline())
        for port in [port for ports in said.get("names", {}).values() for port in ports]:
            with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
                connection.settimeout(10)
                assert connection.recv(100) == b"taken over"
        assert process.wait(10) == 0
        return said


@pytest.fixture
def listening() -> Generator[list[socket.socket]]:
    with ExitStack() as stack:
        yield [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(3)]


@pytest.mark.parametrize(
    ("names", "proxy", "admin"),
    [
        ("proxy:admin:proxy", [0, 2], [1]),
        ("rpi-clusterhat-proxy.socket:unknown:admin", [0, 1], [2]),
        ("admin", [1, 2], [0]),
        (None, [0, 1, 2], []),
    ],
)
def test_sockets_are_taken_over_by_name(
    names: str | None, proxy: list[int], admin: list[int], listening: list[socket.socket]
) -> None:
    ports = [one.getsockname()[1] for one in listening]
    said = child(listening, names)
    expected = {"proxy": [ports[i] for i in proxy], "admin": [ports[i] for i in admin]}
    assert said["names"] == {name: found for name, found in expected.items() if found}
    assert said["inherited"] == [False] * 3
    assert said["left"] == []
    assert said["again"] == 0


def test_sockets_of_another_process_are_left_alone(listening: list[socket.socket]) -> None:
    assert child(listening, "proxy:proxy:proxy", pid="1") == {
        "names": {},
        "inherited": [],
        "left": [],
        "again": 0,
    }


@pytest.mark.parametrize("kind", ["datagram", "connection", "missing"])
def test_what_does_not_listen_is_an_error(kind: str, listening: list[socket.socket]) -> None:
    with ExitStack() as stack:
        other = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        if kind == "connection":
            other = stack.enter_context(socket.create_connection(listening[0].getsockname()))
        sockets = [listening[0]] if kind == "missing" else [listening[0], other]
        said = child(sockets, "proxy:proxy", count=2)
    if kind == "missing":
        assert said["error"] == "Bad file descriptor"
    else:
        assert said["error"] == "file descriptor 4 from systemd is no listening stream socket"


def test_without_systemd_there_are_no_sockets(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"):
        monkeypatch.delenv(name, raising=False)
    assert systemd.listen_sockets() == {}


# The units -------------------------------------------------------------------------------------------------


def unit(name: str) -> dict[str, list[str]]:
    said: dict[str, list[str]] = {}
    for key, value in re.findall(r"^(\w+)=(.*)$", (FOLDER / name).read_text(encoding="utf-8"), re.MULTILINE):
        said.setdefault(key, []).append(value)
    return said


def test_the_service_fits_the_proxys_defaults() -> None:
    service = unit(SERVICE)
    options = Options()
    assert int(service["TimeoutStopSec"][0]) > options.drain_timeout
    assert int(service["LimitNOFILE"][0]) > 2 * options.max_connections
    assert service["Type"] == ["notify"]
    program, flag, file = shlex.split(service["ExecStart"][0])
    assert (Path(program).name, flag, Path(file).suffix) == ("clusterhat-proxy", "--config", ".toml")
    assert service["ReadWritePaths"] == [DEFAULT_LOCK_DIR]
    assert "gpio" in service["SupplementaryGroups"][0].split()  # the group of that folder
    assert unit(SOCKET)["FileDescriptorName"] == ["proxy"]
    assert SOCKET in service["Requires"]


@pytest.fixture
def units(tmp_path: Path) -> list[str]:
    """With a program that is there."""
    for name in (SERVICE, SOCKET):
        text = (FOLDER / name).read_text(encoding="utf-8")
        (tmp_path / name).write_text(
            text.replace("/opt/rpi-clusterhat/bin/clusterhat-proxy", sys.executable), encoding="utf-8"
        )
    return [str(tmp_path / name) for name in (SERVICE, SOCKET)]


def analyze(*arguments: str) -> str:
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd-analyze is not installed")
    done = subprocess.run(
        ["systemd-analyze", *arguments], capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stderr


def test_systemd_understands_the_units(units: list[str]) -> None:
    said = analyze("verify", *units)  # of units of this machine too
    assert "rpi-clusterhat-proxy" not in said


def test_the_service_may_do_little(units: list[str]) -> None:
    """Exposure from 0 to 100: the device access, the network and its address families are what is left."""
    analyze("security", "--offline=yes", "--no-pager", "--threshold=25", units[0])
