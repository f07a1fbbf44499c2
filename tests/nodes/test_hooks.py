"""Hooks: commands that really run, and HTTP servers on loopback."""

from __future__ import annotations

import asyncio
import os
import ssl
import subprocess
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rpi_clusterhat.clock import SYSTEM
from rpi_clusterhat.errors import CommandTimeoutError, NodeAccessError, SettingError
from rpi_clusterhat.nodes.finished import Secret
from rpi_clusterhat.nodes.hooks import CommandHook, Hook, HttpHook
from rpi_clusterhat.nodes.hooks.hook import Template
from rpi_clusterhat.waiting import drive
from tests.nodes.servers import LONG, OK, Server, closed_port, resets, says, trickles, until_it_leaves
from tests.nodes.ssh.sshd import needed

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable
    from pathlib import Path

    Ask = Callable[..., str | None]

NODE: dict[str, str | int] = {"name": "p1", "host": "p1.local", "number": 1}


def _blocking(hook: Hook, **more: str | int) -> str | None:
    return hook.refusal(**{**NODE, **more})


def _in_a_loop(hook: Hook, **more: str | int) -> str | None:
    return asyncio.run(hook.arefusal(**{**NODE, **more}), debug=True)


both = pytest.mark.parametrize("ask", [_blocking, _in_a_loop])


def failed(ask: Ask, hook: Hook, **more: str | int) -> str:
    with pytest.raises(NodeAccessError) as caught:
        ask(hook, **more)
    late = "did not end within" in str(caught.value)
    assert type(caught.value) is (CommandTimeoutError if late else NodeAccessError)
    return str(caught.value)


# Commands -------------------------------------------------------------------------------------------------


@both
def test_an_exit_status_is_the_answer(ask: Ask) -> None:
    assert ask(CommandHook("true")) is None
    assert ask(CommandHook("false")) == "'false' says so"
    assert ask(CommandHook("sh", "-c", "echo a; echo ' job 7 runs ' >&2; exit 1")) == "job 7 runs"
    assert failed(ask, CommandHook("sh", "-c", "echo no rights; exit 2")) == (
        "'sh' ended with status 2: no rights"
    )
    assert failed(ask, CommandHook("sh", "-c", "kill -9 $$")) == "'sh' ended with signal 9"
    assert failed(ask, CommandHook("/no/such")) == "'/no/such' cannot be run: no such file or directory"
    assert failed(ask, CommandHook("sh", "-c", "yes no | head -c 99999; exit 3")).endswith("status 3: no")


def test_to_run_one_is_refused_as_an_error_too() -> None:
    CommandHook("true").run(**NODE)
    for run in (CommandHook("sh", "-c", "echo busy; exit 1").run, _run_in_a_loop):
        with pytest.raises(NodeAccessError, match=r"^busy$"):
            run(**NODE)


def _run_in_a_loop(**fields: str | int) -> None:
    asyncio.run(CommandHook("sh", "-c", "echo busy; exit 1").arun(**fields))


@both
def test_fields_are_filled_into_words_and_no_shell_reads_them(ask: Ask, tmp_path: Path) -> None:
    out = tmp_path / "out"
    script = f'printf "<%s>" "$@" >{out}'
    words = ("{name}", "at={host}:{number}", "{{name}}", "", "$(id) `id` ;", "{name}{name}")
    hook = CommandHook("sh", "-c", script, "sh", *words)
    assert ask(hook, host="a b; $(touch x)") is None
    assert out.read_text() == "<p1><at=a b; $(touch x):1><{name}><><$(id) `id` ;><p1p1>"


@both
def test_at_its_time_out_a_command_is_killed(ask: Ask, tmp_path: Path) -> None:
    pid = tmp_path / "pid"
    hook = CommandHook("sh", "-c", f"echo $$ >{pid}; yes & sleep {LONG}", timeout=0.5)
    assert failed(ask, hook) == "'sh' did not end within 0.5 s"
    with pytest.raises(ProcessLookupError):
        os.kill(int(pid.read_text()), 0)


def test_no_time_is_left() -> None:
    with pytest.raises(NodeAccessError, match=r"^No time was left to ask 'true'$"):
        drive(CommandHook("true").steps_run(NODE, lambda: 0.0))


def test_a_command_does_not_show_its_arguments() -> None:
    assert repr(CommandHook("halt-node", "--token=secret")) == "<CommandHook 'halt-node'>"


WRONG_WORDS: list[tuple[Any, ...]] = [
    (), ("",), ("a", 1), ("a\0",), ("a", "{address}"), ("a", "{}"), ("a", "{0}"), ("a", "{name!r}"),
    ("a", "{name:>9}"), ("a", "{name.upper}"), ("a", "{"), ("a", "}"), ("a", "{name"),
]  # fmt: skip


@pytest.mark.parametrize("words", WRONG_WORDS, ids=repr)
def test_wrong_commands(words: Any) -> None:
    with pytest.raises(SettingError, match=r"^Invalid value for argv: "):
        CommandHook(*words)


