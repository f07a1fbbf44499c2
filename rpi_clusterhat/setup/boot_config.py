"""I2C in ``config.txt``, from which a Raspberry Pi's firmware takes what hardware to switch on.

Source: the documentation of ``config.txt`` and of device tree parameters on raspberrypi.com.
"""

from __future__ import annotations

__all__ = ["BLOCK", "enables_i2c", "with_i2c"]

BLOCK = "[all]\n# Added by 'rpi-clusterhat setup': the I2C bus of the header.\ndtparam=i2c_arm=on\n"
"""What is added at the end, where it counts after everything else and for each model."""

_NAMES = ("i2c_arm", "i2c", "i2c1")
_ON = ("", "on", "true", "yes", "1")


def enables_i2c(text: str) -> bool:
    """Whether the firmware switches bus 1 on, by what the file says for all models."""
    enabled = False
    everywhere = True
    for line in map(str.strip, text.splitlines()):
        if line.startswith("["):
            everywhere = line == "[all]"
        if not everywhere:
            continue
        key, _, value = line.partition("=")
        parameters = [part.strip().partition("=") for part in value.split(",")]
        if key in ("dtparam", "device_tree_param"):
            for name, _, setting in parameters:
                if name in _NAMES:
                    enabled = setting in _ON
        elif key == "dtoverlay" and parameters[0][0] == "i2c-gpio":  # the bus as software, on any pins
            enabled = enabled or ("bus", "=", "1") in parameters
    return enabled


def with_i2c(text: str) -> str:
    """Returns the file's text with the bus switched on."""
    return f"{text}{'' if text.endswith(chr(10)) or not text else chr(10)}{BLOCK}"
