"""Plans as lists of steps, and what each does when it is interrupted at any of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from rpi_clusterhat.errors import (
    HaltError,
    LockError,
    NodeFailedError,
    StuckLineError,
    SupersededError,
    TransientBusError,
)
from rpi_clusterhat.power import plans
from rpi_clusterhat.power.plans import (
    AwaitHalt,
    BeginHalt,
    Boards,
    Cut,
    EndHalt,
    Fail,
    Queue,
    Read,
    ReadFunction,
    Retry,
    Secure,
    Seen,
    SetFunction,
    Settle,
    SetUp,
    SwitchOn,
    TakeTurn,
)
from rpi_clusterhat.waiting import Readable, Sleep

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Sequence

    from rpi_clusterhat.power.plans import Plan, Step
    from rpi_clusterhat.waiting import Steps

OFF = {"p1": False, "p2": False}
ON = {"p1": True, "p2": True}
BOTH = ("p1", "p2")


class Interruption(BaseException):
    """As little an Exception as Ctrl-C is."""


def looked(plan: Plan[Any], found: Seen | Boards) -> Generator[Step, Any, None]:
    """The plan from its second step on, where its first look found this."""
    assert isinstance(next(plan), Read if isinstance(found, Seen) else ReadFunction)
    try:
        step = plan.send(found)
        while True:
            try:
                answer = yield step
            except GeneratorExit:
                plan.close()
                raise
            except BaseException as error:  # noqa: BLE001 - thrown on, whatever it is
                step = plan.throw(error)
            else:
                looks_again = isinstance(step, Read) and isinstance(found, Seen) and answer is None
                step = plan.send(found.replaced(unset=()) if looks_again else answer)
    except StopIteration:
        return


Powered = dict[str, bool]


def switch_on(
    nodes: Sequence[str], powered: Powered, *, failed: Sequence[str] = (), unset: Sequence[int] = ()
) -> Plan[None]:
    return looked(plans.switch_on(nodes), Seen(powered, tuple(failed), (), tuple(unset)))


def switch_off(
    nodes: Sequence[str],
    powered: Powered,
    *,
    failed: Sequence[str] = (),
    queued: Sequence[str] = (),
    unset: Sequence[int] = (),
) -> Plan[None]:
    return looked(plans.switch_off(nodes), Seen(powered, tuple(failed), tuple(queued), tuple(unset)))


def cycle(nodes: Sequence[str], powered: Powered, pause: float, *, unset: Sequence[int] = ()) -> Plan[None]:
    return looked(plans.cycle(nodes, pause), Seen(powered, unset=tuple(unset)))


def set_function(name: str, *, unset: Sequence[int] = ()) -> Plan[None]:
    return looked(plans.set_function(name, on=True), Boards((0,), tuple(unset)))


def pulse_off(name: str, pause: float, *, unset: Sequence[int] = ()) -> Plan[None]:
    return looked(plans.pulse_off(name, pause), Boards((0,), tuple(unset)))


def check_rails(nodes: Sequence[str]) -> Plan[None]:
    return looked(plans.check_rails(nodes), Seen(ON))


def set_up(unset: Sequence[int]) -> Plan[None]:
    return looked(plans.set_up(BOTH), Seen(OFF, unset=tuple(unset)))


def drive(plan: Plan[None], *answers: tuple[Step, Any], steps: list[Step] | None = None) -> list[Step]:
    """The steps of a plan that gets these answers; an exception among them is thrown in. ``steps`` has them
    also where the plan ends with an error."""
    left = list(answers)
    steps = [] if steps is None else steps
    try:
        step = next(plan)
        while True:
            steps.append(step)
            answer = next((a for at, a in left if at == step), None)
            left = [pair for pair in left if pair[0] != step]
            step = plan.throw(answer) if isinstance(answer, BaseException) else plan.send(answer)
    except StopIteration:
        assert not left, f"never asked for: {left}"
        return steps


def interrupted(plan: Plan[None], at: int, error: BaseException) -> list[Step]:
    """The steps that a plan yields after ``error`` was thrown in at its step number ``at``."""
    for _ in range(at + 1):
        next(plan)
    after: list[Step] = []

    def to_the_end() -> None:
        after.append(plan.throw(error))
        after.extend(plan)

    with pytest.raises(type(error)) as caught:
        to_the_end()
    assert caught.value is error
    return after


# What each operation would do ------------------------------------------------------------------------------


def test_on() -> None:
    assert list(switch_on(BOTH, OFF)) == [
        Queue(BOTH),
        TakeTurn("p1"),
        SwitchOn("p1"),
        TakeTurn("p2"),
        SwitchOn("p2"),
    ]


def test_on_keeps_the_order_that_was_asked_for() -> None:
    steps = list(switch_on(("p2", "p1"), OFF))
    assert [s.node for s in steps if isinstance(s, SwitchOn)] == ["p2", "p1"]


def test_on_leaves_alone_what_has_power() -> None:
    assert list(switch_on(BOTH, ON)) == []
    assert list(switch_on(BOTH, {"p1": True, "p2": False})) == [
        Queue(("p2",)),
        TakeTurn("p2"),
        SwitchOn("p2"),
    ]


def test_on_sets_up_first_and_looks_again() -> None:
    plan = switch_on(BOTH, OFF, unset=[0, 2])
    steps = drive(plan, (Read(BOTH), Seen({"p1": True, "p2": False})))
    assert steps == [SetUp(0), SetUp(2), Read(BOTH), Queue(("p2",)), TakeTurn("p2"), SwitchOn("p2")]


def test_on_forgets_failures_even_of_nodes_that_have_power() -> None:
    assert list(switch_on(BOTH, ON, failed=["p2"])) == [Retry(("p2",))]


def test_a_node_that_got_power_while_it_waited_is_not_switched() -> None:
    steps = drive(switch_on(BOTH, OFF), (TakeTurn("p1"), False))
    assert steps == [Queue(BOTH), TakeTurn("p1"), TakeTurn("p2"), SwitchOn("p2")]


def test_a_superseded_node_is_told_of_after_the_others_are_on() -> None:
    plan = switch_on(BOTH, OFF)
    steps: list[Step] = []
    with pytest.raises(SupersededError, match=r"^another caller switched p1 off before its turn"):
        drive(plan, (SwitchOn("p1"), False), steps=steps)
    assert steps[-1] == SwitchOn("p2")


def test_a_stuck_line_fails_its_node_and_the_others_go_on() -> None:
    for at in (TakeTurn("p1"), SwitchOn("p1")):
        steps: list[Step] = []
        with pytest.raises(NodeFailedError, match=r"^p1: shorted$"):
            drive(switch_on(BOTH, OFF), (at, StuckLineError("shorted")), steps=steps)
        assert steps[-3:] == [Fail("p1", "shorted"), TakeTurn("p2"), SwitchOn("p2")]


def test_lines_that_stick_for_one_cause_are_told_of_once() -> None:
    first, second = (StuckLineError("chip: stuck", [f"{n} (p{n}) low"], "look") for n in (1, 2))
    with pytest.raises(NodeFailedError, match=r"^p1, p2: chip: stuck: 1 \(p1\) low, 2 \(p2\) low: look$"):
        drive(switch_on(BOTH, OFF), (SwitchOn("p1"), first), (SwitchOn("p2"), second))
    with pytest.raises(NodeFailedError, match=r"^p1, p2: shorted$"):
        drive(switch_off(BOTH, ON), (CUT_ANYWAY, StuckLineError("shorted")), (Settle(BOTH), ON))
    other = StuckLineError("other chip: stuck", ["2 (p2) low"], "look")
    with pytest.raises(
        NodeFailedError, match=r"^p1: .* low: look; p2: other chip: stuck: 2 \(p2\) low: look$"
    ):
        drive(switch_on(BOTH, OFF), (SwitchOn("p1"), first), (SwitchOn("p2"), other))


def test_a_failure_outranks_a_node_that_was_superseded() -> None:
    plan = switch_on(BOTH, OFF)
    with pytest.raises(NodeFailedError, match=r"^p2: shorted$"):
        drive(plan, (SwitchOn("p1"), False), (SwitchOn("p2"), StuckLineError("shorted")))


def test_off() -> None:
    assert list(switch_off(BOTH, ON)) == [Cut(BOTH, unlocked=True)]
    assert list(switch_off(BOTH, OFF)) == []


def test_off_also_cuts_what_failed_and_what_waits() -> None:
    nodes = ("p1", "p2", "p3", "p4")
    powered = {"p1": True, "p2": False, "p3": False, "p4": False}
    plan = switch_off(nodes, powered, failed=["p2"], queued=["p4"])
    assert list(plan) == [Cut(("p1", "p2", "p4"), unlocked=True)]


def test_off_sets_up_first_and_looks_again() -> None:
    steps = drive(switch_off(BOTH, ON, unset=[0]), (Read(BOTH), Seen(OFF)))
    assert steps == [SetUp(0, unlocked=True), Read(BOTH)]


def test_cycle() -> None:
    assert list(cycle(BOTH, ON, 1.5)) == [
        Secure(BOTH),
        Cut(BOTH),
        Sleep(1.5),
        Queue(BOTH),
        TakeTurn("p1"),
        SwitchOn("p1"),
        TakeTurn("p2"),
        SwitchOn("p2"),
    ]


def test_cycle_of_nodes_without_power_only_switches_on() -> None:
    assert list(cycle(BOTH, OFF, 1.5)) == list(switch_on(BOTH, OFF))


def test_cycle_sets_up_once() -> None:
    steps = drive(cycle(BOTH, OFF, 1.5, unset=[0]), (Read(BOTH), Seen(ON)))
    assert steps == [SetUp(0), Read(BOTH), *cycle(BOTH, ON, 1.5)]


def test_set_up_and_functions() -> None:
    assert list(set_up([0, 1])) == [SetUp(0), SetUp(1)]
    assert list(set_function("alert")) == [SetFunction("alert", (0,), on=True)]
    assert list(set_function("alert", unset=[0])) == [SetUp(0), SetFunction("alert", (0,), on=True)]


def test_rails_are_checked() -> None:
    assert list(check_rails(BOTH)) == [Secure(BOTH)]


def test_a_pulse() -> None:
    assert list(pulse_off("hub", 0.5, unset=[0])) == [
        SetUp(0),
        SetFunction("hub", (0,), on=False),
        Sleep(0.5),
        SetFunction("hub", (0,), on=True),
    ]


# An interruption at every step -----------------------------------------------------------------------------

PLANS: dict[str, Callable[[], Plan[None]]] = {
    "on": lambda: switch_on(BOTH, OFF, failed=["p1"], unset=[0]),
    "on, one has power": lambda: switch_on(BOTH, {"p1": True, "p2": False}),
    "off": lambda: switch_off(BOTH, ON, unset=[0]),
    "cycle": lambda: cycle(BOTH, ON, 1.0, unset=[0]),
    "functions": lambda: set_function("alert", unset=[0]),
    "pulse": lambda: pulse_off("hub", 0.5, unset=[0]),
    "set up": lambda: set_up([0, 1]),
    "check rails": lambda: check_rails(BOTH),
}
STEPS = [(name, at, step) for name, make in PLANS.items() for at, step in enumerate(make())]


def clean_up(name: str, at: int) -> list[Step]:
    """What has to be done after an interruption at the step of this number, by the plan's promise."""
    before = list(PLANS[name]())[: at + 1]
    step = before[-1]
    if name == "pulse":
        return [] if isinstance(step, SetUp) else [SetFunction("hub", (0,), on=True)]
    if name in ("functions", "set up", "check rails"):
        return []
    on = [s.node for s in before[:-1] if isinstance(s, SwitchOn)]
    nodes = ("p2",) if name == "on, one has power" else BOTH
    return [Settle(tuple(n for n in nodes if n not in on))]


