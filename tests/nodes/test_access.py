"""How a node is reached and halted: what settings and backends make of it."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import pytest

from rpi_clusterhat import Cluster, CutWithoutHalt, HaltError, HaltRefusedError, SettingError
from rpi_clusterhat.nodes.access import NodeDirectory
from rpi_clusterhat.settings import load_settings
from rpi_clusterhat.settings.secret import Secret
from rpi_clusterhat.testing import FakeClock

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from rpi_clusterhat.nodes.access import NodeAccess


@pytest.fixture(name="hat")
def _hat(tmp_path: Path) -> Iterator[Cluster]:
    with Cluster.open("2.3", backend="sim", lock_dir=str(tmp_path), clock=FakeClock()) as hat:
        yield hat


def access(hat: Cluster, name: str = "p3", **node: Any) -> NodeAccess:
    layers = load_settings({"node": node}, env={}, vendor_file="/nowhere").node
    return NodeDirectory(layers, hat.banks)[name]


def test_without_settings_it_is_where_the_vendors_images_have_it(hat: Cluster) -> None:
    node = access(hat)
    assert (node.number, node.host, node.ssh_port) == (3, "p3.local", None)
    assert node.console_path == "/dev/ttypi3"
    assert node.secret is None
    assert hat["p3"].console().path == "/dev/ttypi3"
    assert repr(hat["p3"].ssh()) == "<Ssh p3 at pi@p3.local>"
    assert hat["p3"].ssh() is hat["p3"].ssh(), "all share a connection"


def test_texts_have_the_nodes_own_fields(hat: Cluster) -> None:
    node = access(hat, host="172.19.181.{number}", console="/dev/serial/{name}", ssh_port=2222)
    assert (node.host, node.ssh_port, node.console_path) == ("172.19.181.3", 2222, "/dev/serial/p3")
    with pytest.raises(SettingError, match="console"):
        _ = access(hat, console="/dev/{nobody}").console_path


def test_a_secret_file_is_private(hat: Cluster, tmp_path: Path) -> None:
    file = tmp_path / "secret"
    file.write_text("raspberry\nand more\n")
    file.chmod(0o600)
    assert access(hat, secret_file=str(file)).secret == Secret("raspberry")
    file.chmod(0o644)
    with pytest.raises(SettingError, match=r"may be read or written by everybody: .*chmod 600"):
        _ = access(hat, secret_file=str(file)).secret
    file.write_bytes(b"\n")
    file.chmod(0o640)
    with pytest.raises(SettingError, match="its first line is to be 1 to 1024 printable characters"):
        _ = access(hat, secret_file=str(file)).secret
    file.write_bytes(b"\xff\xfe\n")
    with pytest.raises(SettingError, match="is no text in UTF-8"):
        _ = access(hat, secret_file=str(file)).secret
    with pytest.raises(SettingError, match="cannot be read: No such file"):
        _ = access(hat, secret_file=str(tmp_path / "nothing")).secret


@pytest.mark.parametrize(("way", "setting"), [("hook", "halt_hook"), ("http", "halt_url")])
def test_a_way_needs_its_setting(hat: Cluster, way: str, setting: str) -> None:
    with pytest.raises(SettingError, match=f"halt has '{way}' for p3, which needs the setting {setting}"):
        access(hat, halt=[way]).halter()


def python(code: str) -> list[str]:
    return [sys.executable, "-c", code, "{name}", "{number}"]


@pytest.mark.slow
def test_a_hook_of_the_controller_halts_a_node(tmp_path: Path) -> None:
    """Its simulated node halts since the hook says so to the test, which has no other sign to look for."""
    told = tmp_path / "told"
    hook = python(f"import sys; open({str(told)!r}, 'w').write(' '.join(sys.argv[1:]))")
    node = {"halt": ["hook"], "halt_hook": hook, "halt_timeout": 1, "host": "127.0.0.1", "ssh_port": 9}
    with Cluster.open("2.3", backend="sim", lock_dir=str(tmp_path), node=node) as hat:
        events: list[Any] = []
        hat.subscribe(events.append)
        hat.on("p2")
        with pytest.raises(HaltError) as caught:
            hat.off("p2", cut=False)
        assert str(caught.value).startswith("p2 keeps its power: it was asked to halt (by hook), and")
        assert told.read_text() == "p2 2"
        assert hat["p2"].powered
        hat.off("p2")
        assert [event.node for event in events if isinstance(event, CutWithoutHalt)] == ["p2"]


@pytest.mark.slow
def test_a_guard_of_the_controller_refuses_a_halt(tmp_path: Path) -> None:
    guard = python("import sys; print('a job runs on', sys.argv[1]); sys.exit(1)")
    node = {"halt": ["simulated"], "halt_guard": guard}
    with Cluster.open("2.3", backend="sim", lock_dir=str(tmp_path), node=node) as hat:
        hat.on("p2")
        with pytest.raises(HaltRefusedError, match=r"^p2 is not halted: a job runs on p2$"):
            hat.off("p2")
        hat.off("p2", now=True)


@pytest.mark.slow
def test_a_hook_that_fails_is_told_by_its_last_words(tmp_path: Path) -> None:
    hook = python("print('no such node'); raise SystemExit(3)")
    node = {"halt": ["hook"], "halt_hook": hook, "halt_timeout": 0.5, "host": "127.0.0.1", "ssh_port": 9}
    with Cluster.open("2.3", backend="sim", lock_dir=str(tmp_path), node=node) as hat:
        hat.on("p2")
        with pytest.raises(HaltError) as caught:
            hat.off("p2", cut=False)
        assert "ended with status 3: no such node" in str(caught.value)
        assert hat["p2"].state == "on"


def test_an_invalid_setting_is_told_at_once_and_the_node_stays_on(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("raspberry")
    secret.chmod(0o644)
    node = {"halt": ["console", "ssh"], "secret_file": str(secret), "host": "127.0.0.1", "ssh_port": 9}
    clock = FakeClock()
    with Cluster.open("2.3", backend="sim", lock_dir=str(tmp_path), node=node, clock=clock) as hat:
        hat.on("p2")
        began = clock.now()
        with pytest.raises(SettingError, match="may be read or written by everybody"):
            hat.off("p2")
        assert clock.now() - began < 1.0
        assert hat["p2"].state == "on"
        hat.off("p2", now=True)
