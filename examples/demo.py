"""What the library is for, shown on the simulation: no hardware is needed or touched.

    python examples/demo.py

Four nodes share one supply. Switched on together they pull it down, and all of them start again. Switched on
by the library they come up one after the other. Takes about ten seconds; the exit code is 1 if anything went
otherwise than this text says.
"""

from __future__ import annotations

import os
import sys
import time

from rpi_clusterhat import Cluster, Event, StateChanged, WaitingForRail
from rpi_clusterhat_sim import World, world_of

BOOT_TIME = 2.0
"""Seconds. A Pi Zero takes longer, but this is to be watched."""


class Demo:
    """Tells what happens with the time at which it does, and keeps what did not happen as it should."""

    def __init__(self) -> None:
        self._start = time.monotonic()
        self.mistakes = 0
        self.power_ups: list[float] = []

    def say(self, text: str = "") -> None:
        print(f"{time.monotonic() - self._start:7.2f} s  {text}".rstrip() if text else "", flush=True)

    def check(self, text: str, *, holds: bool) -> None:
        self.mistakes += not holds
        self.say(f"{'[ok]' if holds else '[NOT SO]'} {text}")

    def tell(self, event: Event) -> None:
        if isinstance(event, WaitingForRail):
            self.say(f"  {event.node} waits {event.seconds:.1f} s")
        elif isinstance(event, StateChanged) and event.new == "on":
            self.power_ups.append(time.monotonic())
            self.say(f"  {event.node} has power")


def boots(world: World) -> list[int]:
    return [node.boots for node in world.nodes]


def all_at_once(demo: Demo, hat: Cluster, world: World) -> None:
    demo.say("1. Four nodes switched on at once, past the library's rule:")
    bank = hat.banks[0]
    bank.backend.write({role.offset: role.level(on=True) for role in bank.board.power})
    drawn = [record.detail for record in world.history if record.what == "brown-out"]
    demo.check(f"the supply browned out: {', '.join(drawn)}", holds=world.brownouts == 1)
    for node in world.nodes:
        demo.say(f"  {node.name} has power and began to boot {node.boots} times")
    demo.check("every node started its boot again", holds=boots(world) == [2, 2, 2, 2])
    time.sleep(1.0)
    hat.off()
    demo.check("switched off again, all together", holds=not any(node.powered for node in world.nodes))
    demo.say()


def one_after_the_other(demo: Demo, hat: Cluster, world: World) -> None:
    demo.say(f"2. The same four by the library, {hat.spacing:g} s apart:")
    before, brownouts = boots(world), world.brownouts
    unsubscribe = hat.subscribe(demo.tell)
    hat.on()
    unsubscribe()
    gaps = [later - earlier for earlier, later in zip(demo.power_ups, demo.power_ups[1:], strict=False)]
    demo.check(
        f"between two power-ups: {', '.join(f'{gap:.2f}' for gap in gaps)} s",
        holds=len(gaps) == 3 and all(gap > hat.spacing - 0.05 for gap in gaps),
    )
    demo.check("the supply held", holds=world.brownouts == brownouts)
    demo.check("every node booted once", holds=boots(world) == [count + 1 for count in before])
    time.sleep(BOOT_TIME + 0.1)
    demo.say("status:")
    for name, node in hat.status().nodes.items():
        demo.say(f"  {name}: {node.state}, its system is {world.node(name).phase}")
    demo.check("all four are up", holds=all(node.is_up for node in world.nodes))
    hat.off()
    demo.check("switched off, all together", holds=not any(node.powered for node in world.nodes))


def main() -> int:
    demo = Demo()
    options = {"boot_time": BOOT_TIME}
    # An empty settings file in place of this machine's.
    with Cluster.open("2.3", backend="sim", options=options, nodes=4, spacing=2.0, config=os.devnull) as hat:
        world = world_of(hat.banks[0].backend)
        all_at_once(demo, hat, world)
        one_after_the_other(demo, hat, world)
    if demo.mistakes:
        demo.say(f"Not so: {demo.mistakes}.")
    return 1 if demo.mistakes else 0


if __name__ == "__main__":
    sys.exit(main())
