"""The command as a process: signals, pipes, terminals, and what it imports."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import select
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Generator
    from pathlib import Path

pytestmark = pytest.mark.slow

PROGRAM = [sys.executable, "-m", "rpi_clusterhat"]
TIMEOUT = 30


@contextlib.contextmanager
def started(*argv: str) -> Generator[subprocess.Popen[str]]:
    pipe = subprocess.PIPE
    with subprocess.Popen([*PROGRAM, *argv], stdout=pipe, stderr=pipe, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


def expect(process: subprocess.Popen[str], *lines: str) -> None:
    assert process.stdout is not None
    for line in lines:
        assert process.stdout.readline() == f"{line}\n"


def run(*argv: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*PROGRAM, *argv], capture_output=True, text=True, timeout=TIMEOUT, check=False)


def powered() -> list[str]:
    nodes = json.loads(run("status", "--json").stdout)["nodes"]
    return [name for name, node in nodes.items() if node["powered"]]


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_in_the_middle_of_on(sim: Path, number: int, code: int) -> None:
    with started("--spacing", "60", "on", "all") as process:
        expect(process, "p1 on")
        process.send_signal(number)
        out, err = process.communicate(timeout=TIMEOUT)
    assert (process.returncode, out) == (code, "")
    assert err == "rpi-clusterhat: interrupted: p1 is on, p2, p3, p4 are off\n"
    assert powered() == ["p1"]


def test_nobody_waits_for_a_process_that_was_killed(sim: Path) -> None:
    with started("--spacing", "1", "on", "all") as process:
        expect(process, "p1 on")
        process.kill()
        process.wait(TIMEOUT)
    assert run("--spacing", "1", "on", "p2").stdout == "p2 on\n"
    assert powered() == ["p1", "p2"]


def test_hold(sim: Path) -> None:
    with started("-o", "holds=no", "on", "--hold", "p3") as process:
        expect(
            process,
            "p3 on",
            "holding until Ctrl-C: the nodes then lose power, unless something pulls their lines up",
        )
        assert powered() == ["p3"]
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=TIMEOUT)
    assert (process.returncode, out, err) == (0, "p1, p2, p3, p4 are off\n", "")
    assert powered() == []


def test_watch(sim: Path) -> None:
    with started("status", "--json", "--watch", "0.1") as process:
        assert process.stdout is not None
        assert json.loads(process.stdout.readline())["nodes"]["p2"]["powered"] is False
        assert run("on", "p2").returncode == 0
        while not json.loads(process.stdout.readline())["nodes"]["p2"]["powered"]:
            pass
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=TIMEOUT)
    assert (process.returncode, err) == (0, "")


@pytest.mark.parametrize(
    "argv",
    [["--json", "--watch", "0.1"], ["--watch", "0.1"], ["--watch", "3600"], ["--json", "--watch", "3600"]],
)
def test_a_reader_that_leaves_ends_a_watch_also_where_nothing_is_printed(sim: Path, argv: list[str]) -> None:
    with started("status", *argv) as process:
        assert process.stdout is not None
        process.stdout.readline()
        process.stdout.close()
        assert process.wait(TIMEOUT) == 141
        assert process.stderr is not None
        assert process.stderr.read() == ""


def test_a_reader_that_leaves_does_not_stop_the_nodes(sim: Path) -> None:
    with started("--spacing", "0.2", "on", "all") as process:
        assert process.stdout is not None
        process.stdout.close()
        assert process.wait(TIMEOUT) == 141
        assert process.stderr is not None
        assert process.stderr.read() == ""
    assert powered() == ["p1", "p2", "p3", "p4"]


@pytest.mark.skipif(sys.platform != "linux", reason="needs /proc")
def test_no_file_becomes_a_standard_stream_that_was_closed(sim: Path, tmp_path: Path) -> None:
    code = (
        "import os, sys; from rpi_clusterhat.cli import main; sys.argv = ['', 'on', 'p1']; main(); "
        f"open({str(tmp_path / 'streams')!r}, 'w').write(' '.join(map(os.readlink, "
        "['/proc/self/fd/0', '/proc/self/fd/1', '/proc/self/fd/2'])))"
    )
    closed = '"$@" <&- >&- 2>&-'
    subprocess.run(["sh", "-c", closed, "sh", sys.executable, "-c", code], timeout=TIMEOUT, check=True)
    assert (tmp_path / "streams").read_text() == "/dev/null /dev/null /dev/null"
    assert powered() == ["p1"]


def test_an_output_that_knows_ascii_only(sim: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONIOENCODING", "ascii")
    assert run("status").returncode == 0
    done = run("--backend", "\u00e9", "status")
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)


def test_a_hat_that_describes_itself_strangely(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "hat").mkdir()
    (tmp_path / "hat" / "product").write_bytes(b"\xff\xfe")
    monkeypatch.setenv("PYTHONIOENCODING", "ascii")
    code = (
        "import sys; from rpi_clusterhat import cli; from rpi_clusterhat.hardware import boards; "
        f"boards.DEVICE_TREE = {str(tmp_path / 'hat')!r}; sys.exit(cli.main(['boards']))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert r"\ufffd" in done.stdout


def test_it_waits_for_another_process(sim: Path) -> None:
    with started("--spacing", "1", "on", "p1", "p2") as process:
        expect(process, "p1 on")
        assert run("--spacing", "1", "on", "p3").stdout == "p3 on\n"
        out, _ = process.communicate(timeout=TIMEOUT)
    assert out == "p2 on\n"


# On a terminal --------------------------------------------------------------------------------------------


def on_terminal(*argv: str, interrupt_at: str | None = None) -> tuple[int, str]:
    """Runs the command on a terminal of its own: its exit code, and all that it wrote."""
    pid, fd = pty.fork()
    if pid == 0:  # pragma: no cover - the child, where nothing measures
        os.environ["TERM"] = "xterm"
        os.execv(sys.executable, [*PROGRAM, *argv])
    text = ""
    while select.select([fd], [], [], TIMEOUT)[0]:
        try:
            text += os.read(fd, 65536).decode()
        except OSError:  # the child has closed it
            break
        if interrupt_at and interrupt_at in text:
            interrupt_at = None
            os.write(fd, b"\x03")
    os.close(fd)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), text.replace("\r\n", "\n")


def visible(text: str) -> list[str]:
    """The lines that remain: a passing one is cleared."""
    return [line.rpartition("\r\x1b[K")[2] for line in text.replace("^C", "").rstrip("\n").split("\n")]


def test_a_passing_line_says_who_waits(sim: Path) -> None:
    code, text = on_terminal("--spacing", "0.4", "on", "p1", "p2", "p3")
    assert code == 0
    assert "p2 waits 0.4 s, 1 more after it" in text
    assert "p2 waits 0.2 s, 1 more after it" in text
    assert "p3 waits 0." in text
    assert visible(text) == ["p1 on", "p2 on", "p3 on"]


def test_ctrl_c_on_a_terminal(sim: Path) -> None:
    code, text = on_terminal("--spacing", "60", "on", "p1", "p2", interrupt_at="p2 waits")
    assert code == 130
    assert visible(text) == ["p1 on", "rpi-clusterhat: interrupted: p1 is on, p2, p3, p4 are off"]


def test_watch_writes_over_what_it_wrote(sim: Path) -> None:
    assert run("on", "p1").returncode == 0
    with started("--spacing", "1", "on", "p2") as process:  # in a while, so that there is a change to see
        code, text = on_terminal("status", "--watch", "0.1", interrupt_at="p2     on ")
        process.communicate(timeout=TIMEOUT)
    assert code == 0
    assert text.count("\x1b[10F\x1b[J") + text.startswith("Cluster") == text.count("Cluster HAT")


# What it costs --------------------------------------------------------------------------------------------

COSTLY = {
    *("asyncio", "dataclasses", "importlib.metadata", "inspect", "json", "logging", "shutil", "subprocess"),
    *("tomllib", "tempfile", "shtab", "smbus2", "gpiod"),
}


def test_status_imports_nothing_that_it_does_not_need(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RPI_CLUSTERHAT_CONFIG")
    monkeypatch.setenv("HOME", os.devnull)
    command = "from rpi_clusterhat.cli import main; main(['--backend', 'sim', 'status']); "

    def modules(before: str) -> set[str]:
        code = f"{before}import sys; print(*sys.modules)"
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        return set(done.stdout.split())

    loaded = modules(command) - modules("")
    assert "rpi_clusterhat_sim.backend" in loaded
    assert not loaded & COSTLY
