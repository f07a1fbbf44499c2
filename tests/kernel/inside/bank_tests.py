"""What every backend is held to on its bank in a real kernel: the conformance suite and more."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, ClassVar

from rpi_clusterhat import AsyncCluster, Cluster, State
from rpi_clusterhat.testing import BackendConformance
from tests.kernel.inside.people import process

if TYPE_CHECKING:
    from collections.abc import Generator, Mapping
    from multiprocessing.connection import Connection

    from rpi_clusterhat.hardware.backend import Backend
    from tests.kernel.inside.banks import Bank


class BankTests(BackendConformance):
    """Inherit and say which bank."""

    bank: ClassVar[Bank]

    @classmethod
    def setup_class(cls) -> None:
        cls.offsets = cls.bank.offsets

    @classmethod
    def teardown_class(cls) -> None:
        cls.bank.remove()

    def reset(self) -> None:
        self.bank.reset()

    def open(self) -> Backend:
        return self.bank.open()

    def outside(self) -> Mapping[int, bool]:
        return self.bank.outside()

    def make_unset(self) -> bool:
        return self.bank.unset()

    def make_input(self, offset: int, level: bool) -> bool:
        self.bank.make_input(offset, level)
        return True

    def pull(self, offset: int, level: bool) -> None:
        self.bank.pull(offset, level)

    def _cluster(self) -> Cluster:
        bank = self.bank
        return Cluster.open(bank.version, backend=bank.backend, options=bank.options, spacing=0.05)

    def _on(self, *nodes: int) -> dict[int, bool]:
        """The levels with just these nodes on, counted from 1."""
        return {offset: i in nodes for i, offset in enumerate(self.offsets, 1)}

    def _left(self, levels: dict[int, bool]) -> dict[int, bool]:
        """What is left of these levels when their program has gone."""
        return levels if self.bank.holds else self._on()

    # Taking over ----------------------------------------------------------------------------------------

    def test_holds_levels_tells_the_truth(self) -> None:
        assert self._open().holds_levels is self.bank.holds

    def test_nodes_that_are_on_are_taken_over_without_a_glitch(self) -> None:
        self.bank.preset(self._on(1, 3))
        second = self.offsets[1]
        with self.bank.watch() as driven:
            backend = self._open()
            assert self._read(backend) == self._on(1, 3)
            assert driven() == []
            backend.write({second: True})
            assert self._read(backend) == self._on(1, 2, 3)
        assert driven() == [(second, True)]

    def test_what_is_on_is_confirmed_without_a_glitch(self) -> None:
        self.bank.preset(self._on(1, 3))
        with self.bank.watch() as driven:
            backend = self._open()
            backend.write(self._on(1, 3))
            backend.read()
        assert self._outside() == self._on(1, 3)
        steps = driven()
        assert set(steps) <= set(self._on(1, 3).items()), "driven to another level in between"

    def test_a_line_is_never_low_on_its_way_to_high(self) -> None:
        with self.bank.watch() as driven:
            self._open().write(self._on(1, 2, 3, 4))
        assert sorted(driven()) == [(offset, True) for offset in sorted(self.offsets)]

    # The end of a program -------------------------------------------------------------------------------

    def test_after_a_release_the_levels_are_as_told(self) -> None:
        backend = self._open()
        backend.write(self._on(2, 4))
        backend.close()
        assert self._outside() == self._left(self._on(2, 4))

    def test_after_a_sigkill_the_levels_are_as_told(self) -> None:
        def work(pipe: Connection) -> None:
            backend = self.bank.open()
            backend.write(self._on(2, 4))
            pipe.send(backend.holds_levels)
            pipe.recv()

        with process(None, work) as holder:
            assert holder.hear() is self.bank.holds
            assert self._outside() == self._on(2, 4)
            holder.kill()
        assert self._outside() == self._left(self._on(2, 4))
        assert self._read(self._open()) == self._left(self._on(2, 4))

    # The public API -------------------------------------------------------------------------------------

    def test_a_session(self) -> None:
        with self._cluster() as hat:
            assert hat.holds_levels is self.bank.holds
            assert not any(node.powered for node in hat)
            hat.on("p1", "p3")
            assert self._outside() == self._on(1, 3)
            assert [str(node.state) for node in hat] == ["on", "off", "on", "off"]
            hat.off("p1")
            assert self._outside() == self._on(3)
            hat.cycle("p3", pause=0.05)
            hat.on("all")
            assert self._outside() == self._on(1, 2, 3, 4)
            hat.alert.on()
            assert hat.alert.is_on
            assert hat.status().boards[0].functions["alert"]
            assert all(node.powered for node in hat.status().nodes.values())
            hat.off("all")
            assert self._outside() == self._on()
            hat["p2"].on()
        assert self._outside() == self._left(self._on(2))

    def test_a_session_with_asyncio(self) -> None:
        bank = self.bank

        async def session() -> None:
            opened = await AsyncCluster.open(
                bank.version, backend=bank.backend, options=bank.options, spacing=0.05
            )
            async with opened as hat:
                await asyncio.gather(hat.on("p1"), hat.on("p2"))
                assert self._outside() == self._on(1, 2)
                await hat.off("p1")
                assert self._outside() == self._on(2)
                assert [node.powered for node in (await hat.status()).nodes.values()] == [
                    False,
                    True,
                    False,
                    False,
                ]

        asyncio.run(session())
        assert self._outside() == self._left(self._on(2))

    def test_a_cluster_takes_over_what_is_on(self) -> None:
        self.bank.preset(self._on(2, 4))
        with self.bank.watch() as driven:
            with self._cluster() as hat:
                assert [node.state for node in hat] == [State.OFF, State.ON, State.OFF, State.ON]
                hat.on("p2", "p4")
                # Lines that do not hold are inputs by now, and what was on is only pulled up.
                taken = [] if self.bank.holds else [(self.offsets[1], True), (self.offsets[3], True)]
                assert driven() == taken
                hat.on("p1", "p2")
                assert driven() == [*taken, (self.offsets[0], True)]
            assert self._outside() == (self._on(1, 2, 4) if self.bank.holds else self._on(2, 4))

    def test_a_cluster_whose_process_is_killed(self) -> None:
        def work(pipe: Connection) -> None:
            hat = self._cluster()
            hat.on("p1", "p2")
            pipe.send(hat.holds_levels)
            pipe.recv()

        with process(None, work) as holder:
            assert holder.hear() is self.bank.holds
            holder.kill()
        with self._cluster() as hat:
            left = [node.powered for node in hat]
        assert left == [self.bank.holds, self.bank.holds, False, False]

    def test_status_writes_nothing(self) -> None:
        self.bank.preset(self._on(1))
        with self.bank.watch() as driven, self._cluster() as hat:
            assert [node.powered for node in hat.status().nodes.values()] == [True, False, False, False]
        assert driven() == []

    # The command ----------------------------------------------------------------------------------------

    def _command(self, *arguments: str) -> list[str]:
        bank = self.bank
        given = [f"-o{name}={value}" for name, value in bank.options.items()]
        settings = ["--board", bank.version, "--backend", bank.backend, "--spacing", "0.05", *given]
        return [sys.executable, "-m", "rpi_clusterhat", *settings, *arguments]

    def _ran(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(self._command(*arguments), capture_output=True, text=True, check=False)

    def _run(self, *arguments: str) -> str:
        done = self._ran(*arguments)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def test_the_command(self) -> None:
        if not self.bank.holds:
            refused = self._ran("on", "p1")
            assert refused.returncode == 1
            assert "on --hold" in refused.stderr
            assert self._outside() == self._on()
            return
        self._run("on", "p1", "p3")
        assert self._outside() == self._on(1, 3)
        with self.bank.watch() as driven:
            status: dict[str, Any] = json.loads(self._run("status", "--json"))
        assert {name: node["powered"] for name, node in status["nodes"].items()} == {
            "p1": True,
            "p2": False,
            "p3": True,
            "p4": False,
        }
        assert driven() == []
        self._run("off", "p1")
        assert self._outside() == self._on(3)

    @contextmanager
    def _holding(self, *arguments: str) -> Generator[list[str]]:
        """The command while it holds; afterwards, all the lines that it said."""
        with subprocess.Popen(
            self._command(*arguments), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        ) as command:
            assert command.stdout is not None
            said: list[str] = []
            while not any("holding" in line for line in said):
                said.append(command.stdout.readline().strip())
                assert said[-1], said
            try:
                yield said
            finally:
                command.terminate()
            said += [line.strip() for line in command.stdout]
            said.append(f"exit code {command.wait(10)}")

    def test_the_command_holds_when_asked_to(self) -> None:
        with self._holding("on", "--hold", "p2") as said:
            assert self._outside() == self._on(2)
        assert self._outside() == self._left(self._on(2))
        assert said[-2:] == [
            "p2 is on, p1, p3, p4 are off" if self.bank.holds else "p1, p2, p3, p4 are off",
            "exit code 0",
        ]
