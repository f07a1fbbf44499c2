"""The proxy's options: the line and the file mean the same, and what is wrong is one line."""

from __future__ import annotations

import json
import math
import os
import re
import tomllib
from ipaddress import ip_network
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import hypothesis
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from clusterhat_proxy.options import SETTINGS, Address, HashOn, OptionError, Options, parse, read_token
from rpi_clusterhat import PoolSettings
from rpi_clusterhat.settings import library as settings_module

if TYPE_CHECKING:
    from collections.abc import Mapping

EXAMPLE = Path(__file__).resolve().parents[2] / "examples/proxy/proxy.toml"
REPEATABLE = hypothesis.settings(derandomize=True, database=None, deadline=None)
SECRET = "correct-horse-battery"


def told(*argv: str, **env: str) -> Options:
    return parse(argv, env)


def refusal(*argv: str, **env: str) -> str:
    with pytest.raises(OptionError) as caught:
        parse(argv, env)
    text = str(caught.value)
    assert text.isprintable()
    assert text.endswith("(see --help)")
    return text


@pytest.fixture
def toml(tmp_path: Path) -> Path:
    return tmp_path / "proxy.toml"


def in_file(path: Path, text: str) -> tuple[str, str]:
    path.write_text(text, encoding="utf-8")
    return ("--config", str(path))


