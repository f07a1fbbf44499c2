"""The end of a cluster, and what importing it costs."""

from __future__ import annotations

import errno
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from rpi_clusterhat import (
    BackendError,
    ClosedError,
    SettingError,
    TransientBusError,
)
from rpi_clusterhat.power import plans
from rpi_clusterhat.power.inventory import Inventory
from rpi_clusterhat.power.operation import Again, Operation
from rpi_clusterhat.testing import FakeExpander
from tests.cluster.looking import ALL, IDLE, POWER

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.lab import Lab


# The end ---------------------------------------------------------------------------------------------------


def test_holds_levels_where_all_boards_do(lab: Lab) -> None:
    holds, drops = lab.memory(), lab.memory(holds_levels=False)
    assert lab.v1(holds).holds_levels
    assert not lab.v1(holds, drops).holds_levels


def test_what_was_opened_can_be_seen(lab: Lab) -> None:
    hat = lab.hat(lab.expander(), lab.expander(), spacing=3.5, size=2)
    assert hat.spacing == 3.5
    assert [(b.version, b.size) for b in hat.boards] == [("2.3", 2)] * 2
    assert repr(hat.banks) == "[<Bank 2.3 I2CBackend p1…p2>, <Bank 2.3 I2CBackend p3…p4>]"


def test_a_closed_cluster_says_so(lab: Lab) -> None:
    expander = lab.expander(nodes=ALL)
    with lab.hat(expander) as hat:
        pass
    hat.close()
    calls: list[Callable[[], object]] = [
        *(lambda: hat.on("all"), lambda: hat.off("all"), lambda: hat.cycle("all")),
        *(hat.init, hat.status, hat.alert.on, hat.hub.reset),
        *(lambda: hat.alert.is_on, lambda: hat["p1"].powered, lambda: hat["p1"].state),
    ]
    for call in calls:
        with pytest.raises(ClosedError):
            call()
    assert (expander.transactions, expander.levels) == (0, IDLE | ALL)


def test_closing_while_another_thread_waits_ends_its_wait(lab: Lab) -> None:
    bank = lab.memory()
    hat = lab.v1(bank)
    lab.clock.during = [hat.close]
    with pytest.raises(ClosedError):
        hat.on("p1", "p2")
    assert [bank.levels[line] for line in POWER] == [True, False, False, False]
    lab.v1(lab.memory()).on("p1")


def test_every_board_is_closed_even_if_one_cannot_be(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = lab.memory(), lab.memory()
    broken = lab.memory()

    def refuse() -> None:
        raise BackendError("it will not close")

    monkeypatch.setattr(broken, "close", refuse)
    hat = lab.v1(first, broken, second)
    with pytest.raises(BackendError, match="it will not close"):
        hat.close()
    assert (first.closed, second.closed) == (1, 1)


# What importing costs --------------------------------------------------------------------------------------

PROBE = """
import sys
before = set(sys.modules)
import rpi_clusterhat
rpi_clusterhat.Cluster
loaded = set(sys.modules) - before
third = {name.partition(".")[0] for name in loaded} - set(sys.stdlib_module_names) - {"rpi_clusterhat"}
dear = {"asyncio", "dataclasses", "importlib.metadata", "argparse", "inspect", "json", "subprocess"} & loaded
print(sorted(third), sorted(dear))
assert "AsyncCluster" in dir(rpi_clusterhat) and rpi_clusterhat.AsyncCluster.__name__ == "AsyncCluster"
missing = [name for name in rpi_clusterhat.__all__ if not hasattr(rpi_clusterhat, name)]
print(missing, "asyncio" in sys.modules)
"""


def test_importing_the_library_imports_nothing_dear_and_nothing_strange() -> None:
    done = subprocess.run([sys.executable, "-I", "-c", PROBE], capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("[] []\n[] True\n", "")


def test_an_unknown_name_of_the_package_is_an_attribute_error() -> None:
    import rpi_clusterhat

    with pytest.raises(AttributeError, match="has no attribute 'Clutser'"):
        getattr(rpi_clusterhat, "Clutser")  # noqa: B009 - what a typo does


def test_a_node_that_waits_still_waits_after_a_failed_look(lab: Lab) -> None:
    expander = FakeExpander()
    hat = lab.hat(expander)
    hat.on("p1")
    inventory = Inventory(hat.banks, lab.clock)
    operation = Operation(inventory)
    plan = plans.switch_on(["p2"])
    seen = operation.perform(next(plan))
    assert operation.perform(plan.send(seen)) is None
    assert isinstance(operation.perform(plan.send(None)), Again)
    expander.fail(errno.EREMOTEIO, times=None)
    with pytest.raises(TransientBusError):
        inventory.refresh()
    assert str(inventory.entries["p2"].state) == "unknown"
    expander.heal()
    inventory.refresh()
    assert str(inventory.entries["p2"].state) == "queued"
    operation.finish()
    assert str(inventory.entries["p2"].state) == "off"


@pytest.mark.parametrize("pause", ["x", -1, float("nan"), float("inf"), None, True])
def test_a_wrong_pause_switches_nothing(lab: Lab, pause: Any) -> None:
    expander = FakeExpander()
    hat = lab.hat(expander)
    hat.on("p1")
    before = expander.writes
    with pytest.raises(SettingError, match="pause"):
        hat["p1"].cycle(pause=pause)
    with pytest.raises(SettingError, match="pause"):
        hat.hub.reset(pause=pause)
    assert expander.writes == before
