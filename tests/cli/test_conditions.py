"""Each command under odd conditions: no traceback, one line that says what is wrong, the right exit code."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from tests.conditions import FULL, Condition

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full"),
]

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
def config(tmp_path: Path) -> str:
    """The settings file of a simulation that no process has to wait for."""
    (tmp_path / "locks").mkdir()
    file = tmp_path / "settings.toml"
    file.write_text(f'backend = "sim"\nspacing = 0.0\nlock_dir = "{tmp_path}/locks"\n')
    return str(file)


@pytest.mark.parametrize("name", CONDITIONS)
def test_every_command(name: str, tmp_path: Path, config: str) -> None:
    condition = CONDITIONS[name]
    wrong = [told for command in (*WELL, *WRONG) if (told := _wrong(command, condition, tmp_path, config))]
    assert wrong == []


def _wrong(command: str, condition: Condition, place: Path, config: str) -> str | None:
    """What is not as it should be, if anything."""
    done = condition.run(place, "rpi_clusterhat", command.split(), RPI_CLUSTERHAT_CONFIG=config)
    code = WRONG.get(command, condition.code)
    line = re.escape(condition.error) if command in WELL else "(?!internal error).+"
    expected = (
        f"rpi-clusterhat: {line}\n" if condition.heard and (command in WRONG or condition.error) else ""
    )
    if done.returncode == code and re.fullmatch(expected, done.stderr):
        return None
    return f"{command!r} ended with {done.returncode}, not {code}, and said {done.stderr!r}"


def test_the_exit_codes_are_documented() -> None:
    rows = re.findall(r"^\| ([\d, ]+) \|", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    documented = {int(number) for row in rows for number in row.split(",")}
    met = {condition.code for condition in CONDITIONS.values()} | set(WRONG.values())
    assert met <= documented
