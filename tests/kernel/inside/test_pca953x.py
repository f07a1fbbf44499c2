"""The backend gpiod on the kernel's own driver for the expander."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import pytest

from rpi_clusterhat import AccessDeniedError, Cluster, LineBusyError, TransientBusError
from rpi_clusterhat.hardware.backend import SupportsSetUp
from tests.kernel.inside.banks import GpiodOnPca953x, RawExpander
from tests.kernel.inside.people import process, run_as
from tests.kernel.inside.pulled_tests import PulledTests

if TYPE_CHECKING:
    from collections.abc import Iterator
    from multiprocessing.connection import Connection


class TestGpiodOnPca953x(PulledTests):
    bank = GpiodOnPca953x()


@pytest.fixture
def bank() -> Iterator[GpiodOnPca953x]:
    bank = GpiodOnPca953x()
    bank.reset()
    yield bank
    bank.remove()


def test_no_output_register_is_read_as_a_level(bank: GpiodOnPca953x) -> None:
    """Reset leaves ones in the output register, and none of them may come to a pin."""
    bank.unset()
    with bank.watch() as driven:
        backend = bank.open()
        assert not any(backend.read().values())
        assert isinstance(backend, SupportsSetUp)
        backend.set_up(dict.fromkeys((line.offset for line in bank.lines), False))
        backend.write({1: True})
        backend.close()
    assert driven() == [(1, True)]


def test_raw_access_names_the_driver_that_holds_the_address(bank: GpiodOnPca953x) -> None:
    raw = RawExpander()
    backend = raw.open()
    for call in (backend.read, lambda: backend.write({0: True})):
        with pytest.raises(LineBusyError, match=r"pca953x.*gpiod.*1-0020"):
            call()
    backend.close()
    assert bank.outside() == dict.fromkeys(bank.offsets, False)


def test_only_members_of_the_group_may_open_the_chip(bank: GpiodOnPca953x) -> None:
    def switch() -> None:
        backend = bank.open()
        backend.write({0: True})
        backend.close()

    run_as("alice", switch)
    assert bank.outside()[0]
    with pytest.raises(AccessDeniedError, match=r"/dev/gpiochip\d.* group gpio"):
        run_as("mallory", bank.open)


@pytest.mark.parametrize("count", [1, 2])
def test_bus_errors_that_pass(bank: GpiodOnPca953x, count: int) -> None:
    backend = bank.open()
    bank.bus.fail(count)
    assert not any(backend.read().values())
    bank.bus.fail(count)
    backend.write({0: True, 2: True})
    assert bank.outside() == {0: True, 1: False, 2: True, 3: False}
    backend.close()


def test_programs_that_take_turns_at_the_lines(bank: GpiodOnPca953x) -> None:
    """Lines are requested for a call only, and who finds them taken waits for a moment."""

    def work(offset: int, pipe: Connection) -> list[bool]:
        backend = bank.open()
        pipe.recv()
        found: list[bool] = []
        for i in range(40):
            backend.write({offset: i % 2 == 0})
            found.append(backend.read()[offset])
        backend.write({offset: True})
        backend.close()
        return found

    bank.bus.delay(100)
    with process("alice", partial(work, 0)) as alice, process("bob", partial(work, 3)) as bob:
        alice.tell()
        bob.tell()
        assert alice.hear() == bob.hear() == [True, False] * 20
    assert bank.outside() == {0: True, 1: False, 2: False, 3: True}


@pytest.mark.parametrize("backend", ["gpiod", "sysfs"])
def test_a_loss_of_power_that_the_driver_does_not_notice(bank: GpiodOnPca953x, backend: str) -> None:
    """The driver goes by what it remembers of the registers, and would switch p1 on together with p2."""
    with Cluster.open("2.3", backend=backend, options=bank.options, spacing=0.05) as hat:
        hat.on("p1", "p3", "p4")
        bank.bus.first.power_cycle()
        assert [node.powered for node in hat] == [False, False, False, False]
        hat.alert.on()
        assert bank.outside() == dict.fromkeys(bank.offsets, False)
        hat.on("p2")
        assert bank.outside() == {0: False, 1: True, 2: False, 3: False}
        assert [node.powered for node in hat] == [False, True, False, False]


def test_sysfs_drives_pins_that_are_inputs(bank: GpiodOnPca953x) -> None:
    bank.make_input(0, True)
    with Cluster.open("2.3", backend="sysfs", options=bank.options, spacing=0.05) as hat:
        assert [node.powered for node in hat] == [True, False, False, False]
        hat.on("p1")
        bank.pull(0, False)
        assert bank.outside() == {0: True, 1: False, 2: False, 3: False}
    bank.make_input(1, False)
    with Cluster.open("2.3", backend="sysfs", options=bank.options, spacing=0.05) as hat:
        hat.off("p2")
        bank.pull(1, True)
    assert bank.outside() == {0: True, 1: False, 2: False, 3: False}


def test_bus_errors_that_stay(bank: GpiodOnPca953x) -> None:
    bank.preset({0: True})
    backend = bank.open()
    before = bank.outside()
    bank.bus.fail(-1)
    for call in (backend.read, lambda: backend.write({1: True})):
        with pytest.raises(TransientBusError):
            call()
    bank.bus.fail(0)
    assert bank.outside() == before
    assert before.items() <= backend.read().items()
    backend.write({1: True})
    assert bank.outside() == {**before, 1: True}
    backend.close()
