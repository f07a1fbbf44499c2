"""The expander that tests stand on: it must answer as the datasheets say."""

from __future__ import annotations

import errno
import threading

import pytest
from smbus2 import i2c_msg

from rpi_clusterhat.testing import FakeExpander, FakeSMBus

INPUT, OUTPUT, POLARITY, DIRECTION, PULL_UPS = range(5)
ADDRESS = 0x20


def bus_of(expander: FakeExpander, *, combines: bool = False) -> FakeSMBus:
    return FakeSMBus({ADDRESS: expander}, combines=combines)


@pytest.mark.parametrize("chip", ["PCA9554", "XRA1200P"])
def test_after_power_up_all_pins_are_inputs_and_outputs_would_be_high(chip: str) -> None:
    bus = bus_of(FakeExpander(chip, pins=0x5A))
    values = [bus.read_byte_data(ADDRESS, register) for register in range(4)]
    assert values == [0x5A, 0xFF, 0x00, 0xFF]


def test_the_chips_differ_in_register_04() -> None:
    xra, pca = bus_of(FakeExpander("XRA1200P")), bus_of(FakeExpander("PCA9554"))
    assert [xra.read_byte_data(ADDRESS, register) for register in range(4, 0x0B)] == [
        0xFF,
        0,
        0,
        0,
        0,
        0,
        0xFF,
    ]
    xra.write_byte_data(ADDRESS, PULL_UPS, 0x0F)
    assert xra.read_byte_data(ADDRESS, PULL_UPS) == 0x0F
    for call in (
        lambda: pca.read_byte_data(ADDRESS, PULL_UPS),
        lambda: pca.write_byte_data(ADDRESS, PULL_UPS, 0),
        lambda: xra.read_byte_data(ADDRESS, 0x0B),
    ):
        with pytest.raises(OSError) as caught:
            call()
        assert caught.value.errno == errno.EREMOTEIO


def test_an_unknown_chip_is_refused() -> None:
    with pytest.raises(ValueError, match="PCA9554, XRA1200P"):
        FakeExpander("MCP23008")


def test_pins_show_the_output_where_it_drives_and_the_outside_elsewhere() -> None:
    expander = FakeExpander(pins=0b1100_1100)
    expander.output, expander.direction = 0b1010_1010, 0b1111_0000
    assert expander.levels == 0b1100_1010
    expander.stuck = {0: True, 1: False}
    assert expander.levels == 0b1100_1001
    assert bus_of(expander).read_byte_data(ADDRESS, INPUT) == 0b1100_1001


def test_an_input_that_nothing_drives_shows_its_pull_up() -> None:
    xra, pca = (FakeExpander(chip, pins=0xFF, floating=0xC0) for chip in ("XRA1200P", "PCA9554"))
    assert (xra.pull_ups, xra.levels) == (pca.pull_ups, pca.levels) == (0xFF, 0xFF)
    bus_of(xra).write_byte_data(ADDRESS, PULL_UPS, 0x40)
    assert (xra.pull_ups, xra.levels) == (0x40, 0x7F)
    xra.output, xra.direction = 0x80, 0x7F
    assert xra.levels == 0xFF


@pytest.mark.parametrize("direction", [0x00, 0xFF])
def test_a_link_ties_pin_7_high(direction: int) -> None:
    expander = FakeExpander("XRA1200P", floating=0x80, link=True)
    expander.output, expander.direction = 0x00, direction
    bus_of(expander).write_byte_data(ADDRESS, PULL_UPS, 0x00)
    assert expander.levels == 0x80


def test_polarity_inverts_only_what_is_read_of_inputs() -> None:
    expander = FakeExpander(pins=0xF0)
    expander.output, expander.direction, expander.polarity = 0x0A, 0xF0, 0xFF
    assert bus_of(expander).read_byte_data(ADDRESS, INPUT) == 0x0A
    assert expander.levels == 0xFA


@pytest.mark.parametrize(("chip", "register"), [("PCA9554", 0), ("XRA1200P", 0), ("XRA1200P", 7)])
def test_read_only_registers_stay(chip: str, register: int) -> None:
    expander = FakeExpander(chip)
    bus = bus_of(expander)
    bus.write_byte_data(ADDRESS, register, 0xFF)
    assert bus.read_byte_data(ADDRESS, register) == 0
    assert expander.log == [(register, 0xFF)]


def test_losing_power_takes_every_register_back() -> None:
    expander = FakeExpander("XRA1200P", pins=0x03)
    bus = bus_of(expander)
    for register in range(1, 0x0B):
        bus.write_byte_data(ADDRESS, register, 0x55)
    expander.lose_power()
    values = [bus.read_byte_data(ADDRESS, register) for register in range(0x0B)]
    assert values == [0x03, 0xFF, 0, 0xFF, 0xFF, 0, 0, 0, 0, 0, 0xFF]


def test_a_combined_transaction_is_one() -> None:
    expander = FakeExpander()
    expander.direction = 0x00
    answer = i2c_msg.read(ADDRESS, 1)
    messages = (i2c_msg.write(ADDRESS, [OUTPUT, 0x81]), i2c_msg.write(ADDRESS, [INPUT]), answer)
    bus_of(expander, combines=True).i2c_rdwr(*messages)
    assert list(bytes(answer)) == [0x81]
    assert (expander.transactions, expander.reads, expander.writes) == (1, 1, 1)
    assert expander.log == [(OUTPUT, 0x81)]


