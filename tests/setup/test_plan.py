"""What is found missing on a machine, and that a plan that was carried out leaves nothing to do."""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING

import pytest

from rpi_clusterhat.hardware.lock_files import SharedFile
from rpi_clusterhat.hardware.lock_record import lock_path
from rpi_clusterhat.settings import DEFAULT_LOCK_DIR
from rpi_clusterhat.setup.steps import SetupError
from tests.setup.worlds import LOCKS, OWN, TOOLS, World

if TYPE_CHECKING:
    from pathlib import Path

    from rpi_clusterhat.setup.steps import Plan

GROUPS = ["create the group gpio", "create the group i2c"]
FOLDER = f"have the folder {LOCKS} made, now and at each start"
RULES = ["write udev rules for the GPIO chips", "write udev rules for the I2C buses"]
I2C = [
    "switch on I2C in /boot/firmware/config.txt",
    "load the kernel's module i2c-dev, now and at each start",
]
ALICE = "put alice into the groups gpio and i2c"


def steps(plan: Plan) -> list[str]:
    return [step.what for step in plan.steps]


def test_the_folder_is_where_the_library_looks_for_it(world: World) -> None:
    assert LOCKS == DEFAULT_LOCK_DIR


def test_a_fresh_pi_lacks_all_of_it_and_then_nothing(world: World) -> None:
    world.device("dev/gpiochip0")
    assert steps(world.plan("alice")) == [*GROUPS, FOLDER, *RULES, *I2C, ALICE]
    left = world.set_up("alice")
    assert (steps(left), left.notes) == ([], ())
    assert world.users["alice"] == {"alice", "gpio", "i2c"}
    assert world.device_groups == {"/dev/gpiochip0": "gpio", "/dev/i2c-1": "i2c"}
    assert world.read("boot/firmware/config.txt").endswith(
        "[all]\n# Added by 'rpi-clusterhat setup': the I2C bus of the header.\ndtparam=i2c_arm=on\n"
    )
    assert "i2c-dev" in world.read("etc/modules-load.d/rpi-clusterhat.conf").splitlines()
    assert steps(world.plan("alice", "bob")) == [ALICE.replace("alice", "bob")]


def test_each_step_is_preceded_by_those_that_it_needs(world: World) -> None:
    """Its programs fail where a group, a folder or a rule that they need is not there."""
    world.device("dev/gpiochip0")
    world.set_up("alice", "bob")
    order = [command.split()[0] for command in world.ran]
    assert order.index("groupadd") < order.index("systemd-tmpfiles") < order.index("usermod")
    assert order.index("udevadm") < order.index("dtparam") < order.index("modprobe")


def test_the_lock_folder_is_one_that_the_library_takes(world: World) -> None:
    world.set_up()
    folder = world.root / LOCKS.lstrip("/")
    found = folder.stat()
    assert (stat.S_IMODE(found.st_mode), found.st_gid) == (0o2770, OWN)
    SharedFile(lock_path(str(folder), "rail-main")).close()


def test_raspberry_pi_os_with_i2c_enabled_lacks_only_the_folder(world: World) -> None:
    world.group_names |= {"gpio": OWN, "i2c": 77200}
    world.file(
        "etc/udev/rules.d/99-com.rules",
        'SUBSYSTEM=="i2c-dev", GROUP="i2c", MODE="0660"\nSUBSYSTEM=="gpio", GROUP="gpio", MODE="0660"\n',
    )
    world.file("etc/modules", "# /etc/modules\ni2c-dev\n")
    world.folder("sys/class/i2c-dev")
    world.device("dev/gpiochip0", "gpio")
    world.device("dev/i2c-1", "i2c")
    world.users["alice"] |= {"gpio", "i2c"}
    before = {path: path.read_bytes() for path in world.root.rglob("*") if path.is_file()}
    assert steps(world.plan("alice")) == [FOLDER]
    assert steps(world.set_up("alice")) == []
    written = {path for path in world.root.rglob("*") if path.is_file()} - before.keys()
    assert [path.name for path in written] == ["rpi-clusterhat.conf"]
    assert all(path.read_bytes() == text for path, text in before.items())


def test_a_v1_hat_needs_no_i2c(world: World) -> None:
    world.set_up("alice", buses=())
    assert steps(world.plan("alice", buses=())) == []
    assert world.users["alice"] == {"alice", "gpio"}
    assert "i2c" not in world.group_names
    assert "\ndtparam" not in world.read("boot/firmware/config.txt")


# The lock folder -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fault", ["mode", "entry", "gone", "text"])
def test_a_folder_or_entry_that_is_not_right_is_put_right(world: World, fault: str) -> None:
    world.set_up("alice")
    folder = world.root / LOCKS.lstrip("/")
    entry = world.root / "etc/tmpfiles.d/rpi-clusterhat.conf"
    match fault:
        case "mode":
            folder.chmod(0o777)
        case "entry":
            entry.unlink()
        case "gone":
            folder.rmdir()
        case _:
            entry.write_text(entry.read_text().replace("2770", "0777"))
    assert steps(world.plan("alice")) == [FOLDER]
    assert steps(world.set_up("alice")) == []
    assert stat.S_IMODE(folder.stat().st_mode) == 0o2770
    assert "2770" in entry.read_text()