WHOLE: dict[str, Callable[[], Plan[Any]]] = {
    "on": lambda: plans.switch_on(BOTH),
    "off": lambda: plans.switch_off(BOTH),
    "cycle": lambda: plans.cycle(BOTH, 1.0),
}
DESIRED = {"on": True, "off": False, "cycle": True}


@pytest.mark.parametrize("name", WHOLE)
def test_the_first_step_reads_and_says_what_is_asked_for(name: str) -> None:
    assert next(WHOLE[name]()) == Read(BOTH, DESIRED[name])


@pytest.mark.parametrize("name", WHOLE)
def test_an_interrupted_look_settles_the_nodes(name: str) -> None:
    assert interrupted(WHOLE[name](), 0, Interruption()) == [Settle(BOTH)]


@pytest.mark.parametrize("name", WHOLE)
def test_a_look_that_fails_has_begun_nothing(name: str) -> None:
    assert interrupted(WHOLE[name](), 0, TransientBusError(121, "gone")) == []


def test_setting_up_says_whether_there_was_anything_to_set_up() -> None:
    for unset in ((), (1,)):
        plan = plans.set_up(BOTH)
        next(plan)
        answers: list[Any] = [Seen(OFF, unset=unset), *(None for _ in unset)]
        for answer in answers[:-1]:
            plan.send(answer)
        with pytest.raises(StopIteration) as end:
            plan.send(answers[-1])
        assert end.value.value is bool(unset)