def test_wrong_fields() -> None:
    with pytest.raises(SettingError, match=r"^A hook needs the node's host, which is not known$"):
        CommandHook("echo", "{host}").run(name="p1")
    with pytest.raises(SettingError, match=r"^Invalid value for fields: "):
        CommandHook("echo", "{host}").run(host="a\0b")


@given(st.text(alphabet="{}ab name", max_size=12), st.text(max_size=5))
def test_any_text_is_a_template_or_refused(text: str, name: str) -> None:
    try:
        template = Template("argv", text)
    except SettingError:
        return
    filled = template.filled({"name": name})
    assert filled == text.replace("{{", "\x01").replace("}}", "\x02").replace("{name}", name).replace(
        "\x01", "{"
    ).replace("\x02", "}")


# HTTP -----------------------------------------------------------------------------------------------------


def _response(status: str, body: bytes = b"", *fields: str) -> bytes:
    head = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", *fields, "", ""]
    return "\r\n".join(head).encode() + body


@both
def test_a_request(ask: Ask) -> None:
    requests: list[str] = []

    def handle(connection: socket.socket) -> None:
        requests.append(connection.recv(4096).decode())
        connection.sendall(OK)

    with Server(handle) as server:
        hook = HttpHook(
            f"http://{{host}}:{server.port}/halt/{{name}}?n={{number}}&x=%20",
            headers={"X-A": "b c", "Authorization": Secret("Bearer s3cret")},
        )
        assert "s3cret" not in repr(hook)
        assert ask(hook, host="127.0.0.1", name="p/1 ü&?") is None
        assert ask(HttpHook(f"http://127.0.0.1:{server.port}", method="GET")) is None
    first, *fields = requests[0].removesuffix("\r\n\r\n").split("\r\n")
    assert first == "POST /halt/p%2F1%20%C3%BC%26%3F?n=1&x=%20 HTTP/1.1"
    assert {
        f"Host: 127.0.0.1:{server.port}", "Content-Length: 0", "Connection: close", "X-A: b c",
        "Authorization: Bearer s3cret",
    } < {*fields}  # fmt: skip
    assert requests[1].startswith("GET / HTTP/1.1\r\n")
    assert "Content-Length" not in requests[1]


CHUNKED = (
    b"HTTP/1.1 409 Conflict\r\nTransfer-Encoding: chunked\r\n\r\n6\r\njob 7 \r\n4;x=y\r\nruns\r\n0\r\n\r\n"
)
ANSWERS: dict[str, tuple[Any, dict[str, Any], str | None]] = {
    "ok": (says(OK), {}, None),
    "no content": (says(b"HTTP/1.1 204 No Content\r\n\r\n"), {}, None),
    "conflict": (says(_response("409 Conflict", b"\n job 7 runs\n")), {}, "job 7 runs"),
    "locked, without a word": (says(_response("423 Locked")), {}, "{} says so (status 423)"),
    "in chunks": (says(CHUNKED), {}, "job 7 runs"),
    "until it closes": (says(b"HTTP/1.0 409\r\n\r\nbusy\n"), {}, "busy"),
    "refused as set": (says(_response("403 Forbidden", b"no")), {"refuse": "403"}, "no"),
    "expected as set": (says(_response("409 Conflict", b"no")), {"expect": [409]}, None),
    "forbidden": (
        says(_response("403 Forbidden", b"no token")),
        {},
        "!{} answered with status 403: no token",
    ),
    "moved": (says(_response("302 Found", b"", "Location: /")), {}, "!{} answered with status 302"),
    "colours": (says(_response("500 No", b"\x1b[31mbad\x07\n")), {}, "!{} answered with status 500: [31mbad"),
    "ssh": (says(b"SSH-2.0-x\r\n"), {}, "!{} was not asked: it does not speak HTTP: b'SSH-2.0-x'"),
    "closes": (says(), {}, "!{} was not asked: it closed the connection without an answer, or sent too much"),
    "resets": (resets, {}, "!{} was not asked: connection reset by peer"),
    "silent": (until_it_leaves, {"timeout": 0.1}, "!{} did not end within 0.1 s"),
    "trickles": (trickles, {"timeout": 0.1}, "!{} did not end within 0.1 s"),
    "endless": (
        says(b"HTTP/1.1 500 No\r\n\r\n", *[b"x" * 1000] * 200),
        {},
        "!{} answered with status 500: " + "x" * 300,
    ),
}


@both
@pytest.mark.parametrize("name", ANSWERS)
def test_answers(ask: Ask, name: str) -> None:
    handle, settings, answer = ANSWERS[name]
    with Server(handle) as server:
        url = f"http://127.0.0.1:{server.port}"
        arguments: dict[str, Any] = {"timeout": LONG, **settings}
        hook = HttpHook(f"{url}/halt", **arguments)
        expected = None if answer is None else answer.format(url)
        if expected is not None and expected.startswith("!"):
            assert failed(ask, hook) == expected[1:]
        else:
            assert ask(hook) == expected
        assert server.connections == 1


