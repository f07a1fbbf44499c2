"""The solder link that write-protects the EEPROM, for this library and for the vendor's tool."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING

import pytest

from rpi_clusterhat import Cluster, errors
from rpi_clusterhat.testing import FakeClock, FakeExpander, FakeSMBus
from tests.backends.i2c.bench import DIRECTION, IDLE, OUTPUT, POLARITY, PULL_UPS, Bench, opening_of
from tests.backends.i2c.vendor import VendorsTool

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

WP = 0x80
FIRST = {offset: bool(IDLE >> offset & 1) for offset in range(8)}


def board(chip: str = "XRA1200P", *, link: bool = False, pins: int = 0x00) -> FakeExpander:
    """A HAT that has just got power: nothing but the link, where it is closed, is at line 7."""
    return FakeExpander(chip, link=link, floating=WP, pins=pins)


def ours(expander: FakeExpander, folder: Path) -> Bench:
    """Set up by this library."""
    bench = Bench(expander, opening_of(folder))
    bench.backend.read()
    if not bench.backend.is_set_up:
        bench.backend.set_up(FIRST)
    bench.count()
    return bench


def vendors(expander: FakeExpander, folder: Path) -> Bench:
    """Set up by the vendor's tool."""
    VendorsTool(FakeSMBus({0x20: expander}))
    return ours(expander, folder)


def drives_against_the_link(expander: FakeExpander) -> bool:
    return 7 in expander.stuck and not (expander.output | expander.direction) & WP


class TestSetUp:
    def test_with_an_open_link(self, tmp_path: Path) -> None:
        bench = Bench(board(), opening_of(tmp_path))
        bench.backend.set_up(FIRST)
        assert bench.expander.log == [
            (POLARITY, 0x00),
            (PULL_UPS, 0x7F),
            (OUTPUT, IDLE),
            (DIRECTION, 0x00),
        ]
        assert bench.count()[0] <= 22, "what the vendor's tool takes"

    def test_with_a_closed_link(self, tmp_path: Path) -> None:
        bench = Bench(board(link=True), opening_of(tmp_path))
        bench.backend.set_up(FIRST)
        assert bench.expander.log == [
            (POLARITY, 0x00),
            (PULL_UPS, 0x7F),
            (PULL_UPS, 0xFF),
            (OUTPUT, IDLE),
            (DIRECTION, 0x00),
        ]

    def test_a_pca9554_has_no_pull_ups_to_be_left(self, tmp_path: Path) -> None:
        bench = Bench(board("PCA9554"), opening_of(tmp_path))
        bench.backend.set_up(FIRST)
        assert bench.expander.log == [(POLARITY, 0x00), (OUTPUT, IDLE), (DIRECTION, 0x00)]

    @pytest.mark.parametrize("link", [True, False])
    @pytest.mark.parametrize("pins", [0x00, 0x0F])
    def test_registers_are_left_as_by_the_vendors_tool(
        self, tmp_path: Path, pins: int, *, link: bool
    ) -> None:
        theirs, own = board(link=link, pins=pins), board(link=link, pins=pins)
        VendorsTool(FakeSMBus({0x20: theirs}))
        ours_after_power_up(own, tmp_path)
        assert (own.output, own.direction, own.pull_ups) == (theirs.output, theirs.direction, theirs.pull_ups)

    def test_a_line_that_is_not_used_is_not_driven_against_the_link(self, tmp_path: Path) -> None:
        """Such as that of a v3 board, where another program left a zero in the output register."""
        bench = Bench(board(link=True), opening_of(tmp_path))
        bench.expander.output = 0x00
        bench.backend.set_up({0: True})
        assert (bench.expander.output, bench.expander.levels) == (0x81, 0x81)

    def test_a_low_level_is_refused_before_anything_is_driven(self, tmp_path: Path) -> None:
        bench = Bench(board(link=True), opening_of(tmp_path))
        with pytest.raises(errors.UnsupportedError, match="solder link"):
            bench.backend.set_up({**FIRST, 7: False})
        assert (bench.expander.output, bench.expander.direction, bench.expander.pull_ups) == (
            0xFF,
            0xFF,
            0xFF,
        )

    @pytest.mark.parametrize("at", range(1, 15))
    @pytest.mark.parametrize("link", [True, False])
    def test_power_lost_on_the_way_leaves_no_wrong_answer(
        self, tmp_path: Path, at: int, *, link: bool
    ) -> None:
        bench = Bench(board(link=link), opening_of(tmp_path))
        bench.expander.before(bench.expander.lose_power, at=at)
        try:
            bench.backend.set_up(FIRST)
        except errors.PowerLostError:
            assert bench.expander.direction == 0xFF
        if bench.expander.direction == 0x00:
            assert bool(bench.expander.pull_ups & WP) is link
            assert bench.expander.levels == IDLE

    @pytest.mark.parametrize("at", range(1, 15))
    @pytest.mark.parametrize("times", [1, 2])
    @pytest.mark.parametrize("applied", range(3))
    @pytest.mark.parametrize("link", [True, False])
    def test_a_new_try_finds_the_link_as_it_is(
        self, tmp_path: Path, at: int, times: int, applied: int, *, link: bool
    ) -> None:
        bench = Bench(board(link=link), opening_of(tmp_path))
        bench.expander.fail(errno.ETIMEDOUT, at=at, times=times, applied=applied)
        bench.backend.set_up(FIRST)
        assert bool(bench.expander.pull_ups & WP) is link
        assert (bench.expander.levels, bench.expander.direction) == (IDLE, 0x00)