@pytest.mark.parametrize(
    "make_error", [Interruption, lambda: TransientBusError(121, "gone")], ids=["interrupted", "bus error"]
)
@pytest.mark.parametrize(("name", "at", "step"), STEPS)
def test_an_interruption_at_any_step_is_let_out_after_the_cleaning_up(
    name: str, at: int, step: Step, make_error: Callable[[], BaseException]
) -> None:
    assert interrupted(PLANS[name](), at, make_error()) == clean_up(name, at)


@pytest.mark.parametrize(("name", "at", "step"), STEPS)
def test_a_plan_that_is_dropped_asks_for_nothing_more(name: str, at: int, step: Step) -> None:
    plan = PLANS[name]()
    for _ in range(at + 1):
        next(plan)
    plan.close()  # raises RuntimeError where the plan yields on
    assert list(plan) == []


def test_a_second_interruption_while_cleaning_up_comes_out() -> None:
    plan = switch_on(BOTH, OFF)
    next(plan)
    assert plan.throw(Interruption()) == Settle(BOTH)
    second = Interruption()
    with pytest.raises(Interruption) as caught:
        plan.throw(second)
    assert caught.value is second


CUT = Cut(BOTH)
CUT_ANYWAY = Cut(BOTH, unlocked=True)


def test_a_cycle_without_a_turn_to_be_had_cuts_nothing() -> None:
    steps: list[Step] = []
    with pytest.raises(LockError, match="no folder"):
        drive(cycle(BOTH, ON, 1.5), (Secure(BOTH), LockError(2, "no folder")), steps=steps)
    assert steps == [Secure(BOTH), Settle(BOTH)]


