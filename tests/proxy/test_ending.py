"""How the proxy ends, what it says when it cannot begin, and what it tells systemd on the way."""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import time
from contextlib import closing, contextmanager, suppress
from typing import TYPE_CHECKING

import pytest

from rpi_clusterhat_sim.state_file import StateFile
from tests.peers.bodies import pattern
from tests.proxy.running import PATIENCE, Proxy, everything

if TYPE_CHECKING:
    from collections.abc import Generator
    from pathlib import Path

pytestmark = pytest.mark.slow

HELD = ("--cold", "hold", "--balance", "first")


def stop(proxy: Proxy, number: int = signal.SIGTERM) -> float:
    """Asks it to end, and answers when that was."""
    proxy.process.send_signal(number)
    return time.monotonic()


def ended(proxy: Proxy, code: int = 0) -> float:
    """Waits for the end, which comes before what it may wait for is over, and answers when that was."""
    assert proxy.process.wait(PATIENCE) == code
    return time.monotonic()


def until_draining(proxy: Proxy) -> None:
    proxy.until(lambda status: status["proxy"]["draining"])


@contextmanager
def client(proxy: Proxy) -> Generator[http.client.HTTPConnection]:
    with closing(http.client.HTTPConnection("127.0.0.1", proxy.port, timeout=PATIENCE)) as connection:
        yield connection


def readiness(proxy: Proxy) -> int:
    with closing(
        http.client.HTTPConnection("127.0.0.1", proxy.ports["status"], timeout=PATIENCE)
    ) as connection:
        connection.request("GET", "/readyz")
        with connection.getresponse() as answer:
            answer.read()
            return answer.status


def tunnel(connection: socket.socket) -> None:
    connection.sendall(b"GET / HTTP/1.1\r\nHost: c\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n")
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        head += connection.recv(1)
    assert head.startswith(b"HTTP/1.1 101 ")


def is_open(connection: socket.socket) -> bool:
    connection.setblocking(False)
    try:
        return bool(connection.recv(1, socket.MSG_PEEK))
    except BlockingIOError:
        return True
    except ConnectionResetError:
        return False
    finally:
        connection.settimeout(PATIENCE)


# What is under way ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_what_is_in_flight_is_finished(number: int) -> None:
    with Proxy(*HELD) as proxy, client(proxy) as download, proxy.connect() as idle:
        idle.sendall(b"GET /?size=5 HTTP/1.1\r\nHost: c\r\n\r\n")
        got = b""
        while not got.endswith(b"\r\n\r\n\0\1\2\3\4"):
            got += idle.recv(1000)
        assert readiness(proxy) == 200
        download.request("GET", "/?chunks=11&interval=0.1&size=1000")
        with download.getresponse() as answer:
            assert answer.read(1000) == pattern(1000)
            stop(proxy, number)
            until_draining(proxy)
            assert readiness(proxy) == 503
            assert idle.recv(1) == b""  # an end, no reset
            with pytest.raises(ConnectionRefusedError), proxy.connect():
                pass
            assert answer.read() == 10 * pattern(1000)
        ended(proxy)


def test_an_answer_that_is_on_its_way_arrives() -> None:
    """All of it was written, and the client takes its time to read."""
    with Proxy(*HELD) as proxy, socket.socket() as slow:
        slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        slow.settimeout(PATIENCE)
        slow.connect(("127.0.0.1", proxy.port))
        slow.sendall(b"GET /?size=500000 HTTP/1.1\r\nHost: c\r\n\r\n")
        assert slow.recv(15) == b"HTTP/1.1 200 OK"
        proxy.until(lambda status: not status["proxy"]["in_flight"])
        stop(proxy)
        with suppress(OSError):  # it may be over: where all fits into the system's buffers
            until_draining(proxy)
        assert everything(slow).endswith(pattern(500_000))
        ended(proxy)


def test_an_upload_is_finished() -> None:
    with Proxy(*HELD) as proxy, client(proxy) as upload:
        upload.putrequest("POST", "/")
        upload.putheader("Content-Length", "10")
        upload.endheaders(b"first")
        proxy.until(lambda status: status["proxy"]["in_flight"])
        stop(proxy)
        until_draining(proxy)
        upload.send(b"later")
        with upload.getresponse() as answer:
            assert answer.headers["Connection"] == "close"
            assert json.loads(answer.read())["body"]["length"] == 10
        ended(proxy)


