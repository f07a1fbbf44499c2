"""Files and folders that root puts in place: whole or not at all, and nowhere that others chose."""

from __future__ import annotations

import errno
import os
import stat
from typing import TYPE_CHECKING, Any

import pytest

from rpi_clusterhat.setup.placing import place_file, place_folder
from rpi_clusterhat.setup.steps import SetupError
from tests.setup.worlds import OWN

if TYPE_CHECKING:
    from pathlib import Path

ME = os.geteuid()


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "root"
    for folder in (root, root / "etc", root / "etc/x.d", root / "run"):
        folder.mkdir()
        folder.chmod(0o755)
    return root


def place(root: Path, path: str, text: str = "new\n") -> None:
    place_file(str(root), ME, path, text)


def test_a_file_is_made_with_its_folders(root: Path) -> None:
    place(root, "/etc/deep/er.d/some.conf", "text é\n")
    file = root / "etc/deep/er.d/some.conf"
    assert file.read_text(encoding="utf-8") == "text é\n"
    assert stat.S_IMODE(file.stat().st_mode) == 0o644
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o755
    assert os.listdir(file.parent) == ["some.conf"]


def test_a_file_is_replaced_and_keeps_its_mode(root: Path) -> None:
    file = root / "etc/x.d/some.conf"
    file.write_text("old, and longer\n")
    file.chmod(0o600)
    before = file.stat().st_ino
    place(root, "/etc/x.d/some.conf")
    assert (file.read_text(), stat.S_IMODE(file.stat().st_mode)) == ("new\n", 0o600)
    assert file.stat().st_ino != before  # another file took its place: nobody ever saw half of one


def test_a_mode_of_the_callers_makes_no_difference(root: Path) -> None:
    former = os.umask(0o077)
    try:
        place(root, "/etc/new.d/some.conf")
    finally:
        os.umask(former)
    assert stat.S_IMODE((root / "etc/new.d/some.conf").stat().st_mode) == 0o644
    assert stat.S_IMODE((root / "etc/new.d").stat().st_mode) == 0o755


def test_bytes_that_are_no_text_survive(root: Path) -> None:
    place(root, "/etc/x.d/config.txt", b"caf\xe9\n".decode("utf-8", "surrogateescape"))
    assert (root / "etc/x.d/config.txt").read_bytes() == b"caf\xe9\n"


@pytest.mark.parametrize("call", ["write", "fsync", "rename"])
@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS, errno.EIO])
def test_what_cannot_be_written_stays_as_it_was(
    root: Path, monkeypatch: pytest.MonkeyPatch, call: str, number: int
) -> None:
    file = root / "etc/x.d/some.conf"
    file.write_text("old\n")

    def fail(*_: Any, **__: Any) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, call, fail)
    with pytest.raises(SetupError, match=f"cannot write /etc/x.d/some.conf: {os.strerror(number)}"):
        place(root, "/etc/x.d/some.conf")
    monkeypatch.undo()
    assert file.read_text() == "old\n"
    assert os.listdir(file.parent) == ["some.conf"]


def test_a_draft_that_a_killed_one_left_is_no_hindrance(root: Path, tmp_path: Path) -> None:
    target = tmp_path / "precious"
    target.write_text("kept")
    (root / "etc/x.d/some.conf.rpi-clusterhat-new").symlink_to(target)
    place(root, "/etc/x.d/some.conf")
    assert os.listdir(root / "etc/x.d") == ["some.conf"]
    assert target.read_text() == "kept"


@pytest.mark.parametrize("kind", ["link", "folder", "fifo"])
def test_a_place_that_is_taken_is_left_alone(root: Path, tmp_path: Path, kind: str) -> None:
    target = tmp_path / "precious"
    target.write_text("kept")
    place_ = root / "etc/x.d/some.conf"
    match kind:
        case "link":
            place_.symlink_to(target)
        case "folder":
            place_.mkdir()
        case _:
            os.mkfifo(place_)
    with pytest.raises(SetupError, match=r"/etc/x\.d/some\.conf is .*remove it first"):
        place(root, "/etc/x.d/some.conf")
    assert target.read_text() == "kept"
    assert os.listdir(root / "etc/x.d") == ["some.conf"]


# Folders that others can write to --------------------------------------------------------------------------


@pytest.mark.parametrize("mode", [0o777, 0o1777, 0o757])
def test_nothing_is_written_where_others_can_write(root: Path, mode: int) -> None:
    (root / "etc/x.d").chmod(mode)
    with pytest.raises(SetupError, match="others than root can write"):
        place(root, "/etc/x.d/some.conf")
    assert os.listdir(root / "etc/x.d") == []


def test_nor_below_such_a_folder(root: Path) -> None:
    (root / "etc").chmod(0o777)
    with pytest.raises(SetupError, match="others than root can write"):
        place(root, "/etc/x.d/some.conf")
    with pytest.raises(SetupError, match="others than root can write"):
        place_folder(str(root), ME, "/etc/x.d/locks", 0o2770, OWN)


def test_nor_where_a_folder_is_another_users(root: Path) -> None:
    with pytest.raises(SetupError, match="others than root can write"):
        place_file(str(root), ME + 1, "/etc/x.d/some.conf", "new\n")


def test_a_link_of_roots_is_followed_and_one_in_a_folder_of_others_is_not(root: Path) -> None:
    (root / "usr").mkdir(mode=0o755)
    (root / "usr/etc").mkdir(mode=0o755)
    (root / "etc/y.d").symlink_to("../usr/etc")
    (root / "etc/z.d").symlink_to("/usr/etc")
    place(root, "/etc/y.d/one.conf")
    place(root, "/etc/z.d/two.conf")
    assert sorted(os.listdir(root / "usr/etc")) == ["one.conf", "two.conf"]
    open_ = root / "shared"
    open_.mkdir()
    open_.chmod(0o1777)
    (open_ / "lead").symlink_to("/usr/etc")
    (root / "etc/w.d").symlink_to("/shared/lead")  # root's link, by way of one that anybody may change
    with pytest.raises(SetupError, match="others than root can write"):
        place(root, "/etc/w.d/three.conf")
    assert sorted(os.listdir(root / "usr/etc")) == ["one.conf", "two.conf"]


def test_links_in_a_circle_come_to_an_end(root: Path) -> None:
    (root / "etc/a.d").symlink_to("b.d")
    (root / "etc/b.d").symlink_to("a.d")
    with pytest.raises(SetupError, match="cannot write"):
        place(root, "/etc/a.d/some.conf")


# The lock folder -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("there", [False, True])
def test_a_folder_gets_its_mode_and_group(root: Path, there: bool) -> None:
    folder = root / "run/locks"
    if there:
        folder.mkdir(mode=0o700)
        (folder / "held.lock").touch()
    place_folder(str(root), ME, "/run/locks", 0o2770, OWN)
    found = folder.stat()
    assert (stat.S_IMODE(found.st_mode), found.st_gid, found.st_uid) == (0o2770, OWN, ME)
    assert os.listdir(folder) == (["held.lock"] if there else [])


@pytest.mark.parametrize("kind", ["link", "file"])
def test_what_is_no_folder_is_left_alone(root: Path, tmp_path: Path, kind: str) -> None:
    target = tmp_path / "precious"
    target.mkdir(mode=0o700)
    if kind == "link":
        (root / "run/locks").symlink_to(target)
    else:
        (root / "run/locks").touch()
    with pytest.raises(SetupError, match="cannot make /run/locks"):
        place_folder(str(root), ME, "/run/locks", 0o2770, OWN)
    assert stat.S_IMODE(target.stat().st_mode) == 0o700
