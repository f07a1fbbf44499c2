"""The backend against an expander that loses power and is switched by others, in any order."""

from __future__ import annotations

import errno
import tempfile

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from rpi_clusterhat import errors
from rpi_clusterhat.testing import FakeExpander, FakeSMBus
from rpi_clusterhat_i2c.backend import I2CBackend
from tests.backends.i2c.bench import ADDRESS, DIRECTION, opening_of

levels_of_nodes = st.dictionaries(st.integers(0, 3), st.booleans(), min_size=1)


pins = st.integers(0, 0xFF)


class ExpanderInTheWorld(RuleBasedStateMachine):
    """A backend on an expander that fails, loses its power and is changed by others, against what is true."""

    @initialize(chip=st.sampled_from(["PCA9554", "XRA1200P"]), combines=st.booleans(), level=pins)
    def begin(self, chip: str, level: int, *, combines: bool) -> None:
        self.folder = tempfile.TemporaryDirectory()
        self.expander = FakeExpander(chip, pins=level)
        bus = FakeSMBus({ADDRESS: self.expander}, combines=combines)
        self.backend = I2CBackend(bus, opening_of(self.folder.name))
        self.asked = 0
        """Which outputs may be high: somebody asked for it, and nothing has taken it back since."""
        self.loses = False

    def teardown(self) -> None:
        if hasattr(self, "folder"):
            self.folder.cleanup()

    def lose(self) -> None:
        self.expander.lose_power()
        self.loses = True

    @rule()
    def lose_power(self) -> None:
        self.expander.lose_power()
        self.asked = 0

    @rule(at=st.integers(1, 12))
    def lose_power_in_the_middle(self, at: int) -> None:
        self.expander.before(self.lose, at=at)

    @rule(
        code=st.sampled_from([5, 11, 110, 121]),
        at=st.integers(1, 12),
        times=st.integers(1, 4),
        n=st.integers(0, 2),
    )
    def fail(self, code: int, at: int, times: int, n: int) -> None:
        self.expander.fail(code, at=at, times=times, applied=n)

    @rule(at=st.integers(1, 12))
    def gone(self, at: int) -> None:
        self.expander.fail(errno.ENODEV, at=at)

    @rule(level=pins)
    def jumper(self, level: int) -> None:
        self.expander.pins = level

    @precondition(lambda self: self.expander.direction != 0xFF)
    @rule(bits=pins)
    def others_switch(self, bits: int) -> None:
        self.expander.output = bits
        self.asked = bits

    @precondition(lambda self: self.expander.direction != 0xFF)
    @rule(bits=st.integers(0, 0x0F))
    def others_make_inputs(self, bits: int) -> None:
        self.expander.direction |= bits

    @rule()
    def read(self) -> None:
        self.loses = False
        self.expander.reset_counts()
        try:
            levels = self.backend.read()
        except errors.BusError:
            pass
        else:
            if not self.loses:
                assert levels == {offset: bool(self.expander.levels >> offset & 1) for offset in range(8)}
                assert self.backend.is_set_up is (self.expander.direction != 0xFF)
        assert self.expander.log == []

    @rule(levels=levels_of_nodes)
    def write(self, levels: dict[int, bool]) -> None:
        others = 0xFF & ~sum(1 << offset for offset in levels)
        before, was_set_up = self.expander.output, self.expander.direction != 0xFF
        self.asked |= sum(level << offset for offset, level in levels.items())
        self.loses = False
        self.expander.reset_counts()
        try:
            self.backend.write(levels)
        except errors.PowerLostError:
            assert self.expander.direction == 0xFF
            assert not self.backend.is_set_up
        except errors.BusError:
            self.give_up()
        else:
            for offset, level in levels.items():
                assert bool(self.expander.levels >> offset & 1) is level
                assert self.loses or not self.expander.direction >> offset & 1, "read, and not driven"
            self.asked &= others | sum(level << offset for offset, level in levels.items())
        if not self.loses:
            assert (self.expander.output ^ before) & others == 0
        if not was_set_up:
            assert self.expander.direction == 0xFF, "set up again as if nothing had happened"

    @rule(levels=levels_of_nodes)
    def set_up(self, levels: dict[int, bool]) -> None:
        wanted = {**dict.fromkeys(range(7), False), 7: True, **levels}
        value = sum(level << offset for offset, level in wanted.items())
        if self.expander.direction == 0xFF:
            self.asked |= value
        self.loses = False
        self.expander.reset_counts()
        try:
            self.backend.set_up(wanted)
        except errors.PowerLostError:
            assert self.expander.direction == 0xFF
            assert not self.backend.is_set_up
        except errors.BusError:
            self.give_up()
        else:
            assert self.backend.is_set_up
            if (DIRECTION, 0x00) in self.expander.log and not self.loses:
                assert self.expander.levels == value
                self.asked = value
        if self.loses:
            self.asked |= value

    def give_up(self) -> None:
        """The bus failed to its end. Did power go just before the directions were written, and could that not
        be undone for this reason, then what reset left in the output register is driven."""
        if self.loses:
            self.asked |= self.driven()

    def driven(self) -> int:
        return self.expander.output & ~self.expander.direction & 0xFF

    @invariant()
    def nothing_is_driven_high_that_nobody_asked_for(self) -> None:
        if hasattr(self, "expander"):
            assert self.driven() & ~self.asked == 0


TestExpanderInTheWorld = ExpanderInTheWorld.TestCase


TestExpanderInTheWorld.settings = settings(max_examples=150, stateful_step_count=30, deadline=None)