def test_more_bytes_go_to_the_same_register() -> None:
    expander = FakeExpander()
    bus_of(expander).i2c_rdwr(i2c_msg.write(ADDRESS, [OUTPUT, 0x01, 0x02]))
    assert expander.log == [(OUTPUT, 0x01), (OUTPUT, 0x02)]
    assert (expander.output, expander.polarity) == (0x02, 0x00)


@pytest.mark.parametrize("combines", [True, False])
def test_only_the_last_message_may_be_a_read(combines: bool) -> None:
    expander = FakeExpander()
    early = (i2c_msg.write(ADDRESS, [INPUT]), i2c_msg.read(ADDRESS, 1), i2c_msg.write(ADDRESS, [OUTPUT, 0]))
    with pytest.raises(OSError) as caught:
        bus_of(expander, combines=combines).i2c_rdwr(*early)
    assert caught.value.errno == errno.EOPNOTSUPP
    assert expander.transactions == 0


@pytest.mark.parametrize("last", [i2c_msg.read(ADDRESS, 1), i2c_msg.write(ADDRESS, [DIRECTION, 0])])
def test_a_second_write_ends_in_an_error_and_the_first_has_taken_effect(last: i2c_msg) -> None:
    """As on the controller of a Raspberry Pi."""
    expander = FakeExpander()
    with pytest.raises(OSError) as caught:
        bus_of(expander).i2c_rdwr(
            i2c_msg.write(ADDRESS, [OUTPUT, 0x81]), i2c_msg.write(ADDRESS, [INPUT]), last
        )
    assert caught.value.errno == errno.EIO
    assert (expander.output, expander.direction) == (0x81, 0xFF)
    assert expander.log == [(OUTPUT, 0x81)]


def test_a_write_and_a_read_are_a_pair_on_every_controller() -> None:
    expander = FakeExpander(pins=0x5A)
    answer = i2c_msg.read(ADDRESS, 1)
    bus_of(expander).i2c_rdwr(i2c_msg.write(ADDRESS, [INPUT]), answer)
    assert list(bytes(answer)) == [0x5A]


def test_nothing_answers_at_another_address_or_on_a_closed_bus() -> None:
    bus = bus_of(FakeExpander())
    with pytest.raises(OSError) as caught:
        bus.read_byte_data(0x21, INPUT)
    assert caught.value.errno == errno.EREMOTEIO
    bus.close()
    bus.close()
    assert "closed" in repr(bus)
    with pytest.raises(OSError) as caught:
        bus.write_byte_data(ADDRESS, OUTPUT, 0)
    assert caught.value.errno == errno.EBADF


def outcomes(expander: FakeExpander, times: int) -> list[int | None]:
    bus, seen = bus_of(expander), list[int | None]()
    for _ in range(times):
        try:
            bus.read_byte_data(ADDRESS, INPUT)
        except OSError as error:
            seen.append(error.errno)
        else:
            seen.append(None)
    return seen


def test_faults_come_when_they_are_due() -> None:
    expander = FakeExpander()
    expander.fail(errno.EIO, at=2, times=2)
    expander.fail(errno.ETIMEDOUT, at=5)
    assert outcomes(expander, 6) == [None, errno.EIO, errno.EIO, None, errno.ETIMEDOUT, None]
    assert (expander.transactions, expander.reads) == (6, 3)


def test_a_fault_that_stays_ends_when_it_is_healed() -> None:
    expander = FakeExpander()
    expander.fail(times=None, at=2)
    assert outcomes(expander, 4) == [None, 121, 121, 121]
    expander.heal()
    assert outcomes(expander, 1) == [None]


def test_a_transaction_may_fail_after_it_took_effect() -> None:
    expander = FakeExpander()
    bus = bus_of(expander)
    expander.fail(applied=1)
    with pytest.raises(OSError):
        bus.write_byte_data(ADDRESS, OUTPUT, 0x00)
    assert expander.output == 0x00
    expander.fail(applied=0)
    with pytest.raises(OSError):
        bus.write_byte_data(ADDRESS, OUTPUT, 0x11)
    assert expander.output == 0x00


def test_counts_begin_anew_and_what_is_due_stays_due() -> None:
    expander = FakeExpander()
    calls: list[str] = []
    outcomes(expander, 3)
    expander.fail(errno.EIO, at=2)
    expander.before(lambda: calls.append("now"), at=2)
    expander.reset_counts()
    assert (expander.transactions, expander.reads, expander.writes, expander.log) == (0, 0, 0, [])
    assert outcomes(expander, 1) == [None]
    assert calls == []
    assert outcomes(expander, 2) == [errno.EIO, None]
    assert calls == ["now"]


def test_the_outside_acts_between_transactions_even_from_another_thread() -> None:
    expander = FakeExpander()
    expander.direction = 0x00
    bus, other = bus_of(expander), bus_of(expander)

    def act() -> None:
        thread = threading.Thread(target=other.write_byte_data, args=(ADDRESS, OUTPUT, 0x0F))
        thread.start()
        thread.join(timeout=10)
        assert not thread.is_alive()

    expander.before(act, at=2)
    assert bus.read_byte_data(ADDRESS, OUTPUT) == 0xFF
    assert bus.read_byte_data(ADDRESS, OUTPUT) == 0x0F
    assert expander.transactions == 3


def test_its_state_is_in_its_repr() -> None:
    expander = FakeExpander(pins=0x03)
    assert repr(expander) == "<FakeExpander PCA9554 levels=0x03 output=0xff direction=0xff transactions=0>"
    assert repr(bus_of(expander)) == "<FakeSMBus 0x20>"