def test_what_is_held_is_finished() -> None:
    with Proxy(*HELD, "--boot-time", "0.7") as proxy, client(proxy) as held:
        held.request("GET", "/")
        proxy.until(lambda status: status["proxy"]["waiting"])
        stop(proxy)
        with held.getresponse() as answer:
            assert answer.status == 200
            assert answer.headers["Connection"] == "close"
        ended(proxy)


def test_what_is_held_for_too_long_is_told() -> None:
    with Proxy(*HELD, "--boot-time", "30", "--drain-timeout", "0.4") as proxy, client(proxy) as held:
        held.request("GET", "/")
        proxy.until(lambda status: status["proxy"]["waiting"])
        began = stop(proxy)
        with held.getresponse() as answer:
            assert (answer.status, answer.headers["Retry-After"]) == (503, "5")
        assert ended(proxy) - began >= 0.4


def test_tunnels_end_last() -> None:
    with Proxy(*HELD) as proxy, proxy.connect() as tunnelled, client(proxy) as download:
        tunnel(tunnelled)
        download.request("GET", "/?chunks=5&interval=0.1")
        with download.getresponse() as answer:
            stop(proxy)
            until_draining(proxy)
            tunnelled.sendall(b"still here")
            assert tunnelled.recv(100) == b"still here"
            assert answer.read().count(b"chunk ") == 5
        ended(proxy)
        assert not is_open(tunnelled)


def test_what_takes_too_long_is_cut() -> None:
    with Proxy(*HELD, "--drain-timeout", "0.5") as proxy, client(proxy) as download:
        download.request("GET", "/?chunks=1000&interval=0.05")
        with download.getresponse() as answer:
            assert answer.read(8)
            began = stop(proxy)
            with pytest.raises((http.client.IncompleteRead, ConnectionResetError)):
                answer.read()
        assert ended(proxy) - began >= 0.5
    assert "requests were cut off after 0.5 s" in proxy.errors


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_second_signal_ends_it_at_once(number: int) -> None:
    with Proxy(*HELD) as proxy, client(proxy) as download:
        download.request("GET", "/?chunks=1000&interval=0.05")
        with download.getresponse() as answer:
            assert answer.read(8)
            stop(proxy)
            until_draining(proxy)
            stop(proxy, number)
            ended(proxy)
    assert "ended at once, with 1 requests under way" in proxy.errors


def test_a_reload_while_it_ends_cuts_nothing() -> None:
    with Proxy(*HELD) as proxy, client(proxy) as download:
        download.request("GET", "/?chunks=8&interval=0.1")
        with download.getresponse() as answer:
            assert answer.read(8)
            stop(proxy)
            until_draining(proxy)
            stop(proxy, signal.SIGHUP)
            assert answer.read().endswith(b"chunk 8 of 8\n")
        ended(proxy)
    assert "at once" not in proxy.errors


def test_half_a_request_holds_up_nothing() -> None:
    with (
        Proxy(*HELD, "--timeout-http-request", "60") as proxy,
        proxy.connect() as half,
        proxy.connect() as silent,
    ):
        half.sendall(b"GET / HTTP/1.1\r\nHo")
        proxy.until(lambda status: status["proxy"]["connections"] == 2)
        stop(proxy)
        assert everything(silent) == b""
        ended(proxy)
        assert not is_open(half)


# Nodes ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("options", "stays"), [((), True), (("--off-at-exit",), False)])
def test_nodes_stay_on_unless_told_otherwise(tmp_path: Path, options: tuple[str, ...], stays: bool) -> None:
    world = StateFile(str(tmp_path / "world"))
    with Proxy(*HELD, "--option", f"state={world.path}", *options) as proxy:
        assert proxy.request().status == 200
        stop(proxy)
        ended(proxy)
    with world.look() as now:
        assert now.node("p1").powered is stays
        assert len([record for record in now.history if record.what == "on"]) == 1


