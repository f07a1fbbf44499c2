"""A bus that fails, and others on it."""

from __future__ import annotations

import errno
import os
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from rpi_clusterhat import errors
from rpi_clusterhat.clock import SYSTEM
from rpi_clusterhat.hardware.locks import FileLock, lock_path
from rpi_clusterhat.testing import FakeClock, FakeExpander, FakeSMBus
from rpi_clusterhat_i2c.backend import I2CBackend
from tests.backends.i2c.bench import IDLE, Bench, opening_of, ready

if TYPE_CHECKING:
    from pathlib import Path


class TestFaults:
    @pytest.mark.parametrize("code", [5, 6, 11, 71, 110, 121])
    def test_what_can_pass_is_tried_again(self, bench: Bench, clock: FakeClock, code: int) -> None:
        bench.expander.fail(code, times=2)
        assert bench.backend.read()[7]
        assert len(clock.sleeps) == 2
        assert 0 < clock.sleeps[0] < clock.sleeps[1] <= 0.02

    def test_each_transaction_has_its_own_tries(self, bench: Bench) -> None:
        for at in (1, 2, 4, 5, 7, 8, 10, 12, 15, 16, 18, 19):  # between 10 and 12 it reads the register again
            bench.expander.fail(at=at)
        bench.backend.read()
        bench.backend.write({0: True})
        assert bench.expander.levels == IDLE | 1
        assert bench.count() == (6 + 6 * 2 + 2, 1)

    @pytest.mark.parametrize("code", [5, 6, 11, 71, 110, 121])
    def test_tries_have_an_end(self, bench: Bench, code: int) -> None:
        bench.expander.fail(code, times=None)
        expected = r"0x20 on /dev/i2c-1 did not answer in 3 tries \(.*\).*i2cdetect -y 1"
        with pytest.raises(errors.TransientBusError, match=expected) as caught:
            bench.backend.read()
        assert caught.value.errno == code
        assert isinstance(caught.value.__cause__, OSError)
        assert bench.count() == (3, 0)

    @pytest.mark.parametrize(
        ("code", "expected"),
        [
            (errno.ENODEV, errors.DeviceGoneError),
            (errno.EBUSY, errors.LineBusyError),
            (errno.EINVAL, errors.BusError),
        ],
    )
    def test_what_cannot_pass_is_told_at_once(
        self, bench: Bench, code: int, expected: type[Exception]
    ) -> None:
        bench.expander.fail(code)
        with pytest.raises(expected) as caught:
            bench.backend.read()
        assert type(caught.value) is expected
        assert bench.count() == (1, 0)

    def test_a_kernel_driver_on_the_address_is_named(self, tmp_path: Path) -> None:
        device = tmp_path / "bus/i2c/devices/1-0020"
        device.mkdir(parents=True)
        (device / "driver").symlink_to("../../drivers/pca953x")
        bench = Bench(ready(), opening_of(tmp_path), sysfs=str(tmp_path))
        bench.expander.fail(errno.EBUSY)
        with pytest.raises(errors.LineBusyError, match=r"driver pca953x: .* gpiod .*chip=1-0020"):
            bench.backend.read()

    @pytest.mark.parametrize("applied", range(3))
    @pytest.mark.parametrize("times", [1, 3])
    @pytest.mark.parametrize("at", range(1, 15))
    def test_no_fault_leaves_a_lie(self, tmp_path: Path, at: int, times: int, applied: int) -> None:
        bench = Bench(FakeExpander(pins=0x05), opening_of(tmp_path))
        bench.expander.fail(at=at, times=times, applied=applied)
        wanted = {offset: bool((IDLE | 2) >> offset & 1) for offset in range(8)}
        try:
            bench.backend.set_up(wanted)
        except errors.TransientBusError:
            assert times == 3
            assert bench.expander.levels in (0x05, IDLE | 2)
            bench.expander.heal()
            bench.backend.set_up(wanted)
        assert bench.expander.levels == IDLE | 2
        try:
            bench.backend.write({1: False, 3: True})
        except errors.TransientBusError:
            assert times == 3
            assert bench.expander.levels in (IDLE | 2, IDLE | 8)
            bench.expander.heal()
            bench.backend.write({1: False, 3: True})
        assert bench.expander.levels == IDLE | 8


class TestSharing:
    def test_one_write_does_not_undo_another(self, tmp_path: Path) -> None:
        expander = ready()
        first = Bench(expander, opening_of(tmp_path, SYSTEM))
        second = Bench(expander, opening_of(tmp_path, SYSTEM, options={"bus": "/dev/i2c-1"}))
        first.backend.read()
        second.backend.read()
        thread = threading.Thread(target=second.backend.write, args=({1: True},))

        def meanwhile() -> None:
            thread.start()
            thread.join(timeout=0.05)  # time for it to go wrong in, if nothing holds it back

        expander.before(meanwhile, at=2)
        first.backend.write({0: True})
        thread.join()
        assert expander.levels == IDLE | 0b0011

    def test_many_writes_at_once(self, tmp_path: Path) -> None:
        expander = ready()

        def work(offset: int) -> None:
            backend = Bench(expander, opening_of(tmp_path, SYSTEM)).backend
            for i in range(25):
                backend.write({offset: i % 2 == 0})
                assert backend.read()[offset] is (i % 2 == 0)

        with ThreadPoolExecutor() as threads:
            list(threads.map(work, range(3)))
        assert expander.levels == IDLE | 0b0111

    def test_other_expanders_have_other_locks(self, tmp_path: Path) -> None:
        for options in ({"address": 0x20}, {"address": 0x21}, {"bus": 2}, {"bus": "/dev/i2c-1"}):
            opening = opening_of(tmp_path, options=options)
            I2CBackend(FakeSMBus({0x20: ready(), 0x21: ready()}), opening).write({0: True})
        assert sorted(os.listdir(tmp_path)) == [
            "rpi-clusterhat.i2c-1-20.lock",
            "rpi-clusterhat.i2c-1-21.lock",
            "rpi-clusterhat.i2c-2-20.lock",
        ]

    def test_reading_needs_no_lock_and_writing_does(self, bench: Bench, tmp_path: Path) -> None:
        with FileLock(lock_path(str(tmp_path), "i2c-1-20")).hold():
            bench.backend.read()
            with pytest.raises(errors.LockTimeoutError):
                bench.backend.write({0: True})
            with pytest.raises(errors.LockTimeoutError):
                bench.backend.set_up({})
        assert bench.count() == (2, 0)
