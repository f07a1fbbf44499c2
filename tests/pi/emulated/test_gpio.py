"""The lines of the header's own chip, with the kernel's pinctrl-bcm2835, read at the chip's registers."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

import pytest

from tests.pi.emulated.commands import (
    ALERT,
    done,
    driven,
    nodes,
    powered,
    release_lines,
    start_holding,
    v1,
)
from tests.pi.machine.booting import Pi

if TYPE_CHECKING:
    from collections.abc import Iterator

HOLDS = "from rpi_clusterhat import Cluster; print(Cluster.open('1.2', {}).holds_levels)"


@pytest.fixture(autouse=True)
def _released(pi: Pi) -> None:
    release_lines(pi)


def _holds(pi: Pi, how: str = "") -> str:
    return done(pi.run("python3", "-c", HOLDS.format(how))).strip()


# gpiod ------------------------------------------------------------------------------------------------------


def test_gpiod_tells_that_this_kernel_drops_levels(pi: Pi) -> None:
    assert _holds(pi, "backend='gpiod'") == "False"


def test_gpiod_status_drives_nothing(pi: Pi) -> None:
    assert powered(v1(pi, "--backend", "gpiod", "status", "--json")) == nodes()
    driven(pi)


def test_gpiod_on_is_refused_before_anything_is_driven(pi: Pi) -> None:
    ran = v1(pi, "--backend", "gpiod", "on", "p1")
    assert ran.code == 1
    assert "on --hold" in ran.errors
    driven(pi)


def test_gpiod_on_holds_until_it_is_ended(pi: Pi) -> None:
    command = start_holding(pi, "--backend", "gpiod", "on", "--hold", "p1", "p3")
    driven(pi, p1=True, p3=True)
    _, code = command.end(signal.SIGTERM)
    assert code == 0
    driven(pi)


def test_gpiod_a_killed_holder_leaves_no_line_driven(pi: Pi) -> None:
    command = start_holding(pi, "--backend", "gpiod", "on", "--hold", "p2")
    driven(pi, p2=True)
    _, code = command.end(signal.SIGKILL)
    assert code == -signal.SIGKILL
    driven(pi)


def test_gpiod_drives_an_input_that_reads_high(pi: Pi) -> None:
    release_lines(pi, p1=1)
    command = start_holding(pi, "--backend", "gpiod", "on", "--hold", "p1")
    driven(pi, p1=True)
    command.end(signal.SIGTERM)


def test_gpiod_off_of_an_input_that_reads_high(pi: Pi) -> None:
    release_lines(pi, p1=1)
    done(v1(pi, "--backend", "gpiod", "off", "p1"))
    driven(pi)
    assert powered(v1(pi, "--backend", "gpiod", "status", "--json")) == nodes()


# sysfs ------------------------------------------------------------------------------------------------------


def test_sysfs_status_on_and_off(pi: Pi) -> None:
    assert powered(v1(pi, "--backend", "sysfs", "status", "--json")) == nodes()
    driven(pi)
    done(v1(pi, "--backend", "sysfs", "on", "p1", "p3"))
    driven(pi, p1=True, p3=True)
    assert powered(v1(pi, "--backend", "sysfs", "status", "--json")) == nodes(1, 3)
    done(v1(pi, "--backend", "sysfs", "off", "p1"))
    driven(pi, p1=False, p3=True)
    done(v1(pi, "--backend", "sysfs", "off", "all"))
    driven(pi, p1=False, p2=False, p3=False, p4=False)


def test_sysfs_all_nodes_and_the_alert_led(pi: Pi) -> None:
    done(v1(pi, "--backend", "sysfs", "on", "all"))
    driven(pi, p1=True, p2=True, p3=True, p4=True)
    done(v1(pi, "--backend", "sysfs", "alert", "on"))
    assert pi.lines(ALERT) == {ALERT: True}
    done(v1(pi, "--backend", "sysfs", "cycle", "--pause", "0.1", "p4"))
    driven(pi, p1=True, p2=True, p3=True, p4=True)


def test_sysfs_drives_an_input_that_reads_high(pi: Pi) -> None:
    release_lines(pi, p1=1, p2=1)
    done(v1(pi, "--backend", "sysfs", "on", "p1"))
    done(v1(pi, "--backend", "sysfs", "off", "p2"))
    driven(pi, p1=True, p2=False)


# No backend is named ----------------------------------------------------------------------------------------


def test_sysfs_is_chosen_where_gpiod_would_drop_levels(pi: Pi) -> None:
    assert _holds(pi) == "True"
    done(v1(pi, "on", "p2"))
    driven(pi, p2=True)
    assert powered(v1(pi, "status", "--json")) == nodes(2)
    done(v1(pi, "off", "p2"))
    driven(pi, p2=False)


def test_a_line_that_sysfs_has_exported_is_refused_by_gpiod(pi: Pi) -> None:
    done(v1(pi, "on", "p2"))
    ran = v1(pi, "--backend", "gpiod", "off", "p2")
    assert ran.code == 1
    assert "exported through sysfs" in ran.errors
    driven(pi, p2=True)


# A kernel that is told to keep outputs ----------------------------------------------------------------------


@pytest.fixture(scope="module")
def keeping(place: str, pi: Pi) -> Iterator[Pi]:
    parameter = "/sys/module/pinctrl_bcm2835/parameters/persist_gpio_outputs"
    if pi.run("python3", "-c", f"open({parameter!r})").code:
        pytest.skip(f"Linux {pi.series} cannot be told to keep outputs")
    with Pi(place, pi.series, "pinctrl_bcm2835.persist_gpio_outputs=1") as keeping:
        yield keeping


def test_gpiod_is_chosen_where_outputs_stay(keeping: Pi) -> None:
    assert _holds(keeping, "backend='gpiod'") == "True"
    done(v1(keeping, "on", "p1", "p4"))
    driven(keeping, p1=True, p4=True)
    assert powered(v1(keeping, "status", "--json")) == nodes(1, 4)
    done(v1(keeping, "--backend", "gpiod", "off", "p1"))
    driven(keeping, p1=False, p4=True)


def test_sysfs_is_chosen_where_outputs_stay_and_it_has_exported_a_line(keeping: Pi) -> None:
    done(v1(keeping, "--backend", "sysfs", "on", "p2"))
    done(v1(keeping, "on", "p3"))
    done(v1(keeping, "off", "p2"))
    assert keeping.lines(13, 19) == {13: False, 19: True}
