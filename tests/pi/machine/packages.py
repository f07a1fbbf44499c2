"""Debian's packages, fetched and unpacked: nothing is installed, and nobody has to be root."""

from __future__ import annotations

import glob
import os
import platform
import re
import shutil
import subprocess
from typing import TYPE_CHECKING, NamedTuple

from tests.built.once import CannotBuildError

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["Kernel", "Packages", "backports", "debian_sources", "newest_kernels", "unpack"]

KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"
TARGETS = "$(ORIGIN)|$(REPO_URI)|$(RELEASE)|$(COMPONENT)"


def backports() -> str:
    """The name of the distribution's backports. Raises `CannotBuildError` where this is not Debian."""
    missing = [tool for tool in ("apt-get", "dpkg-deb", "tar") if shutil.which(tool) is None]
    try:
        codename = platform.freedesktop_os_release()["VERSION_CODENAME"]
    except (OSError, KeyError):
        codename = ""
    if missing or not codename:
        raise CannotBuildError(f"it is made of Debian's packages, and there is no {', '.join(missing)} here")
    return f"{codename}-backports"


class Packages:
    """What apt knows of one architecture, kept in a folder: the machine's own state is not touched.

    Args:
        folder: Is made.
        architecture: As dpkg names it.
        sources: Lines of a file ``sources.list``; None for those that the machine has.
    """

    def __init__(self, folder: str, architecture: str, sources: Sequence[str] | None = None) -> None:
        self.folder = folder
        self._archives = os.path.join(folder, "cache", "archives")
        os.makedirs(os.path.join(folder, "state", "lists", "partial"))
        os.makedirs(os.path.join(self._archives, "partial"))
        settings = {
            "APT::Architecture": architecture,
            "APT::Architectures": architecture,
            "APT::Sandbox::User": "root",  # another user could not look into this folder
            "Dir::Cache": f"{folder}/cache",
            "Dir::State": f"{folder}/state",
            "Dir::State::status": f"{folder}/status",
        }
        if sources is not None:
            settings |= {
                "Dir::Etc::sourcelist": f"{folder}/sources.list",
                "Dir::Etc::sourceparts": "/dev/null",
            }
            _write(f"{folder}/sources.list", "".join(f"{line}\n" for line in sources))
        _write(f"{folder}/status", "")
        _write(f"{folder}/apt.conf", "".join(f'{name} "{value}";\n' for name, value in settings.items()))

    def update(self) -> None:
        self.apt("apt-get", "-qq", "update")

    def fetch(self, tree: str, *names: str, release: str, leave_out: Sequence[str] = ()) -> None:
        """Unpacks packages into ``tree``, with all that they depend on."""
        wanted = ("--download-only", "--no-install-recommends", f"--target-release={release}", *names)
        self.apt("apt-get", "-qq", "--yes", "install", *wanted)
        for path in sorted(glob.glob(f"{self._archives}/*.deb")):
            unpack(path, tree, *(f"--exclude={pattern}" for pattern in leave_out))
            os.remove(path)

    def download(self, name: str) -> str:
        """The file of one package alone."""
        self.apt("apt-get", "-qq", "download", name)
        (path,) = glob.glob(f"{self.folder}/*.deb")
        return path

    def apt(self, *command: str) -> str:
        """What the command says. Raises `CannotBuildError` with its last word."""
        environment = {**os.environ, "APT_CONFIG": f"{self.folder}/apt.conf", "LC_ALL": "C.UTF-8"}
        done = subprocess.run(
            command, cwd=self.folder, env=environment, capture_output=True, text=True, check=False
        )
        if done.returncode:
            last = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
            raise CannotBuildError(f"Debian's packages cannot be had: {' '.join(command[:3])}: {last}")
        return done.stdout


def debian_sources(targets: str, extra: str) -> list[str]:
    """Debian's own among the sources that apt has lists of, and ``extra``, a release such as its backports.

    Args:
        targets: What ``apt-get indextargets`` says in the format `TARGETS`.
        extra: Is taken from where the release that it belongs to comes from.

    Returns:
        Lines of a file ``sources.list``. Raises `CannotBuildError` where Debian's release is not among them.
    """
    options = f"[signed-by={KEYRING}] " if os.path.exists(KEYRING) else ""
    sources = set[tuple[str, str, str]]()
    for line in targets.splitlines():
        origin, uri, release, component = line.split("|")
        if origin == "Debian":
            sources.add((uri, release, component))
            if release == extra.removesuffix("-backports"):
                sources.add((uri, extra, component))
    if not any(release == extra for _, release, _ in sources):
        raise CannotBuildError(f"apt has no source of Debian's {extra.removesuffix('-backports')} here")
    return [f"deb {options}{' '.join(source)}" for source in sorted(sources)]


class Kernel(NamedTuple):
    package: str
    version: str

    @property
    def numbers(self) -> list[int]:
        return [int(number) for number in re.findall(r"\d+", self.version)]


def newest_kernels(shown: str) -> dict[str, Kernel]:
    """The newest kernel of each series, such as 6.12, by what ``apt-cache show`` says of its metapackages."""
    newest: dict[str, Kernel] = {}
    for package, version in re.findall(
        r"^Depends:.*?\b(linux-image-\d\S+) \(= ([^)]+)\)", shown, re.MULTILINE
    ):
        kernel = Kernel(package, version)
        series = ".".join(map(str, kernel.numbers[:2]))
        newest[series] = max(newest.get(series, kernel), kernel, key=lambda known: known.numbers)
    return newest


def unpack(package: str, tree: str, *options: str) -> None:
    """Unpacks the files of a package; links to folders that are there already stay."""
    with subprocess.Popen(["dpkg-deb", "--fsys-tarfile", package], stdout=subprocess.PIPE) as tar:
        keep = ("--keep-directory-symlink", "--no-same-owner", "--wildcards")
        subprocess.run(["tar", "-x", "-C", tree, *keep, *options], stdin=tar.stdout, check=True)


def _write(path: str, text: str) -> None:
    with open(path, "w", encoding="utf-8") as file:
        file.write(text)
