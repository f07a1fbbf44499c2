"""The proxy's options: what is wrong is one line, which names the place and says what is expected."""

from __future__ import annotations

import json
import os
import shlex
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from clusterhat_proxy.options import SETTINGS, OptionError, parse
from rpi_clusterhat.settings import library as settings_module
from tests.proxy.telling import REPEATABLE, in_file, refusal, told

if TYPE_CHECKING:
    from pathlib import Path


WRONG = [
    ("--listen", "8080", "HOST:PORT"),
    ("--listen", ":8080", "HOST:PORT"),
    ("--listen", "::1:8080", "brackets"),
    ("--listen", "[::1]:65536", "65535"),
    ("--listen", "1.2.3.400:80", "address"),
    ("--listen", "[::1%a b]:80", "address"),
    ("--listen", "a b:80", "name"),
    ("--admin", "OFF", "HOST:PORT"),
    ("--trust-proxy", "10.0.0.1/8", "beyond its prefix"),
    ("--trust-proxy", "5", "network"),
    ("--node", "p0=a:1", "p1"),
    ("--node", "a:1", "p1"),
    ("--node", "p1=a:0", "from 1 to 65535"),
    ("--option", "bus", "KEY=VALUE"),
    ("--spacing", "3601", "3600"),
    ("--nodes", "0", "from 1 to 4"),
    ("--probe-path", "health", "starts with /"),
    ("--probe-expect", "2xx", "statuses"),
    ("--probe-interval", "0", "above 0"),
    ("--idle-timeout", "0", "or never"),
    ("--idle-timeout", "inf", "or never"),
    ("--timeout-client", "nan", "seconds"),
    ("--timeout-client", "-1", "seconds"),
    ("--timeout-client", "1_0", "seconds"),
    ("--timeout-client", "1e999", "seconds"),
    ("--timeout-client", "", "seconds"),
    ("--maxconn", "0", "from 1"),
    ("--maxconn", "1.5", "whole number"),
    ("--maxconn", "٣", "whole number"),
    ("--maxconn", "9" * 5000, "whole number"),
    ("--balance", "best", "random, roundrobin, leastconn, first, hash"),
    ("--hash-on", "header:", "header:NAME"),
    ("--hash-on", "path:x", "header:NAME"),
    ("--ignore-path", "health", "pattern"),
    ("--ignore-agent", " ", "text"),
    ("--network-interface", "eth0", "{number}"),
    ("--tls-cert", "/nowhere/cert.pem", "there is none"),
    ("--tls-cert", "/", "folder"),
    ("--tls-cert", "a\0b", "text without NUL"),
    ("--tls-cert", "x" * 5000, "a file"),
]


