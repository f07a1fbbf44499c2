"""Which udev rules count as giving devices to a group."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rpi_clusterhat.setup.rules import group_of, groups_named, opens_sysfs
from rpi_clusterhat.setup.text import shipped

# As several systems have them.
RASPBERRY_PI_OS = r"""
SUBSYSTEM=="input", GROUP="input", MODE="0660"
SUBSYSTEM=="i2c-dev", GROUP="i2c", MODE="0660"
SUBSYSTEM=="gpio", GROUP="gpio", MODE="0660"
SUBSYSTEM=="gpio", ACTION=="add", PROGRAM="/bin/sh -c 'chgrp -R gpio /sys%p && chmod -R g=u /sys%p'"
"""
DEBIAN = 'SUBSYSTEM=="i2c-dev",KERNEL=="i2c-[0-9]*", GROUP="i2c", MODE="0660"\n'


@pytest.mark.parametrize(
    ("text", "group"),
    [
        ("", None),
        (RASPBERRY_PI_OS, "i2c"),
        (DEBIAN, "i2c"),
        ('SUBSYSTEM=="i2c-dev", \\\n  GROUP="plugdev"\n', "plugdev"),
        ('KERNEL=="i2c-[0-9]*",GROUP:="users"\nKERNEL=="i2c-1", GROUP="late"\n', "users"),
        ('KERNEL=="i2c-*", GROUP="early"\nSUBSYSTEM=="i2c-dev", GROUP="late"\n', "late"),
        ('SUBSYSTEM=="spidev|i2c-dev", GROUP="buses"', "buses"),
        ('SUBSYSTEM!="gpio", GROUP="most"', "most"),
        ('ACTION=="add", SUBSYSTEM=="i2c-dev", GROUP="added"', "added"),
        ('ACTION=="remove", SUBSYSTEM=="i2c-dev", GROUP="gone"', None),
        ('# SUBSYSTEM=="i2c-dev", GROUP="comment"', None),
        ('SUBSYSTEM=="i2c-dev", MODE="0666"', None),
        ('SUBSYSTEM=="i2c", GROUP="clients"', None),
        ('KERNEL=="i2c-2", GROUP="another"', None),
        ('SUBSYSTEM=="i2c-dev", ATTRS{idVendor}=="3171", GROUP="one-board"', None),
        ('SUBSYSTEM=="i2c-dev", GROUP=="asked"', None),
        ('GROUP="everything"', None),
        ('SUBSYSTEM=="i2c-dev", ENV{ID}=="1", GROUP="x"\nSUBSYSTEM=="i2c-dev", GROUP="y"', "y"),
    ],
)
def test_the_group_of_a_bus(text: str, group: str | None) -> None:
    assert group_of({"50-some.rules": text}, "i2c-dev", "i2c-1") == group


def test_the_last_file_counts_by_name_not_by_folder() -> None:
    rules = {"99-b.rules": 'KERNEL=="i2c-1", GROUP="b"', "50-a.rules": 'KERNEL=="i2c-1", GROUP="a"'}
    assert group_of(rules, "i2c-dev", "i2c-1") == "b"
    assert groups_named(rules) == {"a", "b"}


@pytest.mark.parametrize(
    ("text", "opens"),
    [
        ("", False),
        (RASPBERRY_PI_OS, True),
        ('SUBSYSTEM=="gpio", RUN+="/bin/chown -R root:gpio /sys/class/gpio"', True),
        ('SUBSYSTEM=="gpio", GROUP="gpio"', False),
        ('SUBSYSTEM=="leds", RUN+="/bin/chgrp video /sys%p/brightness"', False),
        ('# RUN+="/bin/chown -R root:gpio /sys/class/gpio"', False),
    ],
)
def test_who_opens_sysfs(text: str, opens: bool) -> None:
    assert opens_sysfs({"a.rules": text}) is opens


def test_our_own_rules_count() -> None:
    assert group_of({"a": shipped("gpio.rules")}, "gpio", "gpiochip3") == "gpio"
    assert group_of({"a": shipped("i2c.rules")}, "i2c-dev", "i2c-1") == "i2c"
    assert group_of({"a": shipped("gpio.rules")}, "i2c-dev", "i2c-1") is None
    assert opens_sysfs({"a": shipped("gpio-sysfs.rules")})
    assert not opens_sysfs({"a": shipped("gpio.rules")})


@given(st.text(alphabet='ABGROUPKEN=!+:"{}[]*?|\\,# \n%$a1', max_size=200))
def test_whatever_a_file_holds_it_is_read(text: str) -> None:
    """Others' files may hold anything, also what udev itself refuses."""
    assert isinstance(group_of({"a.rules": text}, "gpio", "gpiochip0"), str | None)
    assert isinstance(opens_sysfs({"a.rules": text}), bool)
    assert all(isinstance(name, str) for name in groups_named({"a.rules": text}))
