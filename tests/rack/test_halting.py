"""Computers are halted before their power is cut: a real systemd, getty, sshd and ext4, and disks that tell.

CLUSTERHAT_RACK_CYCLES says how often each way is gone through; `make rack-cycles` does so 25 times each.
"""

from __future__ import annotations

import asyncio
import os
import shlex
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest

from rpi_clusterhat import (
    AsyncCluster,
    AsyncNodePool,
    Cluster,
    CutWithoutHalt,
    HaltError,
    HttpProbe,
    NodeHalted,
    PoolSettings,
    TcpProbe,
    wait_until_up,
)
from rpi_clusterhat.clock import SYSTEM
from rpi_clusterhat_sim.rack.disk import is_clean
from rpi_clusterhat_sim.rack.seat import Seat
from tests.rack.machine.image import PASSWORDS
from tests.rack.terminal import BOOT

if TYPE_CHECKING:
    from collections.abc import Generator
    from pathlib import Path

    from rpi_clusterhat_sim.rack.built import Built

pytestmark = [pytest.mark.rack, pytest.mark.slow]

CYCLES = int(os.environ.get("CLUSTERHAT_RACK_CYCLES", "1"))
SETTLE = 0.5
LATE = 20.0


def in_background(command: str) -> str:
    return f"nohup sh -c {shlex.quote(command)} >/dev/null 2>&1 &"


WRITE = in_background("while :; do dd if=/dev/urandom of=/var/tmp/$$ bs=64k count=16; sync; done")
"""Writes to the disk without end."""


@contextmanager
def opened(built: Built, state: Path, **node: Any) -> Generator[Cluster]:
    settings = {
        "user": "root",
        "secret": PASSWORDS["root"],
        "ssh_identity": built.key,
        "ssh_config": "none",
        "halt_settle": SETTLE,
        **node,
    }
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_STATE_HOME", str(state))  # host keys
        options = {"nodes": "rack", "rack": built.place}
        with Cluster.open("2.3", backend="sim", options=options, node=settings, spacing=0.5) as hat:
            yield hat


def ssh_of(hat: Cluster | AsyncCluster, name: str) -> tuple[str, int]:
    node = hat._directory[name]  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]
    return node.host, node.ssh_port or 22


def clean(hat: Cluster | AsyncCluster, name: str) -> bool:
    console = hat._directory[name].console_path  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]
    return is_clean(Seat(name, os.path.dirname(os.path.dirname(console))).disk)


def up(hat: Cluster, *names: str) -> None:
    hat.on(names)
    for name in names:
        wait_until_up(HttpProbe(*hat.addresses[name]) & TcpProbe(*ssh_of(hat, name)), timeout=BOOT)


def heard(hat: Cluster | AsyncCluster, *kinds: type) -> list[Any]:
    events: list[Any] = []
    hat.subscribe(lambda event: events.append(event) if isinstance(event, kinds) else None)
    return events


def test_idle_nodes_that_write_are_halted_over_the_console_and_by_ssh(built: Built, tmp_path: Path) -> None:
    """In each cycle a lease wakes a node, it writes without end, is idle, goes off, and its disk is clean."""
    ways = {"p1": "console", "p2": "ssh"}
    with opened(built, tmp_path, **{name: {"halt": [way]} for name, way in ways.items()}) as sync:
        hat = AsyncCluster.of(sync)
        halted, cut = heard(hat, NodeHalted), heard(hat, CutWithoutHalt)
        idle = PoolSettings(idle_timeout=0.2, min_on_time=0.0, boot_timeout=BOOT, queue_timeout=BOOT)

        async def cycle(pool: AsyncNodePool, name: str) -> None:
            async with pool.lease(name):
                assert await hat[name].ssh().arun(WRITE)
            began = SYSTEM.now()
            while pool.nodes[name].powered_since is not None:  # noqa: ASYNC110 - as any user would look
                await asyncio.sleep(0.02)
            seconds = SYSTEM.now() - began
            assert clean(hat, name)
            event = halted[-1] if halted[-1].node == name else halted[-2]
            assert (event.node, event.way) == (name, ways[name])
            # Its own halting time, the settling time and half a second; what is left is this busy machine's.
            assert seconds <= event.seconds + SETTLE + 0.2 + 0.5 + 2.0

        async def main() -> None:
            async with AsyncNodePool(
                hat, probe=lambda n: HttpProbe(*hat.addresses[n]), settings=idle
            ) as pool:
                for _ in range(CYCLES):
                    await asyncio.gather(*(cycle(pool, name) for name in ways))

        asyncio.run(main())
        assert len(halted) == CYCLES * len(ways)
        assert cut == []


