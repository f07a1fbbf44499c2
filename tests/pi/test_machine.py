"""What the emulated Pi is made of, and what is said where it cannot be had."""

from __future__ import annotations

import os
import platform
import shutil
import stat
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from tests.built.once import CANNOT, CannotBuildError
from tests.pi.machine import building, cpio
from tests.pi.machine.packages import Kernel, debian_sources, newest_kernels

if TYPE_CHECKING:
    from pathlib import Path

EMULATED = os.path.join(os.path.dirname(__file__), "emulated")


def test_backports_come_from_where_the_release_comes_from() -> None:
    targets = (
        "Debian|http://one/debian/|bookworm|main\n"
        "Debian|http://one/debian/|bookworm|main\n"
        "Debian|http://two/debian-security/|bookworm-security|main\n"
        "Stranger|http://three/|bookworm|main\n"
    )
    sources = [f"deb {' '.join(line.split()[-3:])}" for line in debian_sources(targets, "bookworm-backports")]
    assert sources == [
        "deb http://one/debian/ bookworm main",
        "deb http://one/debian/ bookworm-backports main",
        "deb http://two/debian-security/ bookworm-security main",
    ]


def test_a_machine_without_debians_release() -> None:
    with pytest.raises(CannotBuildError, match="no source of Debian's trixie"):
        debian_sources("Debian|http://one/debian/|bookworm|main\n", "trixie-backports")


def test_the_newest_kernel_of_each_series() -> None:
    shown = "".join(
        f"Package: linux-image-arm64\nVersion: {version}\nDepends: {package} (= {version})\n\n"
        for package, version in (
            ("linux-image-6.1.0-9-arm64", "6.1.99-1"),
            ("linux-image-6.1.0-56-arm64", "6.1.192-2"),
            ("linux-image-6.12.95+deb12-arm64", "6.12.95-1~bpo12+1"),
        )
    )
    assert newest_kernels(shown) == {
        "6.1": Kernel("linux-image-6.1.0-56-arm64", "6.1.192-2"),
        "6.12": Kernel("linux-image-6.12.95+deb12-arm64", "6.12.95-1~bpo12+1"),
    }


def test_an_archive_holds_files_folders_links_and_devices(tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "tool").write_bytes(b"abcde")
    (tmp_path / "bin" / "tool").chmod(0o755)
    (tmp_path / "sbin").symlink_to("bin")
    archive = cpio.device("dev/urandom", 1, 9) + cpio.pack(str(tmp_path))
    held = _entries(archive)
    assert held["dev/urandom"] == (stat.S_IFCHR | 0o600, (1, 9), b"")
    assert stat.S_ISDIR(held["bin"][0])
    assert held["bin/tool"] == (stat.S_IFREG | 0o755, (0, 0), b"abcde")
    assert stat.S_ISLNK(held["sbin"][0])
    assert held["sbin"][2] == b"bin"


def _entries(archive: bytes) -> dict[str, tuple[int, tuple[int, int], bytes]]:
    """Source of the format: Linux, Documentation/driver-api/early-userspace/buffer-format.rst."""
    held: dict[str, tuple[int, tuple[int, int], bytes]] = {}
    at = 0
    while at < len(archive):
        assert archive[at : at + 6] == b"070701"
        fields = [int(archive[i : i + 8], 16) for i in range(at + 6, at + 110, 8)]
        name = archive[at + 110 : at + 110 + fields[11] - 1].decode()
        data = (at + 110 + fields[11] + 3) // 4 * 4
        held[name] = fields[1], (fields[9], fields[10]), archive[data : data + fields[6]]
        at = (data + fields[6] + 3) // 4 * 4
    return held


def test_what_is_said_where_there_is_no_debian(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def no_release() -> dict[str, str]:
        raise FileNotFoundError

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(shutil, "which", {"tar": "/bin/tar"}.get)
    monkeypatch.setattr(platform, "freedesktop_os_release", no_release)
    assert building.main() == CANNOT
    said = capsys.readouterr().err
    assert "a Raspberry Pi cannot be emulated here" in said
    assert "no apt-get, dpkg-deb here" in said
    assert not os.path.exists(building.default_place())


@pytest.mark.slow
@pytest.mark.parametrize(("required", "code", "outcome"), [("0", 0, "skipped"), ("1", 1, "error")])
def test_without_a_machine_its_tests_are_skipped_unless_it_is_required(
    tmp_path: Path, required: str, code: int, outcome: str
) -> None:
    environment = {
        **os.environ,
        "XDG_CACHE_HOME": str(tmp_path),
        "CLUSTERHAT_TEST_REQUIRE_PI": required,
    }
    ran = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", EMULATED],
        cwd=building.ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == code, ran.stdout
    assert outcome in ran.stdout.splitlines()[-1]
    assert "make pi" in ran.stdout
