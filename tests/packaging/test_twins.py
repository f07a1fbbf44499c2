"""The synchronous front door is made from the asynchronous one."""

from __future__ import annotations

import inspect

import pytest

from rpi_clusterhat import aio, cluster

unasync = pytest.importorskip("tests.packaging.unasync", reason="the wheel is tested without the source tree")


@pytest.mark.skipif(not unasync.SOURCE.is_file(), reason="the wheel is tested without the source tree")
def test_cluster_is_what_make_twins_makes() -> None:
    assert unasync.TWIN.read_text() == unasync.twin(unasync.SOURCE.read_text()), "run 'make twins'"


@pytest.mark.parametrize("name", ["Cluster", "Node", "Function", "Hub"])
def test_each_method_has_its_twin(name: str) -> None:
    assert public(getattr(aio, f"Async{name}")) == public(getattr(cluster, name))


def public(kind: type) -> set[str]:
    return {name for name, _ in inspect.getmembers(kind) if not name.startswith("_")}
