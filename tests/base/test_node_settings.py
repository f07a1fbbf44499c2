"""How nodes are reached and halted: the table ``node`` of the settings."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from rpi_clusterhat.errors import SettingError
from rpi_clusterhat.settings import load_settings
from rpi_clusterhat.settings.nodes import check_names, node_settings
from rpi_clusterhat.settings.secret import Secret

if TYPE_CHECKING:
    from pathlib import Path

    from rpi_clusterhat.settings.nodes import NodeSettings

FILE = """
[node]
halt = ["console", "ssh"]
user = "root"
halt-timeout = 30

[node.p2]
halt = []
host = "10.0.0.2"
"""


def of(name: str, **given: Any) -> NodeSettings:
    given.setdefault("env", {})
    return node_settings(load_settings(given.pop("code", {}), vendor_file="/nowhere", **given).node, name)


def test_without_a_table_there_are_the_defaults() -> None:
    node = of("p1")
    assert (node["halt"], node["user"], node["halt_timeout"], node["secret"]) == ((), "pi", 60.0, None)
    assert node.origins == {}


def test_what_is_set_for_one_node_counts_more_than_what_is_set_for_all(tmp_path: Path) -> None:
    file = tmp_path / "hat.toml"
    file.write_text(FILE)
    one, two = (of(name, config=str(file)) for name in ("p1", "p2"))
    assert (one["halt"], one["user"], one["halt_timeout"]) == (("console", "ssh"), "root", 30.0)
    assert (two["halt"], two["user"], two["host"]) == ((), "root", "10.0.0.2")
    assert str(two.origins["host"]) == f"{file}: node.p2.host"
    assert str(one.origins["halt"]) == f"{file}: node.halt"


def test_an_earlier_place_counts_more_also_than_a_nodes_own_table_of_a_later_one(tmp_path: Path) -> None:
    file = tmp_path / "hat.toml"
    file.write_text(FILE)
    env = {
        "RPI_CLUSTERHAT_NODE_HALT": "console, hook",
        "RPI_CLUSTERHAT_NODE_HALT_HOOK": "stop-it '{name}' now",
    }
    node = of("p2", config=str(file), env=env, code={"node": {"user": "me", "p1": {"user": "you"}}})
    assert (node["halt"], node["halt_hook"]) == (("console", "hook"), ("stop-it", "{name}", "now"))
    assert (node["user"], node["host"]) == ("me", "10.0.0.2")
    assert str(node.origins["halt"]) == "RPI_CLUSTERHAT_NODE_HALT"


@pytest.mark.parametrize(
    ("table", "words"),
    [
        ({"halt": ["consol"]}, "Invalid value for halt: 'consol' (from node.halt): expected one of console,"),
        ({"halt": 3}, "Invalid value for halt: 3 (from node.halt): expected a list of words"),
        ({"halt_hook": "say 'no"}, "expected words of a shell (No closing quotation)"),
        (
            {"p1": {"halt_timeout": 0}},
            "Invalid value for halt_timeout: 0 (from node.p1.halt_timeout)",
        ),
        ({"p1": {"p2": {}}}, "Unknown setting 'p2' of a node (from node.p1.p2)"),
        ({"hallt": 1}, "Unknown setting 'hallt' of a node (from node.hallt): did you mean halt?"),
        ({"halt-quiet": 1, "halt_quiet": 1}, "Setting halt_quiet is set twice (from node.halt_quiet)"),
        ({3: 4}, "Unknown setting '3' of a node"),
        ({"p1": 3}, "Invalid value for p1: 3 (from node.p1): expected a table"),
        ("secret=x1", "Invalid value for node: 'str': expected a table such as {halt = ['console']}"),
    ],
)
def test_a_wrong_value_is_named_with_its_place(table: object, words: str) -> None:
    with pytest.raises(SettingError) as caught:
        of("p1", code={"node": table})
    assert words in str(caught.value)


@pytest.mark.parametrize("secret", ["", "with\ttab", "x" * 2000, 12345678])
def test_an_invalid_secret_is_not_shown(secret: object) -> None:
    with pytest.raises(SettingError) as caught:
        of("p1", code={"node": {"secret": secret}})
    text = str(caught.value)
    assert "expected 1 to 1024 printable characters" in text
    assert not secret or str(secret)[:8] not in text
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None


def test_a_secret_is_shown_by_nothing() -> None:
    node = of("p1", env={"RPI_CLUSTERHAT_NODE_SECRET": "raspberry"})
    assert node["secret"] == Secret("raspberry")
    assert node["secret"].reveal() == "raspberry"
    assert "raspberry" not in f"{node!r} {node['secret']} {node['secret']!r}"


def test_an_unknown_variable_of_nodes_is_warned_of() -> None:
    warnings: list[str] = []
    env = {"RPI_CLUSTERHAT_NODE_HALLT": "ssh", "RPI_CLUSTERHAT_NODES": "4"}
    load_settings({}, env=env, vendor_file="/nowhere", warn=warnings.append)
    wanted = "Unknown environment variable RPI_CLUSTERHAT_NODE_HALLT: did you mean RPI_CLUSTERHAT_NODE_HALT?"
    assert warnings == [wanted]


def test_a_table_for_a_node_that_is_not_there_is_found() -> None:
    layers = load_settings({"node": {"p9": {"user": "me"}}}, env={}, vendor_file="/nowhere").node
    check_names(layers, ["p1", "p9"])
    with pytest.raises(SettingError, match=r"Unknown node 'p9' \(from node.p9\).*Known are p1, p2"):
        check_names(layers, ["p1", "p2"])
