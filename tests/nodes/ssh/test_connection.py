"""The connection that commands share, and nodes that refuse it, hang, or lose their power."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from rpi_clusterhat.clock import SYSTEM
from rpi_clusterhat.errors import HostKeyError, LoginError, NodeAccessError
from rpi_clusterhat.nodes.finished import Finished
from rpi_clusterhat.nodes.ssh import Ssh
from tests.nodes.servers import LONG, Server, closed_port, until_it_leaves
from tests.nodes.ssh.sshd import USER, Sshd, clients, eventually, fingerprint, needed, new_key

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.slow

OK = Finished(0, "ok\n")


def raised(ssh: Ssh, kind: type[NodeAccessError], command: str = "true", **more: Any) -> str:
    """The text of the error that a command ends with, in either way."""
    texts: set[str] = set()
    for in_a_loop in (False, True):
        with pytest.raises(kind) as caught:
            asyncio.run(ssh.arun(command, **more)) if in_a_loop else ssh.run(command, **more)
        assert type(caught.value).__name__.lstrip("_") in (kind.__name__, "NotAskedError")
        texts.add(str(caught.value))
    return texts.pop()


# Host keys ------------------------------------------------------------------------------------------------


def test_the_first_contact_pins_the_host_key(sshd: Sshd, keys: Path) -> None:
    with sshd.ssh(keys) as ssh:
        assert ssh.run("echo ok") == OK
    [line] = (keys / "p1").read_text().splitlines()
    assert line.split()[:2] == ["p1", "ssh-ed25519"]
    assert keys.stat().st_mode & 0o777 == 0o700
    assert (keys / "p1").stat().st_mode & 0o777 == 0o600
    with sshd.ssh(keys, name="p2") as ssh:
        assert ssh.run("echo ok") == OK
    assert [path.name for path in sorted(keys.iterdir())] == ["p1", "p2"]


def test_where_host_keys_are_kept(sshd: Sshd, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "with space"))
    with sshd.ssh(tmp_path, folder=None) as ssh:
        assert ssh.run("echo ok") == OK
    assert (tmp_path / "with space/rpi-clusterhat/host-keys/p1").exists()


@pytest.mark.parametrize("kind", ["ed25519", "rsa"])
def test_another_host_key_is_refused_and_nothing_sent(kind: str, tmp_path: Path, keys: Path) -> None:
    with Sshd(tmp_path) as sshd, sshd.ssh(keys) as ssh:
        assert ssh.run("echo ok") == OK
        old = fingerprint(sshd.host_key)
        sshd.stop()
        sshd.host_key = new_key(tmp_path / "new", kind)
        sshd.start()
        told = tmp_path / "told"
        text = raised(ssh, HostKeyError, f"touch {told}")
        assert text.startswith(f"p1's ssh host key has changed: it was {old} and is ")
        assert kind != "ed25519" or f"and is {fingerprint(sshd.host_key)} (ED25519) now" in text
        assert f"rm {keys}/p1, or Ssh.forget_host_key()" in text
        assert not told.exists()
        assert sshd.logins == 1
        ssh.forget_host_key()
        assert ssh.run("echo ok") == OK


def test_two_that_meet_a_node_first_agree(sshd: Sshd, keys: Path) -> None:
    with sshd.ssh(keys) as one, sshd.ssh(keys) as other:

        async def both() -> tuple[Finished, Finished]:
            return await asyncio.gather(one.arun("echo ok"), other.arun("echo ok"))

        assert [*asyncio.run(both())] == [OK, OK]
        assert one.run("echo ok") == other.run("echo ok") == OK


def test_a_key_that_cannot_be_kept_is_not_used(sshd: Sshd, keys: Path) -> None:
    keys.parent.mkdir(exist_ok=True)
    keys.write_text("a file")
    with sshd.ssh(keys) as ssh:
        assert raised(ssh, NodeAccessError).startswith(f"Host keys cannot be kept in {keys}/p1: ")
    keys.unlink()
    keys.mkdir()
    (keys / "p1").symlink_to("/dev/null")
    with sshd.ssh(keys) as ssh:
        text = raised(ssh, HostKeyError)
        assert text.startswith(f"p1's ssh host key could not be kept in {keys}/p1, so nothing was sent")


# Who is not let in, and who does not answer ---------------------------------------------------------------


def test_a_key_that_is_not_taken(sshd: Sshd, keys: Path, tmp_path: Path) -> None:
    other = new_key(tmp_path / "other")
    with sshd.ssh(keys, identity=str(other), user=USER) as ssh:
        text = raised(ssh, LoginError)
        assert text.startswith(f"p1 refused user {USER} by ssh (it takes: publickey")
        assert f"(ssh-copy-id -p {sshd.port} {USER}@127.0.0.1)" in text
    with sshd.ssh(keys, user="no-such-user") as ssh:
        assert raised(ssh, LoginError).startswith("p1 refused user no-such-user by ssh")
    with sshd.ssh(keys, identity=str(tmp_path / "none")) as ssh:
        assert raised(ssh, LoginError) == (
            f"p1 was not asked by ssh: the private key {tmp_path}/none cannot be read"
        )
    open_to_all = tmp_path / "open"
    open_to_all.write_bytes(sshd.identity.read_bytes())
    open_to_all.chmod(0o644)
    with sshd.ssh(keys, identity=str(open_to_all)) as ssh:
        assert "bad permissions" in raised(ssh, LoginError)


def test_nobody_there(sshd: Sshd, keys: Path) -> None:
    with closed_port() as port, sshd.ssh(keys, port=port) as ssh:
        assert raised(ssh, NodeAccessError).startswith(
            f"p1 was not reached by ssh: connect to host 127.0.0.1 port {port}: Connection refused. It may be"
        )
    with Ssh("no-such-host.invalid", name="p1", config="none", folder=str(keys)) as ssh:
        assert re.match(
            r"p1 was not reached by ssh: Could not resolve hostname no-such-host\.invalid: .* Nobody knows",
            raised(ssh, NodeAccessError),
        )


def test_what_is_no_ssh_server(sshd: Sshd, keys: Path) -> None:
    answer = b"HTTP/1.1 400 \x1b[31mBad\r\n\r\n"
    with Server(lambda c: c.sendall(answer)) as server, sshd.ssh(keys, port=server.port) as ssh:
        text = raised(ssh, NodeAccessError)
        assert text.startswith("p1 was not reached by ssh: ")
        assert text.isprintable()


def test_a_server_that_takes_the_connection_and_says_nothing(sshd: Sshd, keys: Path) -> None:
    with Server(until_it_leaves) as server:
        for connect_timeout, timeout in ((0.3, LONG), (LONG, 0.3)):
            with sshd.ssh(keys, port=server.port, connect_timeout=connect_timeout) as ssh:
                began = SYSTEM.now()
                text = raised(ssh, NodeAccessError, timeout=timeout)
                assert SYSTEM.now() - began < LONG
                assert text.startswith("p1 was not reached by ssh at 127.0.0.1: no answer in time. It is off")


def test_a_server_that_hangs_after_the_login(tmp_path: Path, keys: Path) -> None:
    with Sshd(tmp_path) as sshd, sshd.ssh(keys, connect_timeout=2.0) as ssh:
        assert ssh.run("echo ok", timeout=LONG) == OK
        sshd.signal(signal.SIGSTOP)
        began = SYSTEM.now()
        assert raised(ssh, NodeAccessError).startswith("p1 was not reached by ssh at 127.0.0.1: no answer in")
        assert SYSTEM.now() - began < LONG
        sshd.signal(signal.SIGCONT)
        assert ssh.run("echo ok") == OK


def test_a_shell_that_does_not_come(tmp_path: Path, keys: Path) -> None:
    with (
        Sshd(tmp_path, f"ForceCommand echo wait...; exec sleep {LONG}") as sshd,
        sshd.ssh(keys, connect_timeout=2.0) as ssh,
    ):
        text = raised(ssh, NodeAccessError, timeout=LONG)
        assert text == "p1 did not get a command by ssh: its shell was not there within 2 s: wait..."


def test_a_controller_without_a_client(keys: Path) -> None:
    with Ssh("127.0.0.1", name="p1", config="none", folder=str(keys), client="/no/such/ssh") as ssh:
        assert raised(ssh, NodeAccessError) == (
            "p1 was not asked by ssh: this controller has no ssh client. sudo apt install openssh-client"
        )
    with Ssh("127.0.0.1", name="p1", config="none", folder=str(keys), client="/") as ssh:
        assert raised(ssh, NodeAccessError) == "p1 was not asked by ssh: / cannot be run: Permission denied"


# One connection for many commands -------------------------------------------------------------------------


def test_the_second_command_needs_no_login(tmp_path: Path, keys: Path) -> None:
    with Sshd(tmp_path) as sshd, sshd.ssh(keys) as ssh:
        for _ in range(3):
            assert ssh.run("echo ok") == OK
        assert sshd.logins == 1
        ssh.forget()
        assert ssh.run("echo ok") == OK
        assert sshd.logins == 2
        asyncio.run(ssh.aforget())
        assert asyncio.run(ssh.arun("echo ok")) == OK
        assert sshd.logins == 3


def test_a_node_whose_power_was_cut_is_met_again(tmp_path: Path, keys: Path) -> None:
    with Sshd(tmp_path) as sshd, sshd.ssh(keys) as ssh:
        assert ssh.run("echo ok") == OK
        sshd.stop()
        assert raised(ssh, NodeAccessError).startswith("p1 was not reached by ssh: connect to host")
        sshd.start()
        assert ssh.run("echo ok") == OK
        sshd.stop()
        sshd.start()
        assert ssh.run("echo ok") == OK


def test_a_connection_that_went_silent_is_given_up_for_a_new_one(tmp_path: Path, keys: Path) -> None:
    """As after a cut that no packet told of: the old connection hangs, and the node is back."""
    with Sshd(tmp_path) as sshd, sshd.ssh(keys, connect_timeout=2.0) as ssh:
        assert ssh.run("echo ok", timeout=LONG) == OK
        sshd.signal(signal.SIGSTOP, sshd.pids[1:])  # what serves the connection, not what takes new ones
        assert ssh.run("echo ok", timeout=LONG) == OK
        assert sshd.logins == 2


def test_a_command_that_never_comes_back_leaves_the_others_alone(tmp_path: Path, keys: Path) -> None:
    with Sshd(tmp_path) as sshd, sshd.ssh(keys) as ssh:
        ssh.run("true")

        async def both() -> tuple[Any, Any]:
            slow = ssh.arun("sleep 3; echo ok", timeout=LONG)
            return await asyncio.gather(slow, ssh.arun("sleep 30", timeout=1.0), return_exceptions=True)

        finished, error = asyncio.run(both())
        assert finished == OK
        assert isinstance(error, TimeoutError)
        assert sshd.logins == 1


# What is left behind --------------------------------------------------------------------------------------

SCRIPT = """
import os, signal, sys
from rpi_clusterhat.nodes.ssh import Ssh
port, identity, folder, end = sys.argv[1:]
ssh = Ssh("127.0.0.1", name="p1", port=int(port), identity=identity, config="none", folder=folder)
print(ssh.run("echo ok").output, end="", flush=True)
if end == "fork":
    pid = os.fork()
    print(ssh.run("echo ok").output, end="", flush=True)
    if pid:
        os.waitpid(pid, 0)
        print(ssh.run("echo ok").output, end="", flush=True)
