"""``settings`` shows what is in force and where it comes from; options count before and after the command."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, cast

import pytest

from rpi_clusterhat.errors import DeviceNotFoundError

if TYPE_CHECKING:
    from pathlib import Path

    from rpi_clusterhat.testing import FakeExpander
    from rpi_clusterhat_i2c.registers import Bus
    from tests.cli.conftest import Command


def shown(command: Command, *argv: str) -> dict[str, Any]:
    """What ``settings --json`` says, with each setting as its value and its place."""
    result = command(*argv, "settings", "--json")
    assert (result.code, result.err, result.out.count("\n")) == (0, "", 1)

    def short(found: Any) -> Any:
        if isinstance(found, list):
            return [short(one) for one in cast("list[object]", found)]
        if "missing" in found:
            return (found["value"], f"missing: {found['missing']}")
        if "source" in found:
            places = (found["source"], found.get("name"), found.get("file"))
            return (found["value"], " ".join(place for place in places if place))
        return {key: short(one) for key, one in found.items()}

    return cast("dict[str, Any]", short(json.loads(result.out)))


def no_bus(bus: int | str) -> Bus:
    raise DeviceNotFoundError("there is no bus")


def test_nothing_is_set_and_no_hat_is_fitted(command: Command, settings: Path, tmp_path: Path) -> None:
    found = shown(command)
    assert found["config"] == (str(settings), "variable RPI_CLUSTERHAT_CONFIG")
    assert found["lock_dir"] == (str(tmp_path), "variable RPI_CLUSTERHAT_LOCK_DIR")
    assert found["spacing"] == (2.0, "default")
    [board] = found["boards"]
    assert board["board"][0] is None
    assert board["board"][1].startswith("missing: no HAT describes itself")
    assert board["backend"] == (None, "missing: it depends on the board")
    assert (board["nodes"], board["rail"]) == ((4, "default"), ("main", "default"))
    assert board["options"] == {}


def test_each_place_is_named(
    command: Command, settings: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.write_text('rail = "usb"\n[options]\nboot-time = 15\ncapacity = 4\nfault = "p2:no-boot"')
    (tmp_path / "clusterctrl").write_text("CLUSTERHAT_FORCE=2.3\nCLUSTERHAT_SIZE=2\nCLUSTERCTRL_DELAY=5\n")
    monkeypatch.setenv("RPI_CLUSTERHAT_SPACING", "3")
    monkeypatch.setenv("RPI_CLUSTERHAT_OPTIONS", "idle=0.2")
    found = shown(command, "--backend", "sim", "-o", "boot_time=20")
    [board] = found["boards"]
    assert found["spacing"] == (3.0, "variable RPI_CLUSTERHAT_SPACING")
    assert board["board"] == ("2.3", f"vendor's file CLUSTERHAT_FORCE {tmp_path}/clusterctrl")
    assert board["nodes"] == (2, f"vendor's file CLUSTERHAT_SIZE {tmp_path}/clusterctrl")
    assert board["rail"] == ("usb", f"file rail {settings}")
    assert board["backend"] == ("sim", "option --backend")
    options = board["options"]
    assert options["boot_time"] == (20.0, "option -o")
    assert options["idle"] == (0.2, "variable RPI_CLUSTERHAT_OPTIONS")
    assert options["capacity"] == (4.0, f"file options.capacity {settings}")
    assert options["fault"] == ("p2:no-boot", f"file options.fault {settings}")
    assert options["set_up"] == (True, "default")
    assert options["state"] == (None, "default")


def test_what_the_hat_says_and_the_backend_that_is_found_out(
    command: Command, expander: FakeExpander, tmp_path: Path
) -> None:
    (tmp_path / "hat").mkdir()
    (tmp_path / "hat" / "product").write_bytes(b"ZC4:ClusterHAT\0")
    (tmp_path / "hat" / "product_ver").write_bytes(b"0x0023\0")
    [board] = shown(command, "--address", "0x20")["boards"]
    assert board["board"] == ("2.3", f"HAT {tmp_path}/hat")
    assert board["backend"] == ("i2c", "detected")
    assert board["options"] == {"bus": (1, "default"), "address": (0x20, "option --address")}
    assert expander.writes == 0


def test_why_no_backend_can_be_used(
    command: Command, settings: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.write_text('board = "2.3"')
    monkeypatch.setattr("rpi_clusterhat_i2c.bus.open_bus", no_bus)
    [board] = shown(command, "--address", "0x20")["boards"]
    assert board["backend"] == (None, "missing: there is no bus")
    assert board["options"] == {"address": ("0x20", "option --address")}


def test_several_boards(command: Command, settings: Path) -> None:
    first_board = '[[boards]]\nboard = "2.3"\noptions = {bank = "a"}\n'
    settings.write_text(f'backend = "sim"\n{first_board}[[boards]]\nboard = "1.1"\nnodes = 2\n')
    first, second = shown(command)["boards"]
    assert first["board"] == ("2.3", f"file board of board 1 {settings}")
    assert first["options"]["bank"] == ("a", f"file options.bank of board 1 {settings}")
    assert second["nodes"] == (2, f"file nodes of board 2 {settings}")
    assert second["backend"] == ("sim", f"file backend {settings}")
    table = command("settings").out
    assert "\nboard 1:\nboard " in table
    assert "\nboard 2:\nboard " in table


def test_the_table(command: Command, settings: Path, tmp_path: Path) -> None:
    settings.write_text("spacing = 3\n")
    result = command("settings", "--backend", "sim", "-o", "set-up=no")
    assert (result.code, result.err) == (0, "")
    rows = {line.split("  ")[0]: line.split()[-2:] for line in result.out.splitlines()}
    assert result.out.splitlines()[0].split() == ["setting", "value", "from"]
    assert rows["backend"] == ["sim", "--backend"]
    assert rows["nodes"] == ["4", "default"]
    assert rows["spacing"] == [f"{settings}:", "spacing"]
    assert rows["option set_up"] == ["no", "-o"]
    assert rows["option state"] == ["none", "default"]


@pytest.mark.parametrize(
    "argv",
    [
        ("--backend", "sim", "-o", "set_up=no", "-o", "pos=on", "status"),
        ("--backend", "sim", "-o", "set_up=no", "status", "-o", "pos=on"),
        ("status", "--backend", "sim", "-o", "set_up=no", "--option", "pos=on"),
        ("--backend", "i2c", "--option=set-up=no", "status", "--backend=sim", "--option=pos=on"),
    ],
)
def test_options_count_before_and_after_the_command(command: Command, argv: tuple[str, ...]) -> None:
    result = command(*argv)
    assert (result.code, result.err, result.out.count(" on     on\n")) == (0, "", 4)


def test_the_one_that_stands_later_counts(command: Command) -> None:
    assert shown(command, "--spacing", "3", "--spacing", "4")["spacing"] == (4.0, "option --spacing")
    result = command("--spacing", "3", "settings", "--json", "--spacing", "5")
    assert json.loads(result.out)["spacing"]["value"] == 5.0


def test_nodes_may_stand_on_both_sides_of_an_option(command: Command) -> None:
    result = command("on", "p1", "--backend", "sim", "p3", "p4")
    assert (result.code, result.out) == (0, "p1 on\np3 on\np4 on\n")


def test_an_unknown_variable_is_a_warning(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RPI_CLUSTERHAT_SPACNG", "3")
    monkeypatch.setenv("RPI_CLUSTERHAT_DEBUG", "0")
    result = command("status", "--backend", "sim")
    warning = "Unknown environment variable RPI_CLUSTERHAT_SPACNG: did you mean RPI_CLUSTERHAT_SPACING?"
    assert (result.code, result.err) == (0, f"rpi-clusterhat: warning: {warning}\n")


def test_what_is_set_for_nodes_is_shown_and_no_secret(
    command: Command, sim: Path, settings: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RPI_CLUSTERHAT_NODE_SECRET", "raspberry")
    settings.write_text("[node]\nhalt = ['console', 'ssh']\n[node.p2]\nhalt = []\n")
    result = command("settings")
    rows = {tuple(line.split(maxsplit=1)) for line in result.out.splitlines() if line.startswith("node.")}
    assert {name for name, _ in rows} == {"node.halt", "node.p2.halt", "node.secret"}
    shown = {name: " ".join(rest.split()) for name, rest in rows}
    assert shown["node.halt"] == f"console, ssh {settings}: node.halt"
    assert shown["node.p2.halt"] == f"none {settings}: node.p2.halt"
    assert shown["node.secret"] == "… RPI_CLUSTERHAT_NODE_SECRET"
    as_json = command("settings", "--json").out
    assert json.loads(as_json)["node.halt"]["value"] == "console, ssh"
    assert "raspberry" not in result.out + as_json
