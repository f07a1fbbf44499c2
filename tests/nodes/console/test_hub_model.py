"""Turns and backlogs against models of what they promise."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, rule

from rpi_clusterhat.nodes.console.backlog import Backlog
from rpi_clusterhat.nodes.console.packets import CHUNK, Kind, packet
from rpi_clusterhat.nodes.console.turns import Role, Turns


class TurnsMachine(RuleBasedStateMachine):
    """A program may write from its asking, when those that asked before are through."""

    members: Bundle[Any] = Bundle("members")

    def __init__(self) -> None:
        super().__init__()
        self.turns = Turns()
        self.roles: dict[int, Role] = {}
        self.asked: list[int] = []
        self.count = 0

    @rule(target=members, role=st.sampled_from(Role))
    def join(self, role: Role) -> int:
        self.count += 1
        self.turns.join(self.count, role)
        self.roles[self.count] = role
        return self.count

    @rule(member=consumes(members))
    def leave(self, member: int) -> None:
        self.turns.leave(member)
        del self.roles[member]
        self.asked = [each for each in self.asked if each != member]

    @rule(member=members)
    def ask(self, member: int) -> None:
        self.turns.ask(member)
        if self.roles[member] is Role.PROGRAM and member not in self.asked:
            self.asked.append(member)

    @rule(member=members)
    def end(self, member: int) -> None:
        self.turns.end(member)
        self.asked = [each for each in self.asked if each != member]

    @invariant()
    def who_may_write(self) -> None:
        assert self.turns.holder == (self.asked[0] if self.asked else None)
        for member, role in self.roles.items():
            may = {
                Role.PROGRAM: self.asked[:1] == [member],
                Role.OPERATOR: not self.asked,
                Role.WATCHER: False,
            }[role]
            assert self.turns.may_write(member) is may


TestTurns = TurnsMachine.TestCase

OUTPUT = st.integers(1, CHUNK).map(lambda size: ("output", size))
ACTIONS = st.one_of(
    OUTPUT, st.just(("turn", 0)), st.just(("gone", 0)), st.integers(1, 4).map(lambda n: ("take", n))
)


def text(start: int, size: int) -> bytes:
    """Bytes of an endless output in which each place can be told from its neighbours."""
    return bytes((i * 7 + i // 251) % 256 for i in range(start, start + size))


@given(st.lists(ACTIONS, max_size=60), st.integers(CHUNK, 3 * CHUNK))
def test_what_is_taken_from_a_backlog_is_what_was_added_but_for_what_it_says_was_skipped(
    actions: list[tuple[str, int]], limit: int
) -> None:
    backlog = Backlog(limit)
    added, place, turns, gone = 0, 0, 0, 0
    kept: list[bytes] = []
    for what, number in [*actions, ("take", 10_000)]:
        match what:
            case "output":
                backlog.add_output(text(added, number))
                added += number
            case "turn":
                turns += 1
                backlog.add_news(packet(Kind.TURN, b"%d" % turns))
            case "gone":
                gone += 1
                backlog.add_news(packet(Kind.GONE))
            case _:
                for _ in range(number):
                    if not backlog:
                        break
                    sent = backlog.next()
                    assert backlog.next() == sent
                    backlog.sent()
                    if sent[:1] == Kind.OUTPUT:
                        assert 1 < len(sent) <= CHUNK + 1
                        assert sent[1:] == text(place, len(sent) - 1)
                        place += len(sent) - 1
                    elif sent[:1] == Kind.SKIPPED:
                        place += int(sent[1:])
                    else:
                        kept.append(sent)
    assert place == added
    assert not backlog
    assert kept.count(packet(Kind.GONE)) == gone
    last = [sent for sent in kept if sent[:1] == Kind.TURN][-1:]
    assert last == ([packet(Kind.TURN, b"%d" % turns)] if turns else [])


def test_a_backlog_that_nobody_takes_stays_small() -> None:
    backlog = Backlog(2 * CHUNK)
    for i in range(20_000):
        backlog.add_output(text(i, 1))
        if i % 7 == 0:
            backlog.add_news(packet(Kind.TURN, b"1"))
    packets: list[bytes] = []
    while backlog:
        packets.append(backlog.next())
        backlog.sent()
    assert sum(map(len, packets)) < 2 * CHUNK + 100
    assert len(packets) < 10
