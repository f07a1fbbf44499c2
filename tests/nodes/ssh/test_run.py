"""Commands on a real sshd: what comes back, and how much of it."""

from __future__ import annotations

import asyncio
import os
import threading
from typing import TYPE_CHECKING, Any

import pytest

from rpi_clusterhat.clock import SYSTEM
from rpi_clusterhat.errors import ClosedError, CommandTimeoutError, NodeAccessError, SettingError
from rpi_clusterhat.nodes.finished import Finished
from rpi_clusterhat.nodes.ssh import Ssh
from rpi_clusterhat.waiting import Together, drive
from tests.nodes.servers import LONG
from tests.nodes.ssh.sshd import Sshd, clients, eventually, needed

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from rpi_clusterhat.waiting import Steps

    Run = Callable[..., Finished]

pytestmark = pytest.mark.slow


def _blocking(ssh: Ssh, command: Any, **more: Any) -> Finished:
    return ssh.run(command, **more)


def _in_a_loop(ssh: Ssh, command: Any, **more: Any) -> Finished:
    return asyncio.run(ssh.arun(command, **more))


both = pytest.mark.parametrize("run", [_blocking, _in_a_loop])


@both
def test_a_command(run: Run, sshd: Sshd, keys: Path) -> None:
    with sshd.ssh(keys) as ssh:
        assert run(ssh, ["printf", "%s\n", "it's", "$HOME; 'x'"]) == Finished(0, "it's\n$HOME; 'x'\n")
        assert run(ssh, "echo out; echo err >&2; cat; exit 3") == Finished(3, "out\nerr\n")
        assert run(ssh, "exit 255") == Finished(255, "")


@both
def test_a_gigabyte_is_read_and_the_newest_of_it_kept(run: Run, sshd: Sshd, keys: Path) -> None:
    with sshd.ssh(keys) as ssh:
        finished = run(ssh, "head -c 1000000000 /dev/zero; echo end", timeout=10 * LONG)
        assert finished.status == 0
        assert not finished.is_complete
        assert finished.output.endswith("\0\0end\n")
        assert len(finished.output) == 1024 * 1024


@both
def test_at_its_time_out_a_command_is_given_up(
    run: Run, sshd: Sshd, keys: Path, runtime: Path, tmp_path: Path
) -> None:
    started = tmp_path / "started"
    with sshd.ssh(keys) as ssh:
        ssh.run("true")
        with pytest.raises(CommandTimeoutError, match=r"^A command on p1 did not end within 2 s: it may run"):
            run(ssh, f"echo $$ >{started}; exec sleep {LONG}", timeout=2.0)
        eventually(lambda: not [line for line in clients(runtime).values() if "ready" in line])
        assert run(ssh, "echo on") == Finished(0, "on\n")
    os.kill(int(started.read_text()), 9)  # there it runs on


def test_a_cancelled_command_leaves_no_client(sshd: Sshd, keys: Path, runtime: Path, tmp_path: Path) -> None:
    started = tmp_path / "started"

    async def leave() -> None:
        async with sshd.ssh(keys) as ssh:
            task = asyncio.create_task(ssh.arun(f"touch {started}; sleep {LONG}", timeout=LONG))
            await asyncio.to_thread(eventually, started.exists)
            assert clients(runtime)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert not [line for line in clients(runtime).values() if "ready" in line]

    asyncio.run(leave())


@both
def test_what_a_command_leaves_running_is_not_waited_for(run: Run, sshd: Sshd, keys: Path) -> None:
    with sshd.ssh(keys) as ssh:
        began = SYSTEM.now()
        finished = run(ssh, f"sleep {LONG} & echo $!", timeout=LONG)
        assert SYSTEM.now() - began < LONG / 2
        os.kill(int(finished.output), 9)


def test_no_argument_of_a_process_holds_a_command(sshd: Sshd, keys: Path, runtime: Path) -> None:
    with sshd.ssh(keys) as ssh:
        finished = ssh.run(": s3cret; cat /proc/[0-9]*/cmdline | tr '\\0' ' '")
        assert str(runtime) in finished.output
        assert "s3cret" not in finished.output.replace(": s3cret; cat", "")
        assert "s3cret" not in finished.output