@pytest.mark.parametrize(("flag", "text", "hint"), WRONG)
def test_a_wrong_value_is_named_with_its_option(flag: str, text: str, hint: str, toml: Path) -> None:
    said = refusal(f"{flag}={text}")
    key = "options" if flag == "--option" else flag[2:]
    assert said.startswith(f"Invalid value for {key}: ")
    assert hint in said.partition(f" (from {flag}): expected ")[2]
    if text.isprintable():
        said = refusal(*in_file(toml, f"{key} = {json.dumps(text, ensure_ascii=False)}"))
        assert said.startswith(f"Invalid value for {key}: ")
        assert f" (from {toml}: {key}): expected " in said
    if text and "\0" not in text:
        variable = f"CLUSTERHAT_PROXY_{key.upper().replace('-', '_')}"
        repeated = SETTINGS[key.replace("-", "_")].shape in ("many", "pairs")
        said = refusal(**{variable: shlex.quote(text) if repeated else text})
        assert said.startswith(f"Invalid value for {key}: ")
        assert hint in said.partition(f" (from {variable}): expected ")[2]


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("listem = 1", "Unknown setting 'listem' (from FILE: listem): did you mean listen?"),
        ("config = 'x'", "Unknown setting 'config' (from FILE: config)"),
        ("option = {}", "Unknown setting 'option' (from FILE: option): did you mean options?"),
        ("timeout-queue = 5", "Unknown setting 'timeout-queue' (from FILE: timeout-queue)"),
        ("max-body = 1\nmax_body = 2", "Setting max_body is set twice (from FILE: max_body)"),
        ("listen = 8080", "listen: 8080 (from FILE: listen): expected text in quotes, or a list of such"),
        ("listen = []", "listen: [] (from FILE: listen): expected at least one"),
        ("listen = [['[::1]:1']]", "listen: ['[::1]:1'] (from FILE: listen): expected text"),
        ("board = 2.3", 'board: 2.3 (from FILE: board): expected text in quotes, "2.3"'),
        ("maxconn = '5'", "maxconn: '5' (from FILE: maxconn): expected a whole number"),
        ("maxconn = 5.0", "maxconn: 5.0 (from FILE: maxconn): expected a whole number"),
        ("maxconn = true", "maxconn: True (from FILE: maxconn): expected a whole number"),
        ("maxconn = [5]", "maxconn: [5] (from FILE: maxconn): expected a whole number"),
        (f"maxconn = 0x{'f' * 9999}", "maxconn: a huge number (from FILE: maxconn): expected a whole number"),
        ("idle-timeout = '5'", "'5' (from FILE: idle-timeout): expected a number or \"never\""),
        ("drain_timeout = nan", "drain-timeout: nan (from FILE: drain_timeout): expected seconds"),
        ("redispatch = 'no'", "redispatch: 'no' (from FILE: redispatch): expected true or false"),
        ("redispatch = 1", "redispatch: 1 (from FILE: redispatch): expected true or false"),
        ("[probe]\npath = '/'", "probe: {'path': '/'} (from FILE: probe): expected text in quotes"),
        ("options = 5", "options: 5 (from FILE: options): expected a table or a list of KEY=VALUE"),
        ("[options]\nfault = []", "options.fault: [] (from FILE: options): expected a number or"),
        ("[options]\n'a=b' = 1", "options.a=b: 1 (from FILE: options): expected"),
        ("[options]\na-b = 1\na_b = 1", "options: a_b is set twice (from FILE: options)"),
        ("[nodes]\np1 = 80", "node.p1: 80 (from FILE: node): expected text in quotes"),
        ("[nodes]\nn1 = 'a:1'", "node: 'n1=a:1' (from FILE: node): expected NODE=HOST:PORT"),
        ("[nodes]\np1 = 'a:1'\n[node]\np1 = 'a:1'", "Setting node is set twice (from FILE)"),
        ("nodes = 2\n[node]\np1 = 'a'", "node: 'p1=a' (from FILE: node): expected HOST:PORT"),
        ("nodes = 9", "nodes: 9 (from FILE: nodes): expected a whole number from 1 to 4"),
        ("node = ['p1=a:1', 'p1=b:1']", "node: p1 is set twice (from FILE: node)"),
        ("maxconn = 5 5", "is not TOML"),
        ("a = " + "[" * 5000, "is not TOML"),
        ("a = " + "9" * 5000, "is not TOML"),
        ("#" * 2_000_000, "is longer than"),
    ],
)
def test_what_is_wrong_in_the_file_is_named(text: str, hint: str, toml: Path) -> None:
    said = refusal(*in_file(toml, text))
    assert hint.replace("FILE", str(toml)) in said
    assert str(toml) in said


@pytest.mark.parametrize("path", ["/nowhere.toml", "/", "", "a\0b", "~nobody-at-all/x"])
def test_a_file_that_cannot_be_read_is_said(path: str) -> None:
    named = path.replace("\0", "\\x00")
    expected = (
        f"Cannot read {named} (from --config): " if path else "Invalid value for config: '' (from --config)"
    )
    assert refusal("--config", path).startswith(expected)


def test_a_file_that_is_no_text_is_said(toml: Path) -> None:
    toml.write_bytes(b"\xff\xfe")
    assert "is not TOML" in refusal("--config", str(toml))


