"""The history of boots: whatever its file holds, whoever writes to it, and however that ended."""

from __future__ import annotations

import fcntl
import json
import logging
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from rpi_clusterhat import SettingError
from rpi_clusterhat.nodes import boots
from rpi_clusterhat.nodes.boots import RECORDS, BootHistory, BootRecord, default_path
from tests.nodes.servers import LONG

quick = settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])

times = st.floats(0, 1e12).map(lambda value: round(value, 3))
records = st.builds(
    BootRecord,
    node=st.text(max_size=20),
    at=times,
    seconds=times,
    outcome=st.sampled_from(["ready", "failed", "lost"]),
    reason=st.text(max_size=100),
)


def one(number: int, node: str = "p1") -> BootRecord:
    return BootRecord(node, 1000.0 + number, 20.0, "ready", "lease")


def line(record: BootRecord) -> bytes:
    return json.dumps({field: getattr(record, field) for field in record.__match_args__}).encode() + b"\n"


def filled(path: Path, count: int) -> BootHistory:
    path.write_bytes(b"".join(line(one(i)) for i in range(count)))
    return BootHistory(path)


@quick
@given(st.lists(records, max_size=8))
def test_what_was_added_is_read(kept: list[BootRecord]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "a", "b", "boots.jsonl")
        history = BootHistory(path)
        assert history.records() == ()
        for record in kept:
            history.add(record)
        for reader in (history, BootHistory(path)):
            assert reader.records() == tuple(kept)
            for node in {record.node for record in kept}:
                assert reader.records(node) == tuple(record for record in kept if record.node == node)


@quick
@given(st.binary(max_size=300), st.lists(records, min_size=1, max_size=4), st.binary(max_size=300))
@example(b'{"a":' + b"[" * 4000 + b"\n", [one(1)], b"{")
@example(b'{"node":"p1","at":NaN,"seconds":1,"outcome":"ready","reason":""}\n', [one(1)], b"")
@example(b'{"node":"p1","at":1' + b"0" * 1000 + b',"seconds":1,"outcome":"","reason":""}\n', [one(1)], b"")
@example(b'{"node":"p1","at":true,"seconds":1,"outcome":"ready","reason":""}\n', [one(1)], b"\x00\xff\xfe")
@example(b'{"node":"p1","at":1,"seconds":-1,"outcome":"ready","reason":""}\n', [one(1)], b'{"node":"p1"}\n')
@example(b'{"node":["p1"],"at":1,"seconds":1,"outcome":{},"reason":null}\n', [one(1)], b"{}\n")
def test_any_bytes_around_records_are_passed_over(
    before: bytes, kept: list[BootRecord], after: bytes
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "boots.jsonl")
        path.write_bytes(before + b"\n" + b"".join(map(line, kept)) + after)
        history = BootHistory(path)
        assert history.records() == tuple(kept)
        history.add(one(7))
        assert history.records() == (*kept, one(7))
        assert path.read_bytes().startswith(before)


@quick
@given(st.lists(records, min_size=1, max_size=4), st.data())
def test_a_file_that_was_cut_off_anywhere_loses_its_last_record_at_most(
    kept: list[BootRecord], data: st.DataObject
) -> None:
    whole = b"".join(map(line, kept))
    length = data.draw(st.integers(0, len(whole)), label="length")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "boots.jsonl")
        path.write_bytes(whole[:length])
        history = BootHistory(path)
        left = history.records()
        sizes = [len(b"".join(map(line, kept[:n]))) for n in range(len(kept) + 1)]
        # Without its line feed a record is whole, too.
        assert left == tuple(kept[: sum(size - 1 <= length for size in sizes[1:])])
        history.add(one(1))
        history.add(one(2))
        assert history.records() == (*left, one(1), one(2))


def test_the_file_is_bounded_and_the_latest_stay(tmp_path: Path) -> None:
    path = tmp_path / "boots.jsonl"
    history = filled(path, 2 * RECORDS - 1)
    path.chmod(0o640)
    history.add(one(5000))
    assert path.read_bytes().count(b"\n") == 2 * RECORDS
    assert len(history.records()) == RECORDS
    history.add(one(5001))
    assert path.read_bytes().count(b"\n") == RECORDS
    found = history.records()
    assert found[-3:] == (one(2 * RECORDS - 2), one(5000), one(5001))
    assert len(found) == RECORDS
    assert path.stat().st_mode & 0o777 == 0o640
    assert os.listdir(tmp_path) == ["boots.jsonl"]


def test_a_link_stays_a_link(tmp_path: Path) -> None:
    real, link = tmp_path / "real", tmp_path / "boots.jsonl"
    filled(real, 2 * RECORDS)
    link.symlink_to(real)
    BootHistory(link).add(one(1))
    assert link.is_symlink()
    assert real.read_bytes().count(b"\n") == RECORDS