def test_a_node_that_stayed_on_is_taken_over(tmp_path: Path) -> None:
    world = StateFile(str(tmp_path / "world"))
    for _ in range(2):
        with Proxy(*HELD, "--option", f"state={world.path}") as proxy:
            assert proxy.request().json["node"] == "p1"
    with world.look() as now:
        assert len([record for record in now.history if record.what == "on"]) == 1


def test_a_boot_that_is_under_way_at_the_end_leaves_no_trace(tmp_path: Path) -> None:
    world = StateFile(str(tmp_path / "world"))
    options = ("--option", f"state={world.path}", "--boot-time", "30")
    with Proxy(*HELD, *options, "--off-at-exit") as proxy:
        with proxy.connect() as connection:
            connection.sendall(b"GET / HTTP/1.1\r\nHost: c\r\n\r\n")
            proxy.until(lambda status: status["nodes"]["p1"]["powered"])
        stop(proxy)
        ended(proxy)
    with world.look() as now:
        assert not now.node("p1").powered


# What it cannot begin with ----------------------------------------------------------------------------------


def failure(*options: str, code: int, sim: bool = True) -> str:
    """What it says of these options: one line."""
    argv = Proxy("--cold", "hold", *options, sim=sim).argv
    env = {name: value for name, value in os.environ.items() if not name.startswith("RPI_CLUSTERHAT_")}
    done = subprocess.run(
        argv, env={**env, "RPI_CLUSTERHAT_CONFIG": os.devnull}, capture_output=True, text=True, timeout=60,
        check=False,
    )  # fmt: skip
    # With -X dev, asyncio remarks what takes long on a busy machine.
    remarks = ("INFO ", "WARNING Executing ")
    lines = [line for line in done.stderr.splitlines() if not line.startswith(remarks)]
    assert (done.returncode, done.stdout, len(lines)) == (code, "", 1), done
    assert lines[0].startswith("clusterhat-proxy: ")
    return lines[0]


def test_a_port_that_is_in_use() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        place = f"127.0.0.1:{taken.getsockname()[1]}"
        assert place in failure("--listen", place, code=1)


def test_a_certificate_that_is_none(tmp_path: Path) -> None:
    file = tmp_path / "cert.pem"
    file.write_text("nothing", encoding="ascii")
    assert str(file) in failure("--tls-cert", str(file), code=2)


