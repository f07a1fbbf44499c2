"""Whatever a machine is like: a plan that was carried out leaves nothing to do, and breaks nothing."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hypothesis import given, settings
from hypothesis import strategies as st

from rpi_clusterhat.setup.steps import SetupError
from tests.setup.worlds import LOCKS, OWN, TOOLS, World

if TYPE_CHECKING:
    from collections.abc import Mapping

RULES = (
    "",
    'SUBSYSTEM=="gpio", GROUP="gpio"\nSUBSYSTEM=="i2c-dev", GROUP="i2c"\n',
    'SUBSYSTEM=="gpio", GROUP="dialout"\n',
    'KERNEL=="i2c-[0-9]*", GROUP="i2c"\n',
    'SUBSYSTEM=="gpio", GROUP="nobody-has-it"\n',
    'SUBSYSTEM=="gpio", RUN+="/bin/chgrp -R gpio /sys%p"\n',
)
MACHINES = st.fixed_dictionaries(
    {
        "tools": st.sets(st.sampled_from(TOOLS)).map(lambda tools: {*tools, "groupadd", "usermod"}),
        "pi": st.booleans(),
        "udevd": st.booleans(),
        "groups": st.sets(st.sampled_from(["gpio", "i2c"])),
        "rules": st.sampled_from(RULES),
        "config": st.sampled_from([None, "", "dtparam=i2c_arm=on\n", "[pi4]\ndtparam=i2c_arm=on"]),
        "adapter": st.booleans(),
        "loads": st.booleans(),
        "sysfs": st.booleans(),
        "chips": st.integers(0, 2),
        "locks": st.sampled_from([None, 0o700, 0o777, 0o2770]),
        "buses": st.sampled_from([(), (1,), (2,), (1, 2)]),
        "users": st.sets(st.sampled_from(["alice", "bob"])),
    }
)


def _world(root: Path, like: Mapping[str, Any]) -> World:
    world = World(root, tools=like["tools"], pi=like["pi"])
    world.group_names |= {name: OWN if name == "gpio" else 77200 for name in like["groups"]}
    if not like["udevd"]:
        (root / "run/udev/control").unlink()
    if like["rules"]:
        world.file("etc/udev/rules.d/50-some.rules", like["rules"])
    config = root / "boot/firmware/config.txt"
    config.unlink() if like["config"] is None else config.write_text(like["config"])
    if like["adapter"]:
        world.folder("sys/bus/i2c/devices/i2c-1")
    if like["loads"]:
        world.file("etc/modules", "i2c-dev\n")
    if like["chips"] and like["sysfs"]:
        world.folder("sys/class/gpio/gpiochip512")
        world.device("sys/class/gpio/export")
    for number in range(like["chips"]):
        world.device(f"dev/gpiochip{number}")
    if like["locks"] is not None:
        world.folder(LOCKS[1:]).chmod(like["locks"])
    return world


@settings(max_examples=60)
@given(MACHINES)
def test_what_is_planned_leaves_nothing_to_plan(like: Mapping[str, Any]) -> None:
    root = Path(tempfile.mkdtemp(prefix="world-"))
    root.chmod(0o755)
    try:
        world = _world(root, like)
        users, buses = sorted(like["users"]), like["buses"]
        before = {path: path.read_bytes() for path in root.rglob("*") if path.is_file()}
        first = world.plan(*users, buses=buses)
        left = world.set_up(*users, buses=buses)
        if left.steps:  # a bus that came shows who may open it: then a second time is the last
            assert any("switch on I2C" in step.what or "i2c-dev" in step.what for step in first.steps)
            left = world.set_up(*users, buses=buses)
        assert left.steps == ()
        folder = (root / LOCKS[1:]).stat()
        assert (folder.st_mode & 0o7777, folder.st_gid) == (0o2770, OWN)
        for user in users:
            assert "gpio" in world.users[user]
        if like["udevd"] and "udevadm" in like["tools"]:
            assert "root" not in world.device_groups.values()
        for path, text in before.items():
            assert path.read_bytes().startswith(text)
    except SetupError as error:
        raise AssertionError(like) from error
    finally:
        shutil.rmtree(root)
