"""The synchronous front door is made from the asynchronous one."""

from __future__ import annotations

import inspect
from pathlib import Path

import pytest

from rpi_clusterhat import aio, cluster
from tests.packaging.unasync import twin


def test_cluster_is_what_make_twins_makes() -> None:
    """In the wheel, where the tests run on it."""
    made = twin(Path(aio.__file__).read_text(encoding="utf-8"))
    assert Path(cluster.__file__).read_text(encoding="utf-8") == made, "run 'make twins'"


@pytest.mark.parametrize("name", ["Cluster", "Node", "Function", "Hub"])
def test_each_method_has_its_twin(name: str) -> None:
    assert public(getattr(aio, f"Async{name}")) == public(getattr(cluster, name))


def public(kind: type) -> set[str]:
    return {name for name, _ in inspect.getmembers(kind) if not name.startswith("_")}