@both
def test_what_is_expected_is_enough_without_the_rest(ask: Ask) -> None:
    def handle(connection: socket.socket) -> None:
        says(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n")(connection)
        until_it_leaves(connection)

    began = SYSTEM.now()
    with Server(handle) as server:
        assert ask(HttpHook(f"http://127.0.0.1:{server.port}/", timeout=LONG)) is None
    assert SYSTEM.now() - began < LONG / 2


@both
def test_nobody_there(ask: Ask) -> None:
    with closed_port() as port:
        text = failed(ask, HttpHook(f"http://127.0.0.1:{port}/"))
        assert text == f"http://127.0.0.1:{port} was not asked: connection refused"
    assert "cannot be resolved" in failed(ask, HttpHook("http://{host}/", timeout=LONG), host="x.invalid")
    with pytest.raises(SettingError, match=r"^The address of <HttpHook http://\{host\}:80> cannot be used: "):
        ask(HttpHook("http://{host}/"), host="a/b")


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One for 127.0.0.1, with its key, by itself."""
    openssl = needed("openssl", "openssl")
    path: Path = tmp_path_factory.mktemp("tls") / "both.pem"
    subprocess.run(
        [
            openssl, "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
            "-keyout", path, "-out", path.with_name("crt"), "-days", "2", "-subj", "/CN=127.0.0.1",
            "-addext", "subjectAltName=IP:127.0.0.1",
        ],
        check=True, capture_output=True,
    )  # fmt: skip
    path.write_bytes(path.read_bytes() + path.with_name("crt").read_bytes())
    return path


@both
def test_https(ask: Ask, certificate: Path) -> None:
    ours = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    ours.load_cert_chain(certificate)
    requests: list[bytes] = []

    def handle(connection: socket.socket) -> None:
        with ours.wrap_socket(connection, server_side=True) as secured:
            requests.append(secured.recv(4096))
            secured.sendall(_response("409 Conflict", b"a" * 20_000 + b"\nbusy\n"))

    trusting = ssl.create_default_context(cafile=str(certificate))
    with Server(handle) as server:
        url = f"https://127.0.0.1:{server.port}"
        assert ask(HttpHook(f"{url}/halt", tls=trusting, timeout=LONG)) == "busy"
        text = failed(ask, HttpHook(f"{url}/halt", timeout=LONG))
        assert text == f"{url} was not asked: self-signed certificate"
    assert len(requests) == 1
    assert requests[0].startswith(b"POST /halt HTTP/1.1\r\n")


@both
def test_a_server_that_hangs_in_the_handshake(ask: Ask) -> None:
    with Server(until_it_leaves) as server:
        url = f"https://127.0.0.1:{server.port}"
        assert failed(ask, HttpHook(url, timeout=0.2)) == f"{url} did not end within 0.2 s"


def test_a_cancelled_one_closes_its_connection() -> None:
    async def leave(url: str) -> None:
        task = asyncio.create_task(HttpHook(url, timeout=LONG).arun())
        await asyncio.sleep(0.1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    with Server(until_it_leaves) as server:
        asyncio.run(leave(f"http://127.0.0.1:{server.port}"))


WRONG: list[tuple[str, Any]] = [
    ("url", ""), ("url", "p1/halt"), ("url", "ftp://p1/"), ("url", "http://"), ("url", "http://u:p@p1/"),
    ("url", "http://p1/a b"), ("url", "http://p1/ü"), ("url", "http://p1/#x"), ("url", "http://p1:x/"),
    ("url", "http://p1:99999/"), ("url", "http://{ip}/"), ("url", "http://p1/{"), ("url", None),
    ("url", "http://p1/\r\nX: y"),
    ("method", "HEAD"), ("method", "post"), ("method", None),
    ("headers", {"Host": "x"}), ("headers", {"A b": "c"}), ("headers", {"A": "b\r\nC: d"}),
    ("headers", {"A": "ü"}), ("headers", {"A": ""}), ("headers", {"A": 1}), ("headers", {"": "x"}),
    ("expect", "99"), ("refuse", "x"), ("timeout", 0),
]  # fmt: skip


@pytest.mark.parametrize(("argument", "value"), WRONG, ids=repr)
def test_wrong_arguments(argument: str, value: Any) -> None:
    arguments: dict[str, Any] = {"url": "http://p1/halt", argument: value}
    with pytest.raises(SettingError, match=rf"^Invalid value for {argument}: "):
        HttpHook(arguments.pop("url"), **arguments)


def test_a_wrong_secret_is_not_shown() -> None:
    with pytest.raises(SettingError) as caught:
        HttpHook("http://p1/", headers={"Authorization": Secret("s3cret\n")})
    assert "s3cret" not in str(caught.value)
