"""The proxy's command under odd conditions: no traceback, one line that says what is wrong, the exit code."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from tests.conditions import FULL, Condition
from tests.proxy.running import PATIENCE

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full"),
]

SERVE = "--backend sim --listen 127.0.0.1:0 --admin 127.0.0.1:0 --max-connections 10"
WELL = ("--version", "--help")
WRONG = {
    "--bad": 2,
    "--config .": 2,
    "--backend nosuch": 1,
    f"{SERVE} --option state=no/such": 1,
    f"{SERVE} --tls-cert nosuch": 2,
}
"""Commands that fail, with their exit codes."""


CONDITIONS = {
    "as usual": Condition('"$@"'),
    "output full": Condition('"$@" >/dev/full', 1, FULL),
    "output full and unbuffered": Condition('PYTHONUNBUFFERED=1 "$@" >/dev/full', 1, FULL),
    "output that nobody reads": Condition('"$@"', 141),
    "errors full": Condition('"$@" 2>/dev/full', heard=False),
    "all closed": Condition('"$@" <&- >&- 2>&-', heard=False),
    "folder deleted": Condition('mkdir gone; cd gone; rmdir ../gone; "$@"'),
    "no environment": Condition('exec env -i RPI_CLUSTERHAT_CONFIG=/dev/null "$@"'),
    "plain locale": Condition(
        'LC_ALL=C PYTHONUTF8=0 PYTHONCOERCECLOCALE=0 PYTHONIOENCODING=ascii:strict "$@"'
    ),
    "strange terminal": Condition('COLUMNS=0 TERM=dumb "$@"'),
}


def run(place: Path, condition: Condition, command: str) -> subprocess.CompletedProcess[str]:
    return condition.run(place, "clusterhat_proxy", command.split(), RPI_CLUSTERHAT_CONFIG=os.devnull)


@pytest.mark.parametrize("name", CONDITIONS)
def test_every_way_to_end_at_once(name: str, tmp_path: Path) -> None:
    condition = CONDITIONS[name]
    well = (*WELL, SERVE) if condition.code else WELL
    for command in (*well, *WRONG):
        done = run(tmp_path, condition, command)
        line = re.escape(condition.error) if command in well else ".+"
        expected = (
            f"clusterhat-proxy: {line}\n" if condition.heard and (command in WRONG or condition.error) else ""
        )
        assert done.returncode == WRONG.get(command, condition.code), (command, done.stderr)
        assert re.fullmatch(expected, done.stderr), (command, done.stderr)


@pytest.mark.parametrize("where", ["<&- >&- 2>&-", "2>/dev/full"])
def test_it_serves_and_ends_well_where_nobody_hears_of_it(tmp_path: Path, where: str) -> None:
    """What it logs on the way can be written nowhere."""
    argv = [sys.executable, "-m", "clusterhat_proxy", *SERVE.split(), "--max-connections", "1000000"]
    with closing(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)) as manager:
        manager.bind(str(tmp_path / "notify"))
        manager.settimeout(PATIENCE)
        env = {**os.environ, "RPI_CLUSTERHAT_CONFIG": os.devnull, "NOTIFY_SOCKET": str(tmp_path / "notify")}
        shell = ["sh", "-c", f'exec "$@" {where}', "sh"]
        with subprocess.Popen([*shell, *argv], env=env, stdout=subprocess.DEVNULL) as proxy:
            try:
                assert manager.recv(100) == b"READY=1"
                proxy.terminate()
                assert proxy.wait(PATIENCE) == 0
            finally:
                proxy.kill()


def test_too_few_files_are_told_of_at_once(tmp_path: Path) -> None:
    done = run(tmp_path, Condition('ulimit -n 200; "$@"'), SERVE)
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert (
        "this process may have 200 files open, and the proxy needs 258 at least: raise the limit"
        in done.stderr
    )


def test_the_exit_codes_are_in_the_help() -> None:
    told = subprocess.check_output([sys.executable, "-m", "clusterhat_proxy", "--help"], text=True)
    line = told[told.index("exit codes: ") :].splitlines()[0]
    assert re.findall(r"\b(\d+) ", line) == ["0", "1", "2", "141"]