@pytest.fixture(scope="module")
def pem(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("files") / "a file.pem"
    path.write_text(SECRET, encoding="utf-8")
    path.chmod(0o600)
    return path


# Line and file ---------------------------------------------------------------------------------------------

PORTS = st.integers(1, 65535)
HOSTS = st.sampled_from(["127.0.0.1", "[::1]", "node-1.lan", "[fe80::1%eth0]", "UP"])
WORDS = st.text(st.characters(categories=["L", "N", "P", "S"]), min_size=1, max_size=9)
FILE = st.just("FILE")


def seconds(low: float = 0.001, high: float = 1e6) -> st.SearchStrategy[float]:
    return st.floats(low, high) | st.integers(math.ceil(low), int(high))


def addresses(ports: st.SearchStrategy[int] = PORTS) -> st.SearchStrategy[str]:
    return st.builds("{}:{}".format, HOSTS, ports)


SAID: dict[str, st.SearchStrategy[Any]] = {
    "listen": st.lists(addresses(st.integers(0, 30000)), min_size=1, max_size=1)
    | st.just(["[::1]:1", "[::2]:1"]),
    "admin": st.just("off") | addresses(st.integers(30001, 65535)),
    "tls_cert": FILE,
    "tls_key": FILE,
    "trust_proxy": st.lists(st.sampled_from(["10.0.0.0/8", "fd00::/8", "192.0.2.1"])),
    "backend": st.sampled_from(["sim", "i2c"]),
    "board": st.sampled_from(["2.3", "1.3"]),
    "spacing": seconds(0, 3600),
    "option": st.dictionaries(
        st.sampled_from(["bus", "address", "fault"]), st.booleans() | st.integers() | st.floats() | WORDS
    ),
    "cluster_config": FILE,
    "boot_time": seconds(0),
    "nodes": st.integers(1, 4),
    "node": st.dictionaries(st.integers(1, 99999).map("p{}".format), addresses()),
    "node_port": PORTS,
    "probe": st.sampled_from(["tcp", "http"]),
    "probe_path": st.sampled_from(["/", "/health?deep=1"]),
    "probe_expect": st.sampled_from(["200", "200,204,300-399"]),
    "probe_interval": seconds(),
    "probe_timeout": seconds(),
    "ready_after": seconds(0),
    "balance": st.sampled_from(["random", "roundrobin", "leastconn", "first", "hash"]),
    "hash_on": st.sampled_from(["client", "path", "header:X-User", "cookie:Sid"]),
    "mode": st.sampled_from(["forward", "redirect"]),
    "maxconn": st.integers(1, 10**6),
    "queue": st.integers(0, 10**6),
    "redispatch": st.booleans(),
    "retry_after_failure": seconds(0),
    "idle_timeout": st.just("never") | seconds(),
    "min_on_time": seconds(0),
    "boot_timeout": seconds(),
    "boot_estimate": seconds(0),
    "cold": st.sampled_from(["hold", "page", "auto"]),
    "ignore_path": st.lists(WORDS.map("/{}".format)),
    "ignore_agent": st.lists(WORDS),
    "network_activity": st.integers(0, 2**53),
    "network_interface": st.sampled_from(["ethpi{number}", "br-{name}"]),
    "max_connections": st.integers(1, 10**6),
    "max_connections_per_client": st.integers(1, 10**6),
    "max_header_size": st.integers(1024, 2**24),
    "max_request_line": st.integers(64, 2**24),
    "max_headers": st.integers(1, 10000),
    "max_body": st.integers(0, 2**53),
    "min_body_rate": st.integers(0, 10**9),
    "timeout_queue": seconds(),
    "timeout_connect": seconds(),
    "timeout_http_request": seconds(),
    "timeout_http_keep_alive": seconds(),
    "timeout_client": seconds(),
    "timeout_server": seconds(),
    "timeout_tunnel": seconds(0),
    "drain_timeout": seconds(0),
    "off_at_exit": st.booleans(),
    "admin_token_file": FILE,
    "log_level": st.sampled_from(["warning", "info", "debug"]),
    "access_log": st.booleans(),
}


def sensible(said: dict[str, Any]) -> dict[str, Any]:
    if "tls_key" in said:
        said["tls_cert"] = "FILE"
    if "boot_time" in said:
        said["backend"] = "sim"
    return said


def as_argv(said: Mapping[str, Any], file: str) -> list[str]:
    argv: list[str] = []
    for name, value in said.items():
        flag = "--" + name.replace("_", "-")
        if isinstance(value, bool):
            argv.append(flag if value else flag.replace("--", "--no-", 1))
        elif isinstance(value, list):
            argv += [f"{flag}={item}" for item in cast("list[object]", value)]
        elif isinstance(value, dict):
            table = cast("dict[str, object]", value)
            texts = {k: ("no", "yes")[v] if isinstance(v, bool) else v for k, v in table.items()}
            argv += [f"{flag}={k}={v}" for k, v in texts.items()]
        else:
            argv.append(f"{flag}={file if value == 'FILE' else value}")
    return argv


def as_toml(said: Mapping[str, Any], file: str) -> str:
    def literal(value: object) -> str:
        return json.dumps(value, ensure_ascii=False) if isinstance(value, bool | str | list) else str(value)

    lines: list[str] = []
    tables: list[str] = []
    for i, (name, value) in enumerate(said.items()):
        key = name.replace("_", "-") if i % 2 else name
        if isinstance(value, dict):
            tables.append("[nodes]" if name == "node" and "nodes" not in said else f"[{name}]")
            tables += [f"{k} = {literal(v)}" for k, v in cast("dict[str, object]", value).items()]
        else:
            lines.append(f"{key} = {literal(file if value == 'FILE' else value)}")
    return "\n".join([*lines, *tables])


def test_every_option_is_tried() -> None:
    assert SAID.keys() == SETTINGS.keys()


@REPEATABLE
@given(st.fixed_dictionaries({}, optional=SAID).map(sensible))
def test_line_and_file_mean_the_same(pem: Path, said: dict[str, Any]) -> None:
    by_line = told(*as_argv(said, str(pem)))
    by_file = told(*in_file(pem.with_name("round.toml"), as_toml(said, str(pem))))
    assert by_line == by_file
    for name in SETTINGS.keys() - said.keys():
        assert getattr(by_line, name) == getattr(Options(), name), name


def test_values_have_their_types(pem: Path) -> None:
    options = told(
        *(
            "--listen",
            "[0::1]:0",
            "--listen",
            "Example.ORG:80",
            "--admin",
            "off",
            "--trust-proxy",
            "fd00::/8",
        ),
        *(
            "--node",
            "p2=10.0.0.2:81",
            "--hash-on",
            "header:X-User",
            "--idle-timeout",
            "never",
            "--tls-cert",
            str(pem),
        ),
        *(
            "--maxconn",
            "7",
            "--max-body",
            "0",
            "--timeout-tunnel",
            "0",
            "--timeout-client",
            "1e1",
            "--no-redispatch",
        ),
    )
    assert options.listen == (Address("::1", 0), Address("example.org", 80))
    assert str(options.listen[0]) == "[::1]:0"
    assert options.admin is None
    assert options.trust_proxy == (ip_network("fd00::/8"),)
    assert options.node == {"p2": Address("10.0.0.2", 81)}
    assert options.hash_on == HashOn("header", "x-user")
    assert (options.idle_timeout, options.max_body, options.timeout_tunnel) == (math.inf, None, None)
    assert (options.maxconn, options.timeout_client, options.redispatch) == (7, 10.0, False)
    assert options.tls_cert == pem


def test_what_the_library_decides_stays_unsaid() -> None:
    assert set(told().cluster_arguments().values()) == {None}


def test_the_line_counts_more_than_the_file(toml: Path) -> None:
    file = in_file(
        toml,
        'maxconn = 5\nredispatch = false\nlisten = "[::1]:1"\naccess_log = true\nqueue = 3\n'
        'nodes = { p1 = "a:1", p2 = "b:2" }',
    )
    options = told(
        *(
            "--maxconn",
            "6",
            *file,
            "--redispatch",
            "--listen",
            "[::1]:2",
            "--no-access-log",
            "--node",
            "p1=c:3",
        )
    )
    assert (options.maxconn, options.redispatch, options.access_log, options.queue) == (6, True, False, 3)
    assert options.listen == (Address("::1", 2),)
    assert options.node == {"p1": Address("c", 3), "p2": Address("b", 2)}


def test_the_example_holds_every_key_with_its_default(tmp_path: Path, pem: Path) -> None:
    assert told("--config", str(EXAMPLE)) == Options()
    text = EXAMPLE.read_text(encoding="utf-8")
    keys = {key for key, value in tomllib.loads(text).items() if value != {}}
    unset = set(re.findall(r"^#([a-z-]+) = ", text, re.MULTILINE)) - {"p1", "p2", "bus", "address"}
    assert {name.replace("_", "-") for name in SETTINGS} == keys | unset | {"node", "option"}
    assert not keys & unset

    shown = re.sub(r"^#(\S+ = )", r"\1", text, flags=re.MULTILINE)
    shown = re.sub(r'"/[^"]*\.(pem|key|toml)"|"/run[^"]*"', json.dumps(str(pem)), shown)
    shown = shown.replace('"i2c"', '"sim"').replace("[nodes]", "[node]")
    options = told(*in_file(tmp_path / "shown.toml", shown))
    assert all(getattr(options, key.replace("-", "_")) is not None for key in unset)
    assert options.node.keys() == {"p1", "p2"}
    assert options.option == {"bus": "1", "address": "32"}


# What is wrong ---------------------------------------------------------------------------------------------

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
    ("--probe-path", "health", "must start with /"),
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
    ("--tls-cert", "a\0b", "path of a file"),
    ("--tls-cert", "x" * 5000, "must be a file"),
]