elif end == "kill":
    os.kill(os.getpid(), signal.SIGKILL)
elif end == "drop":
    del ssh
"""


def _process(sshd: Sshd, keys: Path, end: str) -> subprocess.CompletedProcess[str]:
    argv = [sys.executable, "-c", SCRIPT, str(sshd.port), str(sshd.identity), str(keys), end]
    return subprocess.run(argv, stdout=subprocess.PIPE, text=True, timeout=2 * LONG, check=False)


@pytest.mark.parametrize(("end", "says"), [("exit", "ok\n"), ("drop", "ok\n"), ("fork", "ok\n" * 4)])
def test_a_process_leaves_nothing_behind(end: str, says: str, sshd: Sshd, keys: Path, runtime: Path) -> None:
    done = _process(sshd, keys, end)
    assert (done.returncode, done.stdout) == (0, says)
    assert list(runtime.iterdir()) == []


def test_what_a_killed_process_left_behind_is_removed_by_the_next(
    sshd: Sshd, keys: Path, runtime: Path
) -> None:
    assert _process(sshd, keys, "kill").stdout == "ok\n"
    [left] = runtime.iterdir()
    with sshd.ssh(keys) as mine:
        assert mine.run("echo ok") == OK
        assert not left.exists()
        [folder] = runtime.iterdir()
        assert folder.stat().st_mode & 0o777 == 0o700
        with sshd.ssh(keys, name="p2") as other:
            assert other.run("echo ok") == OK
            assert len(list(runtime.iterdir())) == 2  # one that is used is nobody's to remove
    for pid in clients(left):  # it would end by itself, after a minute
        os.kill(pid, signal.SIGTERM)


def test_an_interrupted_start_leaves_nothing_behind(sshd: Sshd, keys: Path, runtime: Path) -> None:
    async def leave(ssh: Ssh, seconds: float) -> None:
        task = asyncio.create_task(ssh.arun("true"))
        await asyncio.sleep(seconds)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    for milliseconds in range(0, 300, 30):
        with sshd.ssh(keys) as ssh:
            asyncio.run(leave(ssh, milliseconds / 1000))
    eventually(lambda: not clients(runtime))


# Settings of the user's ssh -------------------------------------------------------------------------------


def test_the_settings_of_a_file_count_and_cannot_undo_ours(tmp_path: Path, keys: Path) -> None:
    needed("ssh", "openssh-client")
    with Sshd(tmp_path) as sshd:
        config = tmp_path / "config"
        config.write_text(
            f"Host node\n  HostName 127.0.0.1\n  Port {sshd.port}\n  IdentityFile {sshd.identity}\n"
            "  StrictHostKeyChecking no\n  UserKnownHostsFile /dev/null\n  RequestTTY force\n"
            "  ControlMaster auto\n  ControlPath /nowhere/%C\n  RemoteCommand reboot\n  LogLevel DEBUG3\n"
            f"  LocalForward {sshd.port + 1 if sshd.port < 65535 else 1024} 127.0.0.1:1\n"
        )
        with Ssh("node", name="p1", config=str(config), folder=str(keys)) as ssh:
            assert ssh.run("echo ok") == OK
            assert ssh.run("tty") == Finished(1, "not a tty\n")
        assert (keys / "p1").exists()
        assert sshd.logins == 1


def test_nothing_is_ever_asked(sshd: Sshd, keys: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSH_ASKPASS", "/bin/false")
    monkeypatch.setenv("SSH_ASKPASS_REQUIRE", "force")
    with sshd.ssh(keys, identity=None) as ssh:
        assert "refused" in raised(ssh, LoginError)