@pytest.mark.parametrize(
    ("options", "code", "named"),
    [
        (["--backend", "nonsense"], 1, "nonsense"),
        (["--backend", "sim", "--board", "9.9"], 1, "9.9"),
        (["--backend", "sim", "--option", "state=/proc/nobody/may/write/here"], 1, "/proc/nobody"),
        (["--backend", "sim", "--option", "colour=red"], 1, "colour"),
        (["--backend", "sim", "--option", "fault=bus:error@1x1000"], 1, "bank 0"),
        (["--backend", "sim", "--node", "p9=127.0.0.1:80"], 2, "p9"),
        (["--idle-timeout", "soon"], 2, "soon"),
        (["--no-such-option"], 2, "--no-such-option"),
        (["--config", "/nowhere.toml"], 2, "/nowhere.toml"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(options: list[str], code: int, named: str) -> None:
    assert named in failure(*options, code=code, sim=False)


def test_a_file_that_is_no_toml(tmp_path: Path) -> None:
    file = tmp_path / "proxy.toml"
    file.write_text("idle-timeout = \n", encoding="ascii")
    assert str(file) in failure("--config", str(file), code=2)


def test_a_file_that_must_not_be_written(tmp_path: Path) -> None:
    if os.geteuid() == 0:
        pytest.skip("root may do everything")
    tmp_path.chmod(0o500)
    try:
        assert "may not write" in failure("--option", f"state={tmp_path}/world", code=1)
    finally:
        tmp_path.chmod(0o700)


STARTING = """
import os, runpy, sys
event, which, number, *sys.argv[1:] = sys.argv[1:]
def look(happened, arguments):
    if happened == event and which in map(str, arguments):
        os.kill(os.getpid(), int(number))
sys.addaudithook(look)
runpy.run_module("clusterhat_proxy", run_name="__main__")
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize(
    "moment",
    [
        ("import", "clusterhat_proxy.run"),
        ("import", "asyncio"),
        ("import", "prometheus_client"),
        ("import", "clusterhat_proxy.server"),
        ("import", "rpi_clusterhat_sim.backend"),
        ("socket.bind", "('127.0.0.1', 0)"),
        ("socket.bind", "('127.0.0.2', 0)"),
    ],
)
def test_a_signal_while_it_starts(moment: tuple[str, str], number: int) -> None:
    options = ["--backend", "sim", "--cold", "hold", "--listen", "127.0.0.1:0", "--admin", "127.0.0.2:0"]
    ran = subprocess.run(
        [sys.executable, "-c", STARTING, *moment, str(int(number)), *options],
        env={**os.environ, "RPI_CLUSTERHAT_CONFIG": os.devnull},
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert ran.returncode in (0, -number)
    assert "Traceback" not in ran.stderr


def test_what_is_not_installed_is_named() -> None:
    code = """
import runpy, sys
sys.modules["prometheus_client"] = None
runpy.run_module("clusterhat_proxy", run_name="__main__")
"""
    ran = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert (ran.returncode, ran.stdout) == (1, "")
    assert (
        ran.stderr
        == "clusterhat-proxy: prometheus_client is not installed: pip install 'prometheus-client>=0.21'\n"
    )


# systemd ----------------------------------------------------------------------------------------------------

STARTER = """
import os, sys
count, *argv = sys.argv[1:]
sockets = [int(fd) for fd in os.environ["SOCKETS"].split()]
for i, fd in enumerate(sockets):
    os.dup2(fd, 3 + i)
os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS=count)
os.execv(argv[0], argv)
"""


def test_sockets_that_systemd_opened() -> None:
    """Clients that connect before it is there are served, and its own addresses are not used."""
    with (
        socket.create_server(("127.0.0.1", 0)) as clients,
        socket.create_server(("127.0.0.1", 0)) as admin,
        socket.create_connection(clients.getsockname(), timeout=PATIENCE) as early,
    ):
        early.sendall(b"GET /early HTTP/1.1\r\nHost: c\r\nConnection: close\r\n\r\n")
        # Far from where they have to go.
        high = [os.dup2(one.fileno(), 50 + i, inheritable=False) for i, one in enumerate((clients, admin))]
        env = {"SOCKETS": " ".join(map(str, high)), "LISTEN_FDNAMES": "proxy:admin"}
        starter = [sys.executable, "-c", STARTER, "2"]
        try:
            with Proxy(*HELD, env=env, starter=starter, pass_fds=high) as proxy:
                assert proxy.port == clients.getsockname()[1]
                assert proxy.ports["status"] == admin.getsockname()[1]
                assert len(proxy.listening) == 1
                assert b'"target":"/early"' in everything(early)
                assert proxy.status()["proxy"]["requests"] == 1
                stop(proxy)
                ended(proxy)
        finally:
            for fd in high:
                os.close(fd)
        # Whoever opened them has them still: clients wait for the next start.
        with socket.create_connection(clients.getsockname(), timeout=PATIENCE):
            pass


def test_what_systemd_is_told(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        manager.settimeout(PATIENCE)
        env = {"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "200000"}
        told: list[str] = []

        def until(message: str) -> None:
            while not told or told[-1].split("\n")[0] != message:
                told.append(manager.recv(4096).decode())

        with Proxy(*HELD, env=env) as proxy:
            until("READY=1")
            assert told == ["READY=1"]
            until("WATCHDOG=1")
            began = time.monotonic()
            told.extend([manager.recv(4096).decode() for _ in range(3)])
            assert time.monotonic() - began <= 2.0
            stop(proxy, signal.SIGHUP)
            until("RELOADING=1")
            assert told[-1].split("\n")[1].startswith("MONOTONIC_USEC=")
            until("READY=1")
            with client(proxy) as download:
                download.request("GET", "/?chunks=4&interval=0.2")
                with download.getresponse() as answer:
                    stop(proxy)
                    until("STOPPING=1")
                    until("WATCHDOG=1")  # it is alive as long as it drains
                    answer.read()
            ended(proxy)
        assert told.count("STOPPING=1") == 1
