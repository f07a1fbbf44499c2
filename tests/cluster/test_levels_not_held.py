"""The end of a cluster whose lines do not keep their levels: what it says is what the pins show then."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from rpi_clusterhat import (
    AsyncCluster,
    BackendError,
    Cluster,
    LevelsNotHeldError,
    NodeNameError,
    State,
    StateChanged,
)
from tests.cluster.looking import states
from tests.power.test_directions import PulledBackend

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tests.lab import Lab


class DroppingBackend(PulledBackend):
    """Lines that were written become inputs again when it is closed."""

    holds_levels = False

    def close(self) -> Mapping[int, bool] | None:
        driven, self.driven = self.driven, {}
        return {offset: self.pins[offset] for offset in driven}


class BlindBackend(DroppingBackend):
    """It does not see what the pins show after its end."""

    def close(self) -> Mapping[int, bool] | None:
        super().close()
        return None


class RobbedBackend(DroppingBackend):
    """Another program has taken its lines before it can see them."""

    def close(self) -> Mapping[int, bool] | None:
        super().close()
        return {}


def opened(lab: Lab, *backends: DroppingBackend) -> Cluster:
    return Cluster(lab.banks(*backends, version="1.3"), lab.clock)


def test_a_node_that_was_switched_off_and_is_on_again_is_told(lab: Lab) -> None:
    hat = opened(lab, DroppingBackend(6))
    hat.on("p3")
    hat.off("p1", "p2")
    assert states(hat) == ["off", "off", "on", "off"]
    events: list[Any] = []
    hat.subscribe(events.append)
    with pytest.raises(LevelsNotHeldError, match=r"^p1 is on again: .*DroppingBackend.* keeps its levels"):
        hat.close()
    assert states(hat) == ["on", "off", "off", "off"]
    assert events == [
        StateChanged("p1", State.OFF, State.ON, "request"),
        StateChanged("p3", State.ON, State.OFF, "request"),
    ]
    hat.close()
    assert states(hat) == ["on", "off", "off", "off"]


def test_nodes_of_several_boards_and_functions_are_told(lab: Lab) -> None:
    first, second = DroppingBackend(5, 6, 13), DroppingBackend(6)
    hat = opened(lab, first, second)
    hat.off("p1", "p2")
    hat.alert.off()
    with pytest.raises(LevelsNotHeldError, match=r"^p1, p2, alert are on again: they were switched off"):
        hat.close()
    assert second.written == [{5: False}]


def test_nothing_is_told_where_what_was_switched_off_stays_off(lab: Lab) -> None:
    with opened(lab, DroppingBackend(13)) as hat:
        hat.off("p1")
        hat.on("p2", "p3")
    assert states(hat) == ["off", "on", "off", "off"]


def test_a_node_that_nobody_switched_is_not_told(lab: Lab) -> None:
    with opened(lab, DroppingBackend(6)) as hat:
        assert hat["p1"].powered
        hat.on("p2")
    assert states(hat) == ["on", "off", "off", "off"]


@pytest.mark.parametrize("backend", [BlindBackend, RobbedBackend])
def test_what_cannot_be_seen_any_more_is_unknown(lab: Lab, backend: type[DroppingBackend]) -> None:
    with opened(lab, backend(6)) as hat:
        hat.off("p1")
        hat.on("p2")
    assert states(hat)[:2] == ["unknown", "unknown"]


def test_an_error_of_the_block_is_let_out_with_a_note(lab: Lab) -> None:
    with pytest.raises(NodeNameError) as caught, opened(lab, DroppingBackend(6)) as hat:  # noqa: PT012
        hat.off("p1")
        hat.on("p9")
    assert [note.partition(":")[0] for note in caught.value.__notes__] == ["p1 is on again"]


def test_a_backend_that_cannot_be_closed_is_told_first(lab: Lab) -> None:
    class Broken(DroppingBackend):
        def close(self) -> Mapping[int, bool] | None:
            raise OSError(5, "Input/output error")

    hat = opened(lab, DroppingBackend(6), Broken())
    hat.off("p1")
    with pytest.raises(BackendError, match=r"^Broken: .*Input/output error"):
        hat.close()


def test_the_asyncio_cluster_tells_it_too(lab: Lab) -> None:
    async def work() -> None:
        async with AsyncCluster(lab.banks(DroppingBackend(6), version="1.3"), lab.clock) as hat:
            await hat.off("p1")

    with pytest.raises(LevelsNotHeldError, match=r"^p1 is on again"):
        asyncio.run(work())
