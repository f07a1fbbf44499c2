"""Where the lab is built, and what is said where it cannot be."""

from __future__ import annotations

import os
import platform
import shutil
from typing import TYPE_CHECKING

import pytest

from tests.built import kernel
from tests.built.once import CANNOT
from tests.kernel.lab import building

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(autouse=True)
def _no_place_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CLUSTERHAT_TEST_LAB", raising=False)


def _nothing(_tool: str, path: str | None = None) -> None:
    return None


def _only_apt_get(tool: str, path: str | None = None) -> str | None:
    return "/usr/bin/apt-get" if tool == "apt-get" else None


def _cannot(capsys: pytest.CaptureFixture[str], place: Path) -> str:
    assert building.main([str(place)]) == CANNOT
    assert not place.exists()
    return capsys.readouterr().err


def test_another_processor(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(platform, "machine", lambda: "aarch64")
    assert "aarch64" in _cannot(capsys, tmp_path / "lab")


def test_missing_packages_are_named_to_an_ordinary_user(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(platform, "machine", lambda: "x86_64")
    monkeypatch.setattr(shutil, "which", _only_apt_get)
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setattr(kernel, "SOURCES", str(tmp_path / "linux-source-*.tar.xz"))
    said = _cannot(capsys, tmp_path / "lab")
    assert "sudo apt-get install --no-install-recommends bc bison build-essential flex linux-source" in said


def test_no_debian(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(platform, "machine", lambda: "x86_64")
    monkeypatch.setattr(shutil, "which", _nothing)
    assert "no apt-get" in _cannot(capsys, tmp_path / "lab")


def test_the_newest_source_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernel, "SOURCES", str(tmp_path / "linux-source-*.tar.xz"))
    assert kernel.newest_source() is None
    for version in ("6.1", "6.12", "6.9"):
        (tmp_path / f"linux-source-{version}.tar.xz").touch()
    assert kernel.newest_source() == str(tmp_path / "linux-source-6.12.tar.xz")


def test_a_complete_one_is_not_built_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(platform, "machine", lambda: "aarch64")
    (tmp_path / "complete").touch()
    assert building.main([str(tmp_path)]) == 0
    assert capsys.readouterr().out == f"{tmp_path}\n"


def test_the_place_can_be_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", "/elsewhere")
    assert building.default_place().startswith("/elsewhere/rpi-clusterhat/kernel-lab-")
    monkeypatch.setenv("CLUSTERHAT_TEST_LAB", "/said")
    assert building.default_place() == "/said"