@pytest.mark.parametrize(("flag", "text", "hint"), WRONG)
def test_a_wrong_value_is_named_with_its_option(flag: str, text: str, hint: str, toml: Path) -> None:
    said = refusal(f"{flag}={text}")
    assert said.startswith(f"{flag}: ")
    assert hint in said
    if text.isprintable():
        said = refusal(*in_file(toml, f"{flag[2:]} = {json.dumps(text, ensure_ascii=False)}"))
        assert said.startswith(f"{toml}: {flag[2:]}: ")


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("listem = 1", "there is no key 'listem': is it listen?"),
        ("config = 'x'", "there is no key 'config'"),
        ("max-body = 1\nmax_body = 2", "max_body: is said twice"),
        ("listen = 8080", "listen: 8080: must be text in quotes, or a list of such"),
        ("listen = []", "listen: must hold at least one"),
        ("listen = [['[::1]:1']]", "listen: ['[::1]:1']: must be text"),
        ("board = 2.3", "board: 2.3: must be text in quotes"),
        ("maxconn = '5'", "maxconn: '5': must be a whole number"),
        ("maxconn = 5.0", "maxconn: 5.0: must be a whole number"),
        ("maxconn = true", "maxconn: True: must be a whole number"),
        ("maxconn = [5]", "maxconn: [5]: must be a whole number"),
        ("maxconn = 0x" + "f" * 9999, "maxconn: must not have thousands of digits"),
        ("idle-timeout = '5'", "idle-timeout: '5': must be a number or \"never\""),
        ("drain_timeout = nan", "drain-timeout: 'nan': must be seconds"),
        ("redispatch = 'no'", "redispatch: 'no': must be true or false"),
        ("[probe]\npath = '/'", "probe: {'path': '/'}: must be text in quotes"),
        ("option = 5", "option: 5: must be a table or a list of KEY=VALUE"),
        ("[option]\nfault = []", "option.fault: []: must be text"),
        ("[option]\n'a=b' = 1", "option.a=b: 1: must be"),
        ("[option]\na-b = 1\na_b = 1", "option: a_b is said twice"),
        ("[nodes]\np1 = 80", "node.p1: 80: must be text in quotes"),
        ("[nodes]\nn1 = 'a:1'", "node: 'n1=a:1': must be NODE=HOST:PORT"),
        ("nodes = 2\n[node]\np1 = 'a'", "node: 'p1=a': must be HOST:PORT"),
        ("nodes = 9", "nodes: '9': must be a whole number from 1 to 4"),
        ("node = ['p1=a:1', 'p1=b:1']", "node: p1 is said twice"),
        ("maxconn = 5 5", "is not TOML"),
        ("a = " + "[" * 5000, "is not TOML"),
        ("a = " + "9" * 5000, "is not TOML"),
        ("#" * 2_000_000, "is longer than"),
    ],
)
def test_what_is_wrong_in_the_file_is_named(text: str, hint: str, toml: Path) -> None:
    said = refusal(*in_file(toml, text))
    assert said.startswith(f"{toml}: ")
    assert hint in said


