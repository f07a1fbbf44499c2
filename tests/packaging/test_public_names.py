"""The public names: one table, which the stub for type checkers says again."""

from __future__ import annotations

import ast
from importlib import import_module
from pathlib import Path

import rpi_clusterhat


def test_the_stub_says_what_the_table_says() -> None:
    stub = Path(rpi_clusterhat.__file__).with_suffix(".pyi")
    said = {
        (alias.name, node.module)
        for node in ast.parse(stub.read_text(encoding="utf-8")).body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    homes: dict[str, str] = vars(rpi_clusterhat)["_HOME"]
    assert said == set(homes.items())


def test_each_public_name_is_there_under_its_name() -> None:
    homes: dict[str, str] = vars(rpi_clusterhat)["_HOME"]
    for name in rpi_clusterhat.__all__:
        module = import_module(f"rpi_clusterhat.{homes[name]}")
        assert name in getattr(module, "__all__", vars(module)), name
        assert getattr(rpi_clusterhat, name) is not None
    assert set(rpi_clusterhat.__all__) <= set(dir(rpi_clusterhat))
