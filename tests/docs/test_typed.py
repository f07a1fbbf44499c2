"""Every page is a session that can be typed in one shell, top to bottom, and shows what comes then."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from . import newcomer
from .sessions import Command, Save, Setting, Skipped, agrees, of, steps
from .terminal import Terminal

if TYPE_CHECKING:
    from .sessions import Step

ROOT = Path(__file__).resolve().parents[2]
PAGES = {
    str(path.relative_to(ROOT)): found
    for path in [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").rglob("*.md"))]
    if (found := of(path))
}
FROM_NOTHING = {"README.md", "CONTRIBUTING.md", "docs/tutorial.md"}
"""The other pages begin where the tutorial's installation ends."""


@pytest.fixture(scope="module")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("newcomer") / "wheels"
    newcomer.wheels(folder)
    return folder


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory, wheels: Path) -> Path:
    """The home of somebody who has typed the tutorial's installation."""
    folder = tmp_path_factory.mktemp("installed")
    text = (ROOT / "docs" / "tutorial.md").read_text(encoding="utf-8")
    install = text[: text.index("\n## ", text.index("## Install") + 1)]
    newcomer.checkout(folder / "checkout")
    with Terminal(folder / "checkout", newcomer.environment(folder / "home", wheels)) as terminal:
        follow(terminal, steps(install), folder / "checkout")
    return folder / "home"


def follow(terminal: Terminal, session: list[Step], folder: Path) -> None:
    """Does what a page says."""
    for step in session:
        match step:
            case Save(name, text):
                (folder / name).write_text(text, encoding="utf-8")
            case Setting(name, value):
                terminal.type(f"export {name}={shlex.quote(value)}\n")
            case Command(command, shows):
                status, came = terminal.type(command, shows)
                if shows is None:
                    assert status == 0, f"$ {command}ends with status {status}, and shows\n{came}"
                else:
                    assert agrees(shows.replace("^C\n", ""), came), (
                        f"$ {command}shows\n{came}\nand the page says\n{shows}"
                    )
            case Skipped():
                pass


@pytest.mark.slow
@pytest.mark.parametrize("page", ["README.md", "docs/tutorial.md"])
def test_a_page_can_be_typed(page: str, wheels: Path, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    folder, home = tmp_path / "checkout", tmp_path / "home"
    newcomer.checkout(folder)
    variables = newcomer.environment(home, wheels)
    if page not in FROM_NOTHING:
        newcomer.move(request.getfixturevalue("installed") / "clusterhat", home / "clusterhat")
    with Terminal(folder, variables) as terminal:
        if page not in FROM_NOTHING:
            terminal.type(". ~/clusterhat/bin/activate\n")
        follow(terminal, PAGES[page], folder)
        assert terminal.left(10) == [], "the page leaves programs running"
