"""Options, buses and what opening says of them."""

from __future__ import annotations

import errno
import os
import sys
from typing import TYPE_CHECKING

import pytest

import rpi_clusterhat_i2c
from rpi_clusterhat import errors
from rpi_clusterhat.hardware import permission
from rpi_clusterhat.hardware.backend import Line, SupportsSetUp
from rpi_clusterhat.hardware.discovery import load, parse_options
from rpi_clusterhat.testing import FakeExpander, FakeSMBus
from rpi_clusterhat_i2c.backend import I2CBackend
from rpi_clusterhat_i2c.bus import open_bus
from tests.backends.i2c.bench import ADDRESS, IDLE, opening_of, ready

if TYPE_CHECKING:
    from pathlib import Path


# What i2cdetect shows as 23 may be meant, or 0x17: where another chip may be, which would be written to.
NO_ADDRESSES: list[object] = [
    *("23", "32", "20", " 23", "0x17", "0x78", "0x", "0x1_0", "2", "x20", "0b100000"),
    *(23, 20, 0, -32),
]


class TestOpening:
    @pytest.fixture
    def expander(self, monkeypatch: pytest.MonkeyPatch) -> FakeExpander:
        expander = ready()
        self.buses: list[FakeSMBus] = []

        def open_bus(bus: int | str) -> FakeSMBus:
            self.buses.append(FakeSMBus({ADDRESS: expander}))
            return self.buses[-1]

        monkeypatch.setattr("rpi_clusterhat_i2c.bus.open_bus", open_bus)
        return expander

    def test_the_plugin_is_found_and_opened(self, expander: FakeExpander, tmp_path: Path) -> None:
        plugin = load("i2c")
        options = parse_options("i2c", plugin, {}, "here")
        backend = plugin.open(opening_of(tmp_path, options=options))
        assert isinstance(backend, SupportsSetUp)
        assert backend.holds_levels
        assert repr(backend) == "<I2CBackend the expander at 0x20 on /dev/i2c-1 direction=?>"
        backend.write({0: True})
        assert expander.levels == IDLE | 1
        backend.close()
        assert repr(backend) == "<I2CBackend the expander at 0x20 on /dev/i2c-1 closed direction=0x00>"
        assert self.buses[0].closed
        with pytest.raises(errors.ClosedError):
            backend.set_up({})

    def test_lines_that_an_expander_does_not_have(self, expander: FakeExpander, tmp_path: Path) -> None:
        with pytest.raises(errors.DeviceNotFoundError, match=r"0 to 7, not 26 \(p4\)"):
            load("i2c").open(opening_of(tmp_path, lines=(Line(0, "p1"), Line(26, "p4"))))
        assert self.buses[0].closed

    @pytest.mark.parametrize(
        ("text", "value"),
        [("1", 1), ("0x0b", 11), ("/dev/i2c-22", "/dev/i2c-22"), ("/dev/board", "/dev/board")],
    )
    def test_a_bus_is_a_number_or_a_device(self, text: str, value: object) -> None:
        assert parse_options("i2c", rpi_clusterhat_i2c.plugin, {"bus": text}, "here")["bus"] == value

    @pytest.mark.parametrize(
        ("option", "text", "allowed"),
        [
            ("bus", "one", "0 to 1023, or a device such as"),
            ("bus", "-1", "0 to 1023"),
            *(("address", given, "from 0x20 to 0x27, written with 0x") for given in NO_ADDRESSES),
        ],
    )
    def test_what_options_may_be(self, option: str, text: object, allowed: str) -> None:
        with pytest.raises(errors.SettingError, match=allowed):
            parse_options("i2c", rpi_clusterhat_i2c.plugin, {option: text}, "here")

    @pytest.mark.parametrize("given", ["0x23", "0X23", 0x23])
    def test_an_address(self, given: object) -> None:
        assert parse_options("i2c", rpi_clusterhat_i2c.plugin, {"address": given}, "here")["address"] == 0x23

    def test_a_bus_without_a_number_is_named_by_its_device(self, tmp_path: Path) -> None:
        opening = opening_of(tmp_path, options={"bus": "/dev/board"})
        backend = I2CBackend(FakeSMBus({}), opening)
        with pytest.raises(errors.TransientBusError, match="on /dev/board did not answer") as caught:
            backend.read()
        assert "i2cdetect" not in str(caught.value)

    def test_checking_reads_and_closes(self, expander: FakeExpander) -> None:
        options = {"bus": 1, "address": ADDRESS}
        rpi_clusterhat_i2c.plugin.check(options)
        assert (expander.transactions, expander.writes) == (1, 0)
        expander.fail(errno.ENODEV)
        with pytest.raises(errors.DeviceNotFoundError, match="0x20 on /dev/i2c-1 is gone"):
            rpi_clusterhat_i2c.plugin.check(options)
        expander.fail(errno.EBUSY)
        with pytest.raises(errors.LineBusyError):
            rpi_clusterhat_i2c.plugin.check(options)
        assert all(bus.closed for bus in self.buses)

    def test_a_missing_package_is_told_with_the_remedy(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(sys.modules, "smbus2", None)
        with pytest.raises(errors.MissingDependencyError, match=r"pip install 'smbus2>=0.4.3'") as caught:
            open_bus(1)
        assert isinstance(caught.value.__cause__, ImportError)

    def test_a_missing_bus_is_told_with_those_there_are(self, tmp_path: Path) -> None:
        missing = tmp_path / "i2c-1"
        with pytest.raises(
            errors.DeviceNotFoundError,
            match=r"i2c-1: enable I2C with 'sudo .*rpi-clusterhat setup'.*; there is no other bus",
        ):
            open_bus(str(missing))
        (tmp_path / "i2c-3").touch()
        (tmp_path / "i2c-2").touch()
        with pytest.raises(errors.DeviceNotFoundError, match=r"there are .*/i2c-2, .*/i2c-3: choose"):
            open_bus(str(missing))
        with pytest.raises(errors.DeviceNotFoundError, match="there is no other bus"):
            open_bus(str(tmp_path / "nowhere" / "i2c-1"))

    def test_a_container_must_be_given_the_bus(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(permission, "CONTAINER_MARKS", (str(tmp_path),))
        missing = tmp_path / "i2c-1"
        with pytest.raises(errors.DeviceNotFoundError, match=f"docker run --device {missing}'"):
            open_bus(str(missing))
        monkeypatch.setattr(permission, "CONTAINER_MARKS", (str(missing),))
        with pytest.raises(errors.DeviceNotFoundError, match=r"setup'; there is no other bus$"):
            open_bus(str(missing))

    def test_a_file_that_is_no_bus(self, tmp_path: Path) -> None:
        (tmp_path / "file").touch()
        with pytest.raises(errors.DeviceNotFoundError, match="file is no I2C bus"):
            open_bus(str(tmp_path / "file"))

    @pytest.mark.parametrize(
        ("code", "expected", "text"),
        [
            (errno.EACCES, errors.AccessDeniedError, "open /dev/i2c-1: remedy: i2c 6"),
            (errno.EMFILE, errors.BackendUnavailableError, "cannot open /dev/i2c-1: Too many open files"),
        ],
    )
    def test_a_bus_that_may_not_be_opened(
        self,
        monkeypatch: pytest.MonkeyPatch,
        remedies: None,
        code: int,
        expected: type[Exception],
        text: str,
    ) -> None:
        def refuse(self: object, bus: object) -> None:
            raise OSError(code, os.strerror(code))

        monkeypatch.setattr("smbus2.SMBus.open", refuse)
        with pytest.raises(expected, match=text) as caught:
            open_bus(1)
        assert type(caught.value) is expected


def test_two_boards_of_a_cluster_are_never_one_expander(tmp_path: Path) -> None:
    first = opening_of(tmp_path)
    I2CBackend(FakeSMBus({ADDRESS: ready()}), first)
    with pytest.raises(errors.SettingError, match="two boards of this cluster use the expander at 0x20"):
        I2CBackend(
            FakeSMBus({ADDRESS: ready()}), first.replaced(options={"bus": "/dev/i2c-1", "address": ADDRESS})
        )
