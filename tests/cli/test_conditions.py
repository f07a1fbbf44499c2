"""Each command under odd conditions: no traceback, one line that says what is wrong, the right exit code."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full"),
]

TIMEOUT = 60
PAGE = Path(__file__).resolve().parents[2] / "docs" / "reference" / "command.md"

WELL = [
    *("--version", "on --help", "version", "status --json", "on p1 p2", "off all", "init", "hub reset"),
    *("backends", "boards", "settings --json", "completion bash"),
]
"""Commands that succeed, and print something."""
WRONG = {
    "": 2,
    "on p\u00e9": 2,
    "status --config .": 2,
    "status --backend i2c --board 2.3 --bus /dev/nosuch": 1,
    "status -o state=no/such": 1,
}
"""Commands that do not, with their exit codes."""


class Condition(NamedTuple):
    shell: str
    """What a shell runs, with the command as its arguments."""
    code: int = 0
    """The exit code of a command that would succeed."""
    error: str = ""
    """What such a command says on standard error."""
    heard: bool = True
    """Whether it is seen what is said on standard error."""


FULL = "cannot write the output: No space left on device"
CONDITIONS = {
    "as usual": Condition('"$@"'),
    "output full": Condition('"$@" >/dev/full', 1, FULL),
    "output full and unbuffered": Condition('PYTHONUNBUFFERED=1 "$@" >/dev/full', 1, FULL),
    "all full": Condition('"$@" >/dev/full 2>&1', 1, heard=False),
    "errors full": Condition('"$@" 2>/dev/full', heard=False),
    "output closed": Condition('"$@" >&-', 1, "cannot write the output: standard output is closed"),
    "errors closed": Condition('"$@" 2>&-', heard=False),
    "all closed": Condition('"$@" <&- >&- 2>&-', 1, heard=False),
    "output open for reading": Condition(
        '"$@" </dev/null >&0', 1, "cannot write the output: Bad file descriptor"
    ),
    "output that nobody reads": Condition('"$@"', 141),
    "folder deleted": Condition('mkdir gone; cd gone; rmdir ../gone; "$@"'),
    "no environment": Condition('exec env -i "RPI_CLUSTERHAT_CONFIG=$RPI_CLUSTERHAT_CONFIG" "$@"'),
    "plain locale": Condition('LC_ALL=C PYTHONUTF8=0 PYTHONCOERCECLOCALE=0 HOME= "$@"'),
    "strict encoding": Condition('PYTHONIOENCODING=ascii:strict "$@"'),
    "strange terminal": Condition('COLUMNS=0 LINES=no TERM=dumb "$@"'),
}


@pytest.fixture
def env(tmp_path: Path) -> dict[str, str]:
    """A simulation that no process has to wait for."""
    (tmp_path / "locks").mkdir()
    (tmp_path / "settings.toml").write_text(
        f'backend = "sim"\nspacing = 0.0\nlock_dir = "{tmp_path}/locks"\n'
    )
    env = {key: value for key, value in os.environ.items() if not key.startswith(("RPI_", "PYTHON"))}
    return {**env, "RPI_CLUSTERHAT_CONFIG": f"{tmp_path}/settings.toml"}


@pytest.mark.parametrize("name", CONDITIONS)
def test_every_command(name: str, tmp_path: Path, env: dict[str, str]) -> None:
    condition = CONDITIONS[name]
    wrong = [told for command in (*WELL, *WRONG) if (told := _wrong(command, condition, tmp_path, env))]
    assert wrong == []


def _wrong(command: str, condition: Condition, place: Path, env: dict[str, str]) -> str | None:
    """What is not as it should be, if anything."""
    folder = place / "work"
    folder.mkdir()
    read, write = os.pipe()
    os.close(read)
    try:
        done = subprocess.run(
            ["sh", "-c", condition.shell, "sh", sys.executable, "-m", "rpi_clusterhat", *command.split()],
            cwd=folder,
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=write if condition.code == 141 else subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            timeout=TIMEOUT,
            check=False,
        )
    finally:
        os.close(write)
        shutil.rmtree(folder)
    code = WRONG.get(command, condition.code)
    said = done.stderr.decode()
    line = re.escape(condition.error) if command in WELL else "(?!internal error).+"
    expected = (
        f"rpi-clusterhat: {line}\n" if condition.heard and (command in WRONG or condition.error) else ""
    )
    if done.returncode == code and re.fullmatch(expected, said):
        return None
    return f"{command!r} ended with {done.returncode}, not {code}, and said {said!r}"


def test_the_exit_codes_are_documented() -> None:
    rows = re.findall(r"^\| ([\d, ]+) \|", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    documented = {int(number) for row in rows for number in row.split(",")}
    met = {condition.code for condition in CONDITIONS.values()} | set(WRONG.values())
    assert met <= documented