@pytest.mark.parametrize("seen", [True, None], ids=["still on", "cannot be seen"])
def test_a_line_stuck_on_fails_the_nodes_that_may_still_have_power(seen: bool | None) -> None:
    steps: list[Step] = []
    stuck = StuckLineError("shorted")
    with pytest.raises(NodeFailedError, match=r"^p1: shorted$") as caught:
        drive(
            switch_off(BOTH, ON), (CUT_ANYWAY, stuck), (Settle(BOTH), {"p1": seen, "p2": False}), steps=steps
        )
    assert caught.value.__cause__ is stuck
    assert steps == [CUT_ANYWAY, Settle(BOTH), Fail("p1", "shorted")]


def test_a_slow_line_is_no_failure() -> None:
    steps = drive(switch_off(BOTH, ON), (CUT_ANYWAY, StuckLineError("shorted")), (Settle(BOTH), OFF))
    assert steps == [CUT_ANYWAY, Settle(BOTH)]


def test_a_cycle_with_a_stuck_line_switches_the_others_on_again() -> None:
    steps: list[Step] = []
    answers: list[tuple[Step, Any]] = [
        (CUT, StuckLineError("shorted")),
        (Settle(BOTH), {"p1": True, "p2": False}),
    ]
    with pytest.raises(NodeFailedError, match=r"^p1: shorted$"):
        drive(cycle(BOTH, ON, 1.5), *answers, steps=steps)
    assert steps[3:] == [
        Fail("p1", "shorted"),
        Sleep(1.5),
        Queue(("p2",)),
        TakeTurn("p2"),
        SwitchOn("p2"),
    ]


def test_a_cycle_tells_of_a_stuck_line_before_a_node_that_was_superseded() -> None:
    answers: list[tuple[Step, Any]] = [
        (CUT, StuckLineError("shorted")),
        (Settle(BOTH), {"p1": True, "p2": False}),
        (SwitchOn("p2"), False),
    ]
    with pytest.raises(NodeFailedError, match=r"^p1: shorted$"):
        drive(cycle(BOTH, ON, 1.5), *answers)


