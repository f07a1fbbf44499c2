"""What a user is told about a permission that was refused."""

from __future__ import annotations

import os
import re
import stat
from typing import TYPE_CHECKING

import pytest

from rpi_clusterhat.hardware import permission
from rpi_clusterhat.hardware.permission import Person, permission_remedy

if TYPE_CHECKING:
    from pathlib import Path

STRANGER = Person(4001, "ann", {4001}, {4001})
NEW_MEMBER = STRANGER._replace(database={4001, 5000})
MEMBER = NEW_MEMBER._replace(groups={4001, 5000})
NAMELESS = Person(4001, None, {4001}, ())
ROOT = Person(0, "root", {0}, {0})

JOIN = r"^join the group 5000 \('sudo usermod -aG 5000 ann'\) and log in again$"
ANEW = "^ann is in the group 5000, but was not when this session began: log in again, or run 'newgrp 5000'$"
SETUP = "'sudo ([^ ]*/)?rpi-clusterhat setup' lets the group gpio use it$"
OTHERWISE = r"so something else forbids it: a container needs the device \('docker run --device'\), "
FACTS = "^it has the owner 4000, the group {} and the mode {}"
NO_HELP = f"{FACTS.format(5000, '0660')}, and this process is in that group, {OTHERWISE}"


@pytest.fixture(autouse=True)
def machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """No group and no user has a name: the numbers are shown."""

    def nobody(number: int) -> None:
        raise KeyError(number)

    monkeypatch.setattr("grp.getgrgid", nobody)
    monkeypatch.setattr("pwd.getpwuid", nobody)


def remedy(
    monkeypatch: pytest.MonkeyPatch, person: Person, gid: int, mode: int, needed: int = os.R_OK | os.W_OK
) -> str:
    """For a file of user 4000 that has this group and mode."""
    found = os.stat_result((stat.S_IFCHR | mode, 1, 1, 1, 4000, gid, 0, 0, 0, 0))
    monkeypatch.setattr(permission, "_person", lambda: person)
    monkeypatch.setattr("os.stat", {"/dev/i2c-1": found}.__getitem__)
    return permission_remedy("/dev/i2c-1", "gpio", needed)


@pytest.mark.parametrize(
    ("person", "gid", "mode", "text"),
    [
        (STRANGER, 5000, 0o660, JOIN),
        (NEW_MEMBER, 5000, 0o660, ANEW),
        (NAMELESS, 5000, 0o660, r"^give this container the group 5000 \('docker run --group-add 5000'\)$"),
        (
            MEMBER,
            5000,
            0o660,
            f"{FACTS.format(5000, '0660')}, and this process is in that group, {OTHERWISE}",
        ),
        (STRANGER, 5000, 0o666, f"{FACTS.format(5000, '0666')}, {OTHERWISE}"),
        (STRANGER, 0, 0o660, f"{FACTS.format(0, '0660')}: {SETUP}"),
        (MEMBER, 0, 0o600, f"{FACTS.format(0, '0600')}: {SETUP}"),
        (MEMBER, 5000, 0o640, f"{FACTS.format(5000, '0640')}: {SETUP}"),
        (MEMBER, 5000, 0o606, f"{FACTS.format(5000, '0606')}: {SETUP}"),
        (ROOT, 0, 0o660, f"^this process is root already, {OTHERWISE}"),
        (STRANGER._replace(uid=4000), 5000, 0o066, ": 'chmod u[+]rwX /dev/i2c-1'$"),
        (STRANGER._replace(uid=4000), 5000, 0o600, OTHERWISE),
    ],
)
def test_each_cause_has_a_remedy_of_its_own(
    monkeypatch: pytest.MonkeyPatch, person: Person, gid: int, mode: int, text: str
) -> None:
    assert_matches(text, remedy(monkeypatch, person, gid, mode))


def test_a_file_that_is_only_written_need_not_be_readable(monkeypatch: pytest.MonkeyPatch) -> None:
    assert_matches(JOIN, remedy(monkeypatch, STRANGER, 5000, 0o220, os.W_OK))
    assert_matches(SETUP, remedy(monkeypatch, STRANGER, 5000, 0o220))


def test_a_folder_that_hides_a_file_is_named_with_what_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "locks"
    folder.mkdir(mode=0o700)
    (folder / "rail").touch(mode=0o666)
    real = os.stat

    def hidden(path: str) -> os.stat_result:
        if path == str(folder / "rail"):
            raise PermissionError(13, "Permission denied", path)
        return real(path)

    monkeypatch.setattr("os.stat", hidden)
    monkeypatch.setattr(permission, "_person", lambda: STRANGER)
    text = permission_remedy(str(folder / "rail"), "gpio")
    assert text.startswith(
        f"the folder {folder} has the owner {os.getuid()}, the group {os.getgid()} and the mode 07"
    )
    assert_matches(SETUP, text)


def test_a_file_that_cannot_be_made_is_its_folders_matter(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "locks"
    folder.mkdir()
    folder.chmod(0o755)
    monkeypatch.setattr(permission, "_person", lambda: STRANGER)
    text = permission_remedy(str(folder / "rail"), "gpio")
    assert text.startswith(f"the folder {folder} has the owner ")
    assert "the mode 0755: " in text


def assert_matches(pattern: str, text: str) -> None:
    assert re.search(pattern, text), text
