"""What ``config.txt`` says of I2C."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rpi_clusterhat.setup.boot_config import BLOCK, enables_i2c, with_i2c


@pytest.mark.parametrize(
    "text",
    [
        "dtparam=i2c_arm=on",
        "dtparam=i2c=on",
        "dtparam=i2c1=on",
        "dtparam=i2c_arm",
        "  dtparam=i2c_arm=on  ",
        "dtparam=i2c_arm=yes,i2c_arm_baudrate=400000",
        "dtparam=spi=on,i2c_arm=on",
        "device_tree_param=i2c_arm=1",
        "dtparam=i2c_arm=off\ndtparam=i2c_arm=on",
        "[pi4]\nover_voltage=2\n[all]\ndtparam=i2c_arm=on",
        "dtoverlay=i2c-gpio,bus=1,i2c_gpio_sda=2,i2c_gpio_scl=3",
        "dtparam=i2c_arm=on\n[pi5]\ndtparam=i2c_arm=off",
    ],
)
def test_on(text: str) -> None:
    assert enables_i2c(f"# first\n{text}\n")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "#dtparam=i2c_arm=on",
        "dtparam=i2c_arm=off",
        "dtparam=i2c_arm=on\ndtparam=i2c_arm=off",
        "dtparam=i2c_vc=on",
        "dtparam=i2c_arm_baudrate=400000",
        "dtparam=spi=on",
        "[pi5]\ndtparam=i2c_arm=on",
        "[all]\n[pi5]\ndtparam=i2c_arm=on",
        "[none]\ndtparam=i2c_arm=on",
        "dtoverlay=i2c-gpio,bus=3",
        "dtoverlay=i2c-rtc,ds3231,i2c1",
    ],
)
def test_off(text: str) -> None:
    assert not enables_i2c(f"# first\n{text}\n")


LINES = st.sampled_from(
    [*("[all]", "[pi4]", "[none]", "dtparam=i2c_arm=off", "#dtparam=i2c_arm=on", "dtparam=i2c=on", "", "x")]
)


@given(st.lists(LINES), st.sampled_from(["", "\n"]))
def test_once_switched_on_it_is_on_and_nothing_else_has_changed(lines: list[str], end: str) -> None:
    text = "\n".join(lines) + end
    assert enables_i2c(with_i2c(text))
    assert with_i2c(text).startswith(text)
    assert with_i2c(text).splitlines() == text.splitlines() + BLOCK.splitlines()
