"""The machine of somebody who has just got the project: a checkout, an empty home, and a Python.

Nothing is downloaded: pip takes what it is asked for from a folder of wheels, which are packed from the
packages that the tests themselves run on. As Debian's, this Python takes no packages outside a virtual
environment.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
import zipfile
from importlib.metadata import Distribution, distribution
from pathlib import Path
from typing import TYPE_CHECKING

from packaging.requirements import Requirement

from .sessions import Command, Save, Setting, Skipped, agrees

if TYPE_CHECKING:
    from .sessions import Step
    from .terminal import Terminal

__all__ = ["FROM_NOTHING", "checkout", "environment", "follow", "move", "wheels"]

FROM_NOTHING = ["README.md", "docs/how-to/hats.md", "docs/tutorial.md"]
"""The other pages begin where the tutorial's installation ends."""

SOURCE = Path(os.environ.get("CLUSTERHAT_TEST_CHECKOUT") or Path(__file__).resolve().parents[2])
"""Where the library's source is, also for tests that run on the wheel."""

_PACKAGES = ("hatchling", "editables", "pytest", "aiohttp", "gpiod", "smbus2", "shtab", "prometheus-client")
_BUILT = {".git", "dist", "build", "site", "__pycache__", "coverage"}


def checkout(folder: Path) -> None:
    """What somebody has who has cloned the project: with what is changed here, and without what is built."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=SOURCE,
        capture_output=True,
        text=True,
        check=False,
    )
    if listed.returncode:  # unpacked from an archive
        shutil.copytree(SOURCE, folder, ignore=shutil.ignore_patterns(*_BUILT, ".venv*", ".*_cache"))
        return
    for name in listed.stdout.splitlines():
        if (SOURCE / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(SOURCE / name, folder / name)


def environment(home: Path, wheels: Path) -> dict[str, str]:
    """The variables of a login, and those that have pip take packages from the folder."""
    python = home / ".python"
    python.mkdir(parents=True)
    (python / "python3").symlink_to(getattr(sys, "_base_executable", sys.executable))
    return {
        "HOME": str(home),
        "USER": "newcomer",
        "LANG": "C.UTF-8",
        "TERM": "dumb",
        "PATH": f"{python}:/usr/local/bin:/usr/bin:/bin",
        "VIRTUAL_ENV_DISABLE_PROMPT": "1",
        "PIP_CONFIG_FILE": os.devnull,
        "PIP_DISABLE_PIP_VERSION_CHECK": "1",
        "PIP_FIND_LINKS": str(wheels),
        "PIP_NO_INDEX": "1",
        "PIP_REQUIRE_VIRTUALENV": "1",
    }


def wheels(folder: Path) -> None:
    """Packs the packages that pages install, and all that those need."""
    folder.mkdir()
    waiting, packed = list(_PACKAGES), set[str]()
    while waiting:
        found = distribution(waiting.pop())
        if found.name not in packed:
            packed.add(found.name)
            _pack(found, folder)
            needs = [Requirement(line) for line in found.requires or ()]
            waiting += [
                need.name for need in needs if need.marker is None or need.marker.evaluate({"extra": ""})
            ]


def _pack(found: Distribution, folder: Path) -> None:
    tags = re.findall(r"^Tag: (\S+?)-(\S+?)-(\S+)$", found.read_text("WHEEL") or "", re.MULTILINE)
    if not tags:
        raise LookupError(f"{found.name} was not installed from a wheel")
    tag = "-".join(".".join(dict.fromkeys(parts)) for parts in zip(*tags, strict=True))
    name = f"{re.sub(r'[-_.]+', '_', found.name)}-{found.version}-{tag}.whl"
    with zipfile.ZipFile(folder / name, "w") as wheel:
        for file in found.files or ():
            if ".." not in file.parts and file.suffix != ".pyc" and Path(file.locate()).is_file():
                wheel.write(file.locate(), str(file))


def move(environment: Path, place: Path) -> None:
    """Copies a virtual environment to where another home has it."""
    shutil.copytree(environment, place, symlinks=True)
    for file in (place / "bin").iterdir():
        if not file.is_symlink():
            file.write_bytes(file.read_bytes().replace(str(environment).encode(), str(place).encode()))


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