def test_a_file_that_this_user_may_not_read_is_said(pem: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def denied(_path: object, _mode: int) -> bool:
        return False

    monkeypatch.setattr(os, "access", denied)
    assert "this user may read" in refusal("--tls-cert", str(pem))


@pytest.mark.parametrize(
    ("argv", "hint"),
    [
        (("--tls-key", "PEM"), "--tls-key: needs --tls-cert"),
        (("--boot-time", "1", "--backend", "i2c"), "--boot-time: is for a simulation"),
        (("--boot-time", "1"), "--boot-time: is for a simulation"),
        (("--boot-time", "1", "--backend", "sim", "--option", "boot-time=2"), "not both"),
        (("--node", "p1=a:1", "--node", "p1=b:1"), "node: p1 is set twice (from --node)"),
        (("--listen", "[::1]:80", "--listen", "[0::1]:80"), "[::1]:80 is set twice"),
        (("--admin", "127.0.0.1:8080"), "127.0.0.1:8080 is set twice"),
        (("--max-conn", "5"), "unrecognized arguments"),
        (("--idle", "5"), "unrecognized arguments"),
        (("p1",), "unrecognized arguments"),
        (("--maxconn",), "--maxconn: expected one argument"),
        (("a\nb\x1b\udcff",), "unrecognized arguments: a\\nb\\x1b\\udcff"),
    ],
)
def test_what_does_not_fit_together_is_said(
    argv: tuple[str, ...], hint: str, pem: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(settings_module, "_FILES", ())
    assert hint in refusal(*(str(pem) if word == "PEM" else word for word in argv))


def test_boards_of_which_one_is_real_are_no_simulation(toml: Path) -> None:
    toml.write_text('boards = [{backend = "sim"}, {backend = "i2c"}]', encoding="utf-8")
    assert "is for a simulation" in refusal("--boot-time", "1", "--cluster-config", str(toml))


@pytest.mark.parametrize("said", ["backend", "variable", "file"])
def test_a_boot_time_is_for_a_simulation_wherever_that_is_said(said: str, toml: Path) -> None:
    toml.write_text('backend = "sim"', encoding="utf-8")
    argv = {"backend": ["--backend", "sim"], "file": ["--cluster-config", str(toml)]}.get(said, [])
    env = {"RPI_CLUSTERHAT_BACKEND": "sim"} if said == "variable" else {}
    options = told(*argv, "--boot-time", "1.5", "--option", "fault=p2:slow=3", **env)
    assert options.cluster_arguments()["options"] == {"boot_time": 1.5, "fault": "p2:slow=3"}


def test_a_wrong_settings_file_of_the_library_is_said_in_a_line(toml: Path) -> None:
    toml.write_text("board = 2.3", encoding="utf-8")
    assert f"board: 2.3 (from {toml}: board)" in refusal("--boot-time", "1", "--cluster-config", str(toml))


FLAGS = st.sampled_from(
    ["--" + name.replace("_", "-") for name in SETTINGS] + ["--config", "--no-redispatch", "--"]
)
TEXTS = st.text(max_size=12) | st.sampled_from(["1", "off", "never", "/", "p1=a:1", "::1", "[::1]:1", "-1"])
WORDS_OF_A_LINE = FLAGS | TEXTS | st.builds("{}={}".format, FLAGS, TEXTS)


def outcome(argv: list[str]) -> str:
    """Whatever else is raised fails the test."""
    try:
        options = parse(argv, {"RPI_CLUSTERHAT_BACKEND": "sim"})
    except OptionError as error:
        return str(error)
    except SystemExit as end:
        return f"ended with {end.code}"
    return type(options).__name__


@REPEATABLE
@given(st.lists(WORDS_OF_A_LINE, max_size=6))
@example(["-h"])
def test_any_line_is_taken_or_refused(argv: list[str]) -> None:
    said = outcome(argv)
    assert said in ("Options", "ended with 0") or (said.isprintable() and said.endswith("(see --help)"))


VALUES = st.recursive(
    st.booleans() | st.integers() | st.floats() | TEXTS.filter(str.isprintable),
    lambda inner: st.lists(inner, max_size=3),
    max_leaves=4,
)


@REPEATABLE
@given(st.dictionaries(st.sampled_from([*SETTINGS]), VALUES, max_size=4), st.binary(max_size=20))
def test_any_file_is_taken_or_refused(pem: Path, said: dict[str, Any], tail: bytes) -> None:
    path = pem.with_name("any.toml")
    lines = [f"{k} = {json.dumps(v, ensure_ascii=False)}" for k, v in said.items()]
    text = "\n".join(lines).encode("utf-8", "replace")
    for content in (text, text + b"\n" + tail):
        path.write_bytes(content)
        answer = outcome(["--config", str(path)])
        assert answer.isprintable()
        assert answer == "Options" or str(path) in answer or answer.startswith("--listen, --admin: ")