def test_no_line_is_long(tmp_path: Path) -> None:
    history = BootHistory(tmp_path / "boots.jsonl")
    history.add(one(1).replaced(reason="x" * 10**6))
    history.add(one(2).replaced(reason="\U0001f600\udc80\n" * 10**5))
    history.add(one(3).replaced(node="\udc80" * 10**5, outcome="\udc80" * 10**5, reason="\udc80" * 10**5))
    assert (tmp_path / "boots.jsonl").stat().st_size < 3 * 5000
    first, second = history.records()[:2]
    assert first == one(1).replaced(reason="x" * 400)
    assert second.reason.startswith("\U0001f600\udc80\n")


def test_a_huge_file_is_read_at_its_end_only_and_made_short(tmp_path: Path) -> None:
    path = tmp_path / "boots.jsonl"
    with path.open("wb") as file:
        file.seek(1 << 33)
        file.write(b"\n" + line(one(1)))
    history = BootHistory(path)
    assert history.records() == (one(1),)
    history.add(one(2))
    assert history.records() == (one(1), one(2))
    assert path.stat().st_size < 300


def test_a_file_of_something_else_is_left_alone(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "syslog"
    path.write_bytes(b"a line of a log\n" * 1000)
    history = BootHistory(path)
    history.add(one(1))
    history.add(one(1))
    assert path.read_bytes() == b"a line of a log\n" * 1000
    assert caplog.messages == [f"the history of boots {path} cannot be written: it holds something else"]


@pytest.mark.parametrize("kind", ["folder", "fifo", "below a file"])
def test_what_cannot_be_used_is_told_once(
    kind: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "boots.jsonl"
    if kind == "folder":
        path.mkdir()
    elif kind == "fifo":
        os.mkfifo(path)
    else:
        path.write_bytes(b"")
        path = path / "boots.jsonl"
    history = BootHistory(path)
    with caplog.at_level(logging.WARNING, "rpi_clusterhat"):
        assert history.records() == ()
        history.add(one(1))
        history.add(one(2))
        assert history.records() == ()
    assert len(caplog.messages) == 1
    assert str(path) in caplog.messages[0]


def test_a_disk_that_is_full_is_told_and_leaves_what_was_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    history = filled(tmp_path / "boots.jsonl", 2 * RECORDS)

    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(boots, "_write", full)
    history.add(one(1))
    monkeypatch.undo()
    assert caplog.messages[0].endswith("cannot be written: No space left on device")
    assert history.records() == tuple(one(i) for i in range(RECORDS, 2 * RECORDS))
    assert os.listdir(tmp_path) == ["boots.jsonl"]


def test_one_that_another_program_keeps_locked_holds_nobody_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(boots, "_PAUSE", 0.0001)
    history = filled(tmp_path / "boots.jsonl", 1)
    with (tmp_path / "boots.jsonl").open("rb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        history.add(one(1))
        assert caplog.messages[0].endswith("cannot be written: another process keeps it locked")
        assert history.records() == (one(0),)
    history.add(one(1))
    assert history.records() == (one(0), one(1))


WRITER = """\
import sys
from rpi_clusterhat.nodes.boots import BootHistory, BootRecord
history = BootHistory(sys.argv[1])
for i in range(int(sys.argv[3])):
    history.add(BootRecord(sys.argv[2], float(i), 1.0, "ready", "lease"))
"""


def test_processes_that_write_at_the_same_time_lose_nothing(tmp_path: Path) -> None:
    """Also while the file is replaced: 100 lines below where that happens, each of three adds 100."""
    path = tmp_path / "boots.jsonl"
    history = filled(path, 2 * RECORDS - 100)
    writers = [
        subprocess.Popen([sys.executable, "-c", WRITER, str(path), name, "100"], stderr=subprocess.PIPE)
        for name in ("a", "b", "c")
    ]
    for writer in writers:
        assert writer.communicate(timeout=LONG)[1] == b""
    for name in ("a", "b", "c"):
        assert [record.at for record in history.records(name)] == [float(i) for i in range(100)]
    assert path.read_bytes().count(b"\n") == RECORDS + 199
    assert os.listdir(tmp_path) == ["boots.jsonl"]


def test_where_it_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/ada")
    for state in (None, "", "relative"):
        if state is None:
            monkeypatch.delenv("XDG_STATE_HOME", raising=False)
        else:
            monkeypatch.setenv("XDG_STATE_HOME", state)
        assert default_path() == "/home/ada/.local/state/rpi-clusterhat/boots.jsonl"
    monkeypatch.setenv("XDG_STATE_HOME", "/var/lib/ada")
    assert BootHistory().path == "/var/lib/ada/rpi-clusterhat/boots.jsonl"


@pytest.mark.parametrize("path", ["", 7, b"boots", "a\0b", Path("x\0")])
def test_what_is_no_path(path: Any) -> None:
    with pytest.raises(SettingError, match="Invalid value for path"):
        BootHistory(path)