def test_the_entry_of_a_distribution_is_used(world: World) -> None:
    world.file("usr/lib/tmpfiles.d/clusterhat.conf", f"d {LOCKS} 02770 root gpio -\n")
    world.set_up("alice")
    assert "systemd-tmpfiles --create /usr/lib/tmpfiles.d/clusterhat.conf" in world.ran
    assert not (world.root / "etc/tmpfiles.d").exists()


def test_an_entry_that_an_administrator_has_masked_does_not_count(world: World) -> None:
    world.file("usr/lib/tmpfiles.d/rpi-clusterhat.conf", f"d {LOCKS} 2770 root gpio -\n")
    world.folder("etc/tmpfiles.d")
    (world.root / "etc/tmpfiles.d/rpi-clusterhat.conf").symlink_to(os.devnull)
    with pytest.raises(
        SetupError, match=r"/etc/tmpfiles\.d/rpi-clusterhat\.conf is a symbolic link.*remove it"
    ):
        world.set_up("alice")


@pytest.mark.parametrize("kind", ["link", "file"])
def test_something_else_in_its_place_is_left_alone(world: World, tmp_path: Path, kind: str) -> None:
    place = world.root / LOCKS.lstrip("/")
    if kind == "link":
        place.symlink_to(tmp_path)
    else:
        place.write_text("")
    with pytest.raises(SetupError, match=r"is no folder.*remove it"):
        world.plan("alice")


def test_without_systemd_the_folder_is_made_and_its_line_told(tmp_path: Path) -> None:
    world = World(tmp_path, tools=["addgroup", "modprobe"])
    before = set(world.root.rglob("*"))
    left = world.set_up("alice")
    folder = world.root / LOCKS.lstrip("/")
    assert steps(left) == []
    assert stat.S_IMODE(folder.stat().st_mode) == 0o2770
    assert folder.stat().st_gid == OWN
    assert any(
        f"'install -d -o root -g gpio -m 2770 {LOCKS}' run at each start" in note for note in left.notes
    )
    assert not any("tmpfiles" in str(path) for path in {*world.root.rglob("*")} - before)
    assert world.users["alice"] == {"alice", "gpio", "i2c"}
    folder.chmod(0o2777)
    assert steps(world.plan("alice")) == [f"put right the folder {LOCKS}"]
    assert steps(world.set_up("alice")) == []
    assert stat.S_IMODE(folder.stat().st_mode) == 0o2770


def test_tmpfiles_without_systemd_is_no_proof_that_it_runs_at_each_start(world: World) -> None:
    world.set_up("alice")
    (world.root / "run/systemd/system").rmdir()
    assert any("systemd has not started this machine" in note for note in world.plan("alice").notes)


@pytest.mark.parametrize("tools", [[], ["groupadd"]])
def test_without_the_programs_it_says_what_to_do_by_hand(tmp_path: Path, tools: list[str]) -> None:
    world = World(tmp_path, tools=[*tools, "systemd-tmpfiles"])
    told = "create the group gpio" if not tools else "put alice into gpio and i2c"
    with pytest.raises(SetupError, match=told):
        world.set_up("alice")


# Access ----------------------------------------------------------------------------------------------------


def test_a_system_with_another_group_keeps_it(world: World) -> None:
    rules = 'SUBSYSTEM=="gpio", GROUP="dialout"\nKERNEL=="i2c-[0-9]*", GROUP="dialout"\n'
    world.file("usr/lib/udev/rules.d/60-pi.rules", rules)
    world.device("dev/gpiochip0", "dialout")
    world.folder("sys/class/i2c-dev")
    world.device("dev/i2c-1", "dialout")
    world.set_up("alice")
    assert world.users["alice"] == {"alice", "gpio", "dialout"}
    assert not (world.root / "etc/udev").exists()
    assert "i2c" not in world.group_names


def test_rules_that_came_before_their_group_are_applied(world: World) -> None:
    """udev passes over a group that is not there when it reads the rule, as Debian's i2c-tools ships it."""
    rule = 'SUBSYSTEM=="i2c-dev",KERNEL=="i2c-[0-9]*", GROUP="i2c", MODE="0660"\n'
    world.file("etc/udev/rules.d/60-i2c-tools.rules", rule)
    world.folder("sys/class/i2c-dev")
    world.device("dev/i2c-1")
    assert "apply the udev rules for the I2C buses" in steps(world.plan("alice"))
    assert steps(world.set_up("alice")) == []
    assert world.device_groups["/dev/i2c-1"] == "i2c"
    assert sorted(os.listdir(world.root / "etc/udev/rules.d")) == [
        "60-i2c-tools.rules",
        "60-rpi-clusterhat-gpio.rules",
    ]