@pytest.fixture(scope="module")
def hat(built: Built, tmp_path_factory: pytest.TempPathFactory) -> Generator[Cluster]:
    """Four nodes that are up."""
    state = tmp_path_factory.mktemp("state")
    both = {"halt": ["ssh", "console"]}
    short = {"halt": ["console", "ssh"], "halt_timeout": LATE}
    with opened(built, state, p1=both, p2=short, p3=short, p4={"halt": ["console"]}) as hat:
        up(hat, "p1", "p2", "p3", "p4")
        for node in hat:
            assert node.ssh().run(WRITE)
        yield hat


STOP_SSHD = "pkill -STOP sshd"


def after_a_moment(hat: Cluster, name: str, command: str) -> None:
    """Runs a command on a node that may end the connection."""
    assert hat[name].ssh().run(in_background(f"sleep 1; {command}"))
    hat[name].ssh().forget()
    SYSTEM.sleep(3.0)


def test_one_whose_sshd_hangs_falls_back_to_its_console(hat: Cluster) -> None:
    after_a_moment(hat, "p1", STOP_SSHD)
    events = heard(hat, NodeHalted)
    hat.off("p1")
    assert [(event.node, event.way) for event in events] == [("p1", "console")]
    assert clean(hat, "p1")


def test_one_that_ignores_everything_is_cut_when_the_time_is_over(hat: Cluster) -> None:
    after_a_moment(hat, "p2", f"systemctl stop serial-getty@ttyS0; {STOP_SSHD}")
    events = heard(hat, CutWithoutHalt)
    began = SYSTEM.now()
    hat.off("p2")
    assert LATE <= SYSTEM.now() - began <= LATE + 5.0
    (cut,) = events
    assert cut.node == "p2"
    assert cut.reason.startswith("it could not be asked to halt within 20 s: console: ")
    assert "; ssh: " in cut.reason
    assert not clean(hat, "p2")


def test_one_whose_halt_hangs_half_way_is_cut_when_the_time_is_over(hat: Cluster) -> None:
    unit = (
        "[Service]\\nType=oneshot\\nRemainAfterExit=yes\\nExecStart=true\\nExecStop=sleep infinity\\n"
        "TimeoutStopSec=infinity\\n"
    )
    install = f"printf '{unit}' >/run/systemd/system/hangs.service; systemctl start hangs"
    assert hat["p3"].ssh().run(install)
    with pytest.raises(HaltError) as caught:
        hat.off("p3", cut=False)
    assert str(caught.value).startswith("p3 keeps its power: it was asked to halt (by ")
    assert hat["p3"].powered
    events = heard(hat, CutWithoutHalt)
    hat.off("p3")
    (cut,) = events
    assert cut.node == "p3"
    assert "within 20 s" in cut.reason
    assert not clean(hat, "p3")


def test_now_leaves_the_disk_as_it_is_and_says_so(hat: Cluster) -> None:
    events = heard(hat, CutWithoutHalt)
    hat.off("p4", now=True)
    assert events == [CutWithoutHalt("p4", "its power was to be cut at once")]
    assert not clean(hat, "p4")
    up(hat, "p4")  # which mends the disk by its journal
    with hat["p4"].console() as console:
        assert console.run("journalctl -b -k | grep -c 'recovery complete'").output.strip() != "0"
    hat.off("p4")
    assert clean(hat, "p4")


def test_a_wrong_password_is_said_without_it(built: Built, tmp_path: Path) -> None:
    wrong = "kept-to-itself"
    with opened(built, tmp_path, p1={"halt": ["console"], "secret": wrong, "halt_timeout": 20}) as hat:
        up(hat, "p1")
        with pytest.raises(HaltError) as caught:
            hat.off("p1", cut=False)
        assert "console: " in str(caught.value)
        assert wrong not in str(caught.value)
        hat.off("p1", now=True)