def ours_after_power_up(expander: FakeExpander, folder: Path) -> None:
    """As a program does it that the board's data tell what to do first."""

    def open_bus(_: object) -> FakeSMBus:
        return FakeSMBus({0x20: expander})

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("rpi_clusterhat_i2c.bus.open_bus", open_bus)
        with Cluster.open("2.3", lock_dir=str(folder), clock=FakeClock(), config="/dev/null") as hat:
            hat.init()


@pytest.mark.parametrize("set_up", [ours, vendors])
class TestSwitchingProtection:
    def test_a_closed_link_is_not_driven_against(
        self, tmp_path: Path, set_up: Callable[[FakeExpander, Path], Bench]
    ) -> None:
        bench = set_up(board(link=True), tmp_path)
        with pytest.raises(errors.UnsupportedError, match=r"solder link .* closed.* register 04 .*0x20"):
            bench.backend.write({7: False})
        assert bench.count() == (2, 0)
        assert not VendorsTool(bench.bus).unprotect()
        assert bench.expander.writes == 0
        assert not drives_against_the_link(bench.expander)
        bench.backend.write({7: True, 0: True})
        assert bench.expander.levels == IDLE | 1

    @pytest.mark.parametrize("chip", ["XRA1200P", "PCA9554"])
    def test_with_an_open_link_both_tools_switch_it(
        self, tmp_path: Path, set_up: Callable[[FakeExpander, Path], Bench], chip: str
    ) -> None:
        bench = set_up(board(chip), tmp_path)
        bench.backend.write({7: False})
        assert bench.expander.levels == IDLE & ~WP
        bench.backend.write({7: True})
        assert VendorsTool(bench.bus).unprotect()
        assert bench.expander.levels == IDLE & ~WP

    def test_a_pca9554_cannot_tell_and_a_closed_link_is_a_stuck_line(
        self, tmp_path: Path, set_up: Callable[[FakeExpander, Path], Bench]
    ) -> None:
        bench = set_up(board("PCA9554", link=True), tmp_path)
        with pytest.raises(errors.StuckLineError, match=r"7 \(wp\) high"):
            bench.backend.write({7: False})
        assert not drives_against_the_link(bench.expander)


class TestWhichChip:
    """A register that is refused is one that does not exist only if it is refused each time."""

    @pytest.mark.parametrize("code", [errno.EREMOTEIO, errno.EIO, errno.ENXIO])
    @pytest.mark.parametrize("times", [1, 2])
    def test_a_bus_that_fails_makes_no_pca9554(self, tmp_path: Path, code: int, times: int) -> None:
        bench = ours(board(link=True), tmp_path)
        for i in range(times):
            bench.expander.fail(code, at=2 + 2 * i)
        with pytest.raises(errors.UnsupportedError):
            bench.backend.write({7: False})

    @pytest.mark.parametrize("code", [errno.EREMOTEIO, errno.ETIMEDOUT, errno.ENODEV])
    def test_a_bus_that_fails_to_the_end_is_told(self, tmp_path: Path, code: int) -> None:
        bench = ours(board(link=True), tmp_path)
        bench.expander.fail(code, at=2, times=None)
        with pytest.raises(errors.BusError) as caught:
            bench.backend.write({7: False})
        assert caught.value.errno == code
        assert bench.expander.writes == 0

    @pytest.mark.parametrize("code", [errno.EREMOTEIO, errno.EIO, errno.ENXIO])
    def test_a_pca9554_refuses_in_the_words_of_its_controller(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int
    ) -> None:
        bench = Bench(board("PCA9554"), opening_of(tmp_path))
        read = FakeSMBus.read_byte_data

        def refuse(self: FakeSMBus, i2c_addr: int, register: int) -> int:
            try:
                return read(self, i2c_addr, register)
            except OSError:
                raise OSError(code, "refused") from None

        monkeypatch.setattr(FakeSMBus, "read_byte_data", refuse)
        bench.backend.set_up(FIRST)
        bench.backend.write({7: False})
        assert bench.expander.levels == IDLE & ~WP

    def test_a_chip_that_answers_for_register_04_with_another_has_none(self, tmp_path: Path) -> None:
        """One that looks at the lowest two bits only."""
        expander = board("PCA9554")
        transfer = expander.transfer

        def alias(messages: list[bytes | int]) -> list[bytes]:
            first = messages[0]
            assert isinstance(first, bytes)
            return transfer([bytes([first[0] & 3]) + first[1:], *messages[1:]])

        expander.transfer = alias  # type: ignore[method-assign, assignment]
        bench = Bench(expander, opening_of(tmp_path))
        bench.backend.set_up(FIRST)
        assert (expander.levels, expander.direction) == (IDLE, 0x00)


def test_a_loss_of_power_is_not_taken_for_a_link(tmp_path: Path) -> None:
    bench = ours(board(), tmp_path)
    bench.backend.read()
    bench.expander.lose_power()
    with pytest.raises(errors.PowerLostError):
        bench.backend.write({7: False})