def test_a_rule_for_a_group_that_is_not_there_does_not_count(world: World) -> None:
    world.file("etc/udev/rules.d/60-other.rules", 'SUBSYSTEM=="gpio", GROUP="nobody-has-it"\n')
    world.device("dev/gpiochip0")
    assert steps(world.set_up("alice")) == []
    assert world.device_groups["/dev/gpiochip0"] == "gpio"


def test_lines_of_sysfs_are_given_where_the_kernel_has_them(world: World) -> None:
    world.device("dev/gpiochip0", "gpio")
    world.group_names["gpio"] = OWN
    world.folder("sys/class/gpio/gpiochip512")
    world.device("sys/class/gpio/export")
    assert "write udev rules for the GPIO files" in steps(world.plan("alice"))
    assert steps(world.set_up("alice")) == []
    assert world.device_groups["/sys/class/gpio/export"] == "gpio"


def test_without_udev_it_says_which_devices_are_closed(tmp_path: Path) -> None:
    world = World(tmp_path, tools=[tool for tool in TOOLS if tool != "udevadm"])
    world.device("dev/gpiochip0")
    left = world.set_up("alice", buses=())
    assert steps(left) == []
    assert (
        "There is no udev here: give /dev/gpiochip0 to the group gpio, mode 0660, at each start."
        in left.notes
    )


def test_a_udev_that_does_not_run_reads_its_rules_at_the_next_start(world: World) -> None:
    (world.root / "run/udev/control").unlink()
    world.device("dev/gpiochip0")
    left = world.set_up("alice", buses=())
    assert steps(left) == []
    assert "udev is not running: its rules for the GPIO chips count from the next start on." in left.notes
    assert not any(command.startswith("udevadm") for command in world.ran)


# I2C -------------------------------------------------------------------------------------------------------


def test_where_the_bus_does_not_come_at_once_a_reboot_is_asked_for(world: World) -> None:
    world.failing["dtparam"] = "no such parameter"
    left = world.set_up("alice")
    assert (steps(left), left.notes) == (
        [],
        ("I2C is on in /boot/firmware/config.txt: reboot this machine so that it counts.",),
    )
    assert world.read("boot/firmware/config.txt").count("[all]") == 1


def test_an_older_system_has_its_config_elsewhere(world: World) -> None:
    (world.root / "boot/firmware/config.txt").rename(world.root / "boot/config.txt")
    world.set_up("alice")
    assert world.read("boot/config.txt").endswith("dtparam=i2c_arm=on\n")


def test_without_a_config_it_says_what_to_add(world: World) -> None:
    (world.root / "boot/firmware/config.txt").unlink()
    (note,) = world.set_up("alice").notes
    assert "add 'dtparam=i2c_arm=on' to the config.txt of the boot" in note


def test_on_another_board_it_does_not_guess(tmp_path: Path) -> None:
    world = World(tmp_path, pi=False)
    left = world.set_up("alice")
    assert steps(left) == []
    assert [note for note in left.notes if "no I2C bus 1" in note and "your board's manual" in note]
    assert not (world.root / "etc/modules-load.d").exists()
    assert "\ndtparam" not in world.read("boot/firmware/config.txt")


def test_on_another_board_that_has_the_bus_its_devices_are_made(tmp_path: Path) -> None:
    world = World(tmp_path, pi=False)
    world.folder("sys/bus/i2c/devices/i2c-2")
    assert I2C[1] in steps(world.plan("alice", buses=(2,)))
    assert steps(world.set_up("alice", buses=(2,))) == []


def test_another_bus_of_a_pi_is_not_guessed_either(world: World) -> None:
    left = world.set_up("alice", buses=(3,))
    assert ["3" in note and "the HAT on?" in note for note in left.notes] == [True]
    assert "\ndtparam" not in world.read("boot/firmware/config.txt")


@pytest.mark.parametrize(
    "place", ["etc/modules-load.d/modules.conf", "usr/lib/modules-load.d/pi.conf", "etc/modules"]
)
@pytest.mark.parametrize("name", ["i2c-dev", "i2c_dev"])
def test_a_module_that_is_loaded_at_each_start_is_not_named_again(
    world: World, place: str, name: str
) -> None:
    world.file(place, f"# modules\n{name}\n")
    world.set_up("alice")
    assert not (world.root / "etc/modules-load.d/rpi-clusterhat.conf").exists()


def test_a_module_that_is_part_of_the_kernel_is_not_loaded(world: World) -> None:
    world.folder("sys/class/i2c-dev")
    builtin = f"lib/modules/{os.uname().release}/modules.builtin"
    world.file(builtin, "kernel/drivers/i2c/i2c-core.ko\nkernel/drivers/i2c/i2c-dev.ko\n")
    assert I2C[1] not in steps(world.plan("alice"))