# Halting ---------------------------------------------------------------------------------------------------

P1 = ("p1",)
UP, DOWN = {"p1": True}, {"p1": False}


def halt(name: str) -> Steps[None]:
    """Two steps, as those that halt a node may be."""
    yield Sleep(7.0)
    yield Readable(len(name), 2.0)


HALTED: list[Step] = [Sleep(7.0), Readable(2, 2.0)]


def halt_off(powered: Powered, **found: Any) -> Plan[None]:
    return looked(plans.halt_and_switch_off("p1", halt), Seen(powered, **found))


def test_a_node_is_halted_and_then_cut() -> None:
    steps = drive(halt_off(UP), (BeginHalt("p1"), True), (EndHalt("p1"), True))
    assert steps == [BeginHalt("p1"), *HALTED, EndHalt("p1"), Cut(P1, unlocked=True)]


def test_a_node_without_power_is_not_halted() -> None:
    assert list(halt_off(DOWN)) == []
    assert list(halt_off(DOWN, queued=P1)) == [Cut(P1, unlocked=True)]


def test_a_failure_is_forgotten_before_the_halt() -> None:
    steps = drive(halt_off(UP, failed=P1), (BeginHalt("p1"), True), (EndHalt("p1"), True))
    assert steps[:2] == [Retry(P1), BeginHalt("p1")]


def test_what_somebody_else_has_cut_meanwhile_is_left_alone() -> None:
    steps = drive(halt_off(UP), (BeginHalt("p1"), True), (EndHalt("p1"), False))
    assert steps[-1] == EndHalt("p1")


def test_who_comes_second_waits_for_the_other_halt() -> None:
    steps = drive(halt_off(UP), (BeginHalt("p1"), False), (Read(P1), Seen(DOWN)))
    assert steps == [BeginHalt("p1"), AwaitHalt("p1"), Read(P1)]


def test_an_error_of_a_halt_settles_the_node_and_cuts_nothing() -> None:
    plan = halt_off(UP)
    steps: list[Step] = []
    with pytest.raises(HaltError):
        drive(plan, (BeginHalt("p1"), True), (Sleep(7.0), HaltError("it does not")), steps=steps)
    assert steps[-1] == Settle(P1)
    assert not [step for step in steps if isinstance(step, Cut)]


def test_on_waits_for_a_halt_after_the_others_are_on() -> None:
    plan = looked(plans.switch_on(BOTH, halt), Seen({"p1": True, "p2": False}, stopping=P1))
    steps = drive(plan, (AwaitHalt("p1"), False), (Read(P1), Seen(DOWN)))
    first: list[Step] = [Queue(("p2",)), TakeTurn("p2"), SwitchOn("p2")]
    then: list[Step] = [AwaitHalt("p1"), Read(P1), Queue(P1), TakeTurn("p1"), SwitchOn("p1")]
    assert steps == first + then


def test_a_node_whose_halt_was_called_off_is_on_already() -> None:
    plan = looked(plans.switch_on(P1, halt), Seen(UP, stopping=P1))
    steps = drive(plan, (AwaitHalt("p1"), False), (Read(P1), Seen(UP)))
    assert steps == [AwaitHalt("p1"), Read(P1)]


def test_a_halt_that_was_left_half_way_is_ended_before_the_node_boots() -> None:
    plan = looked(plans.switch_on(P1, halt), Seen(UP, stopping=P1))
    answers: list[tuple[Step, Any]] = [
        (AwaitHalt("p1"), True),
        (BeginHalt("p1"), True),
        (EndHalt("p1"), True),
    ]
    steps = drive(plan, *answers, (Read(P1), Seen(DOWN)))
    assert steps[:6] == [AwaitHalt("p1"), BeginHalt("p1"), *HALTED, EndHalt("p1"), Cut(P1)]
    assert steps[-1] == SwitchOn("p1")


def test_a_cut_at_once_says_who_could_have_been_halted() -> None:
    plan = looked(plans.switch_off(BOTH, P1), Seen(ON))
    assert list(plan) == [Cut(BOTH, unlocked=True, unhalted=P1)]
