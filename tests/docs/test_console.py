"""What the pages show of the shell is what the command prints.

Each page is one session: every ``$`` line of its ``console`` blocks is run in one shell, and what follows it
is compared with what came out. A line ``...`` stands for any lines. Blocks that need hardware or other
programs are marked ``sh`` and not run.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
BLOCK = re.compile(r"^```console\n(.*?)^```$", re.MULTILINE | re.DOTALL)
MARK = "--- end of command"


def _sessions() -> dict[str, list[tuple[str, str]]]:
    """Commands with their expected output, by page."""
    sessions: dict[str, list[tuple[str, str]]] = {}
    for page in sorted(DOCS.rglob("*.md")):
        if page.name == "tutorial.md":  # typed by test_typed.py
            continue
        for block in BLOCK.findall(page.read_text(encoding="utf-8")):
            for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
                command, _, output = part.partition("\n")
                sessions.setdefault(str(page.relative_to(ROOT)), []).append((command, output))
    return sessions


SESSIONS = _sessions()


def _agrees(expected: str, actual: str) -> bool:
    pattern = "".join(
        r"(?:.*\n)*?" if line.strip() == "..." else re.escape(line)
        for line in expected.splitlines(keepends=True)
    )
    return re.fullmatch(pattern, actual) is not None


def test_three_dots_stand_for_lines() -> None:
    assert _agrees("a\n...\nd\n", "a\nb\nc\nd\n")
    assert _agrees("a\n...\n", "a\n")
    assert not _agrees("a\n...\nd\n", "a\nb\n")
    assert not _agrees("a.c\n", "abc\n")


@pytest.mark.slow
@pytest.mark.parametrize("page", SESSIONS)
def test_the_sessions_of_a_page(page: str, tmp_path: Path) -> None:
    env = {k: v for k, v in os.environ.items() if not k.startswith("RPI_CLUSTERHAT_")}
    env |= {
        "PATH": f"{os.path.dirname(sys.executable)}:{env['PATH']}",
        "HOME": str(tmp_path),
        "TERM": "dumb",
        "COLUMNS": "80",
        "RPI_CLUSTERHAT_LOCK_DIR": str(tmp_path),
        "RPI_CLUSTERHAT_SPACING": "0.1",
    }
    commands = SESSIONS[page]
    # The exit code of each command is still there for an 'echo $?' after it.
    script = "".join(f"{command}\n{{ code=$?; echo '{MARK}'; (exit $code); }}\n" for command, _ in commands)
    ran = subprocess.run(
        ["bash"],
        input=script,
        cwd=ROOT,
        env=env,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=120,
        check=False,
    )
    outputs = ran.stdout.split(f"{MARK}\n")
    for (command, expected), actual in zip(commands, outputs, strict=False):
        assert _agrees(expected, actual), f"$ {command}\nsays\n{actual}\nand the page says\n{expected}"
    assert len(outputs) == len(commands) + 1, ran.stdout
