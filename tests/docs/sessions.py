"""What a page has its reader do, in order: the files to save and the commands to type.

- A block ``console`` has commands after ``$ ``, lines that go on a command after ``> ``, and below a command
  what the terminal shows then. ``…`` in a line stands for anything in it, and a line ``...`` for any lines. A
  line ``^C`` is typed, as Ctrl-C, when what is above it has been shown.
- A block ``sh`` has commands alone: each ends with status 0, and what it prints is not looked at.
- "Save this as `NAME`:" above a block that comes from a file has the reader make that file.
- ``<!-- not typed: REASON -->`` on the line above a block: it cannot run on this machine.
- ``<!-- typed with NAME=VALUE -->``: the variable is set from there to the end of the page, as it would be on
  the machine that the page is about, such as the simulation in place of a HAT.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

__all__ = ["PAGES", "Command", "Save", "Setting", "Skipped", "Step", "agrees", "steps"]

ROOT = Path(__file__).resolve().parents[2]

_BLOCK = re.compile(
    r"^<!-- typed with (?P<name>\w+)=(?P<value>.*?) -->$"
    r"|^(?:[ ]*<!-- not typed: (?P<reason>[^\n]+) -->\n)?"
    r"(?:[ ]*<!-- from (?P<source>[^\n]*) -->\n\n)?"
    r"^(?P<indent>[ ]*)```(?P<language>\w+)\n(?P<text>.*?)^(?P=indent)```$",
    re.MULTILINE | re.DOTALL,
)
_SAVE = re.compile(r"\b[Ss]ave (?:this|it) as `([^`]+)`[^`]*:\s*\Z")


@dataclass(frozen=True)
class Command:
    """A command, and what the terminal shows then: None where the page does not say."""

    text: str
    shows: str | None = None


@dataclass(frozen=True)
class Save:
    """A file that the reader makes."""

    name: str
    text: str


@dataclass(frozen=True)
class Setting:
    """A variable that is set as it would be on the machine that the page is about."""

    name: str
    value: str


@dataclass(frozen=True)
class Skipped:
    """A block that is not typed, by its first line, and why."""

    first: str
    reason: str


Step: TypeAlias = Command | Save | Setting | Skipped


def steps(page: str) -> list[Step]:
    """What a page, in Markdown, has its reader do."""
    found: list[Step] = []
    for block in _BLOCK.finditer(page):
        if block["name"]:
            found.append(Setting(block["name"], block["value"]))
            continue
        text = re.sub(rf"^{block['indent']}", "", block["text"], flags=re.MULTILINE)
        typed = _LANGUAGES[block["language"]](text) if block["language"] in _LANGUAGES else []
        if block["reason"]:
            first = typed[0].text if typed else text
            found.append(Skipped(first.splitlines()[0], block["reason"]))
        elif typed:
            found += typed
        elif save := _SAVE.search(page[: block.start()]):
            found.append(Save(save[1], text))
    return found


def _console(text: str) -> list[Command]:
    first, *parts = re.split(r"^\$ ", text, flags=re.MULTILINE)
    if first:
        raise ValueError(f"a block 'console' begins with a command after '$ ', not with {first!r}")
    return [
        Command(re.sub(r"\n> ", "\n", found[1]), found[2])
        for part in parts
        if (found := re.fullmatch(r"(.*\n(?:> .*\n)*)((?:.*\n)*)", part))
    ]


def _sh(text: str) -> list[Command]:
    lines = re.sub(r"\\\n", "\\\0", text).splitlines()
    return [
        Command(line.replace("\\\0", "\\\n") + "\n") for line in lines if line and not line.startswith("#")
    ]


_LANGUAGES = {"console": _console, "sh": _sh}


def agrees(shows: str, came: str) -> bool:
    """Whether what came is what a page shows."""
    pattern = "".join(
        r"(?:.*\n)*?" if line.strip() == "..." else ".*".join(map(re.escape, line.split("…")))
        for line in shows.splitlines(keepends=True)
    )
    return re.fullmatch(pattern, came) is not None


PAGES = {
    str(path.relative_to(ROOT)): steps(path.read_text(encoding="utf-8"))
    for path in [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").rglob("*.md"))]
}
"""What each page has its reader do."""