def test_many_side_by_side_share_one_connection(tmp_path: Path, keys: Path) -> None:
    with Sshd(tmp_path) as sshd, sshd.ssh(keys) as ssh:
        ssh.run("true")
        ssh.run("true")
        assert sshd.logins == 1
        got: list[Finished] = []

        def work(number: int) -> None:
            got.append(ssh.run(f"sleep 0.1; echo {number}", timeout=LONG))

        threads = [threading.Thread(target=work, args=(n,)) for n in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(int(one.output) for one in got) == list(range(6))
        assert sshd.logins == 1

        def together() -> Steps[Any]:
            outcomes = yield Together(tuple(ssh.steps_run(f"echo {n}", lambda: LONG) for n in range(6)))
            return outcomes

        assert drive(together()) == [Finished(0, f"{n}\n") for n in range(6)]

        async def gathered() -> list[Finished]:
            return await asyncio.gather(*(ssh.arun(f"echo {n}") for n in range(6)))

        assert asyncio.run(gathered()) == [Finished(0, f"{n}\n") for n in range(6)]
        assert sshd.logins == 1


def test_more_than_a_connection_may_carry(tmp_path: Path, keys: Path) -> None:
    with Sshd(tmp_path, "MaxSessions 2") as sshd, sshd.ssh(keys) as ssh:

        async def gathered() -> list[Finished]:
            return await asyncio.gather(*(ssh.arun(f"sleep 0.3; echo {n}", timeout=LONG) for n in range(6)))

        assert asyncio.run(gathered()) == [Finished(0, f"{n}\n") for n in range(6)]


@pytest.mark.parametrize("shell", ["dash", "bash", "fish", "zsh"])
def test_other_login_shells_and_what_they_print(shell: str, tmp_path: Path, keys: Path) -> None:
    path = needed(shell, shell)
    command = f"""ForceCommand echo hello; echo hm >&2; exec {path} -c "$SSH_ORIGINAL_COMMAND" """
    with Sshd(tmp_path, command, "Banner /etc/passwd") as sshd, sshd.ssh(keys) as ssh:
        assert ssh.run(["printf", "%s", "a\\'b $x"]) == Finished(0, "a\\'b $x")
        assert ssh.run("exit 4") == Finished(4, "")


def test_a_login_shell_that_runs_something_else(tmp_path: Path, keys: Path) -> None:
    with (
        Sshd(tmp_path, "ForceCommand echo This account is not available.; exit 1") as sshd,
        sshd.ssh(keys) as ssh,
        pytest.raises(
            NodeAccessError,
            match=r"^p1 did not get a command by ssh: its login shell ended with status 1 and read no "
            r"command: This account is not available\.$",
        ),
    ):
        ssh.run("true")


def test_a_command_that_ends_the_connection_was_sent(sshd: Sshd, keys: Path) -> None:
    cut = "kill -9 $PPID"  # the sshd of this connection, which is the parent of the login shell
    with sshd.ssh(keys) as ssh:
        assert ssh.send("exit 5") == Finished(5, "")
        assert ssh.send(cut) is None
        assert asyncio.run(ssh.asend(cut)) is None
        with pytest.raises(NodeAccessError, match=r"^The ssh connection to p1 was lost while a command ran"):
            ssh.run(cut)
        assert ssh.run("echo again") == Finished(0, "again\n")


def test_before_is_called_when_there_is_no_way_back_and_may_call_it_off(
    sshd: Sshd, keys: Path, tmp_path: Path
) -> None:
    told = tmp_path / "told"
    calls: list[bool] = []

    def refuse() -> None:
        calls.append(told.exists())
        raise RuntimeError("called off")

    with sshd.ssh(keys) as ssh:
        with pytest.raises(RuntimeError, match="called off"):
            drive(ssh.steps_send(["touch", str(told)], lambda: LONG, refuse))
        assert calls == [False]
        assert not told.exists()
        assert drive(ssh.steps_send(["touch", str(told)], lambda: LONG, lambda: calls.append(True)))
        assert calls == [False, True]
        assert told.exists()


def test_a_closed_one(sshd: Sshd, keys: Path) -> None:
    with sshd.ssh(keys) as ssh:
        ssh.run("true")
    ssh.close()
    for method in (ssh.run, ssh.send):
        with pytest.raises(ClosedError, match=r"^<Ssh p1 at 127\.0\.0\.1> was closed$"):
            method("true")


WRONG: list[tuple[str, Any]] = [
    ("host", "-oProxyCommand=touch x"), ("host", ""), ("host", "a b"), ("host", "a\nb"), ("host", "a;b"),
    ("host", "u@h"), ("host", "$(id)"), ("host", "`id`"), ("host", None), ("host", "a" * 300),
    ("name", "-x"), ("name", "../p1"), ("name", ".p1"), ("name", "a/b"), ("name", ""), ("name", "p 1"),
    ("user", "-x"), ("user", ""), ("user", "a b"), ("user", "a;b"), ("user", "$(id)"), ("user", "a\n"),
    ("port", 0), ("port", 65536), ("port", "22"), ("port", True), ("port", 2.5),
    ("identity", ""), ("identity", "a\nb"), ("identity", "%h"), ("identity", 'a"b'), ("identity", 3),
    ("config", "a\\b"), ("folder", "${HOME}"), ("folder", "it's"),
    ("connect_timeout", 0), ("connect_timeout", -1), ("connect_timeout", "1"),
]  # fmt: skip


@pytest.mark.parametrize(("argument", "value"), WRONG, ids=repr)
def test_wrong_arguments(argument: str, value: Any) -> None:
    arguments: dict[str, Any] = {"host": "p1.local", "name": "p1", argument: value}
    with pytest.raises(SettingError, match=rf"^Invalid value for {argument}: "):
        Ssh(arguments.pop("host"), **arguments)


@pytest.mark.parametrize("timeout", [0, -1, "1", float("inf")])
def test_wrong_time_outs(timeout: Any) -> None:
    with Ssh("p1.local", name="p1") as ssh, pytest.raises(SettingError, match="Invalid value for timeout"):
        ssh.run("true", timeout=timeout)


@pytest.mark.parametrize(
    "host", ["p1", "p1.local", "10.0.0.2", "fe80::1%usb0", "::1", "bücher.example", "a_b"]
)
def test_hosts(host: str) -> None:
    assert repr(Ssh(host, name="p1", user="pi.x-1_y@dom", port=22)) == f"<Ssh p1 at pi.x-1_y@dom@{host}>"