@pytest.mark.parametrize("path", ["/nowhere.toml", "/", "", "a\0b", "~nobody-at-all/x"])
def test_a_file_that_cannot_be_read_is_said(path: str) -> None:
    assert refusal("--config", path).startswith(path.replace("\0", "\\x00") + ": ")


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
        (("--node", "p1=a:1", "--node", "p1=b:1"), "--node: p1 is said twice"),
        (("--listen", "[::1]:80", "--listen", "[0::1]:80"), "[::1]:80: is said twice"),
        (("--admin", "127.0.0.1:8080"), "127.0.0.1:8080: is said twice"),
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
    assert f"{toml}: board" in refusal("--boot-time", "1", "--cluster-config", str(toml))


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
        assert answer == "Options" or answer.startswith((f"{path}: ", "--listen, --admin: "))


# The token -------------------------------------------------------------------------------------------------


def test_the_token_comes_from_the_file_or_else_the_environment(pem: Path) -> None:
    other = "of-the-environment"
    assert told().admin_token is None
    assert told(RPI_CLUSTERHAT_ADMIN_TOKEN="").admin_token is None
    assert told(RPI_CLUSTERHAT_ADMIN_TOKEN=other).admin_token == other
    options = told("--admin-token-file", str(pem), RPI_CLUSTERHAT_ADMIN_TOKEN=other)
    assert options.admin_token == SECRET
    assert SECRET not in repr(options)


@pytest.mark.parametrize(
    "content", ["", "short", "fifteen-letters", "sixteen letters!", "ünicode-is-not-taken"]
)
def test_a_weak_token_is_refused(content: str, tmp_path: Path) -> None:
    path = tmp_path / "token"
    path.write_text(content + "\n", encoding="utf-8")
    path.chmod(0o600)
    said = refusal("--admin-token-file", str(path))
    assert "16 or more" in said
    assert not content or content not in said
    assert not content or "16 or more" in refusal(RPI_CLUSTERHAT_ADMIN_TOKEN=content)


@pytest.mark.parametrize(("mode", "taken"), [(0o400, True), (0o440, True), (0o604, False), (0o602, False)])
def test_a_token_that_others_may_read_is_refused(mode: int, taken: bool, tmp_path: Path) -> None:
    path = tmp_path / "token"
    path.write_text(SECRET, encoding="utf-8")
    path.chmod(mode)
    if taken:
        assert told("--admin-token-file", str(path)).admin_token == SECRET
    else:
        assert "chmod 600" in refusal("--admin-token-file", str(path))


def test_a_token_file_that_went_is_said(tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="cannot be read"):
        read_token(tmp_path / "gone")


# What is made of them --------------------------------------------------------------------------------------


def test_the_pools_defaults_are_the_librarys() -> None:
    assert told().pool_settings() == PoolSettings()


def test_the_pools_settings_are_those_said() -> None:
    settings = told(
        *(
            "--balance=first",
            "--maxconn=1",
            "--queue=2",
            "--timeout-queue=3",
            "--boot-timeout=4",
            "--boot-estimate=5",
        ),
        *(
            "--probe-interval=6",
            "--ready-after=7",
            "--idle-timeout=never",
            "--min-on-time=8",
            "--no-redispatch",
        ),
        "--retry-after-failure=9",
    ).pool_settings()
    assert settings == PoolSettings("first", 1, 2, 3.0, 4.0, 5.0, 6.0, 7.0, math.inf, 8.0, 9.0, False)


def test_nodes_answer_where_it_was_said() -> None:
    options = told("--node", "p1=10.0.0.1:81", "--node-port", "8000")
    assert options.addresses(["p1", "p2", "p3"], {"p1": ("127.0.0.1", 1), "p3": ("127.0.0.3", 3)}) == {
        "p1": Address("10.0.0.1", 81),
        "p2": Address("p2.local", 8000),
        "p3": Address("127.0.0.3", 3),
    }
    with pytest.raises(OptionError, match="p1: the cluster has no such node: it has p2"):
        options.addresses(["p2"])


def test_help_shows_every_option_and_its_default(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        told("--help")
    assert end.value.code == 0
    shown = " ".join(capsys.readouterr().out.split())
    for name, setting in SETTINGS.items():
        assert f"--{name.replace('_', '-')}{' ' if setting.metavar else ','}" in shown, name
        assert setting.group in shown
        assert f"(default: {setting.default})" in shown or not setting.default


def test_the_version_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        told("--version")
    assert end.value.code == 0
    assert re.fullmatch(r"clusterhat-proxy of rpi-clusterhat \d+\.\d+\.\d+\n", capsys.readouterr().out)
