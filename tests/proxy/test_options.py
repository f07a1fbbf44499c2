"""The proxy's options: the command line, the environment and the file mean the same."""

from __future__ import annotations

import json
import math
import re
import shlex
import tomllib
from ipaddress import ip_network
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clusterhat_proxy.options import (
    SETTINGS,
    Address,
    HashOn,
    OptionError,
    Options,
    unknown_names,
)
from rpi_clusterhat import PoolSettings
from tests.proxy.telling import REPEATABLE, in_file, told

if TYPE_CHECKING:
    from collections.abc import Mapping

EXAMPLE = Path(__file__).resolve().parents[2] / "examples/proxy/proxy.toml"


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
    "options": st.dictionaries(
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
    "boot_attempts": st.integers(1, 10**6),
    "quarantine": st.just("never") | seconds(),
    "idle_timeout": st.just("never") | seconds(),
    "min_on_time": seconds(0),
    "boot_timeout": seconds(),
    "boot_estimate": seconds(0),
    "boot_history": FILE,
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
    "queue_timeout": seconds(),
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
            argv += [f"{SETTINGS[name].flag}={k}={v}" for k, v in texts.items()]
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


def as_env(said: Mapping[str, Any], file: str) -> dict[str, str]:
    env: dict[str, str] = {}
    for name, value in said.items():
        if isinstance(value, bool):
            text = ("no", "yes")[value]
        elif isinstance(value, list):
            text = shlex.join(map(str, cast("list[object]", value)))
        elif isinstance(value, dict):
            table = cast("dict[str, object]", value)
            texts = {k: ("no", "yes")[v] if isinstance(v, bool) else v for k, v in table.items()}
            text = shlex.join(f"{k}={v}" for k, v in texts.items())
        else:
            text = file if value == "FILE" else str(value)
        env[f"CLUSTERHAT_PROXY_{name.upper()}"] = text
    return env


@REPEATABLE
@given(st.fixed_dictionaries({}, optional=SAID).map(sensible))
def test_line_file_and_variables_mean_the_same(pem: Path, said: dict[str, Any]) -> None:
    by_line = told(*as_argv(said, str(pem)))
    by_file = told(*in_file(pem.with_name("round.toml"), as_toml(said, str(pem))))
    assert by_line == by_file == told(**as_env(said, str(pem)))
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


def test_a_variable_counts_less_than_the_line_and_more_than_the_file(toml: Path) -> None:
    in_file(toml, "maxconn = 5\nqueue = 5\nmin-on-time = 5\n[options]\na = 5\nb = 5\nc = 5")
    env = {"CONFIG": str(toml), "MAXCONN": "6", "QUEUE": "6", "OPTIONS": "a=6 b=6", "IDLE_TIMEOUT": ""}
    options = told("--maxconn", "7", "-o", "a=7", **{f"CLUSTERHAT_PROXY_{k}": v for k, v in env.items()})
    assert (options.maxconn, options.queue, options.min_on_time) == (7, 6, 5.0)
    assert options.options == {"a": "7", "b": "6", "c": "5"}
    assert options.idle_timeout == Options().idle_timeout


def test_an_unknown_variable_is_a_warning() -> None:
    env = {
        "CLUSTERHAT_PROXY_MAXCON": "1",
        "CLUSTERHAT_PROXY_ADMIN_TOKEN": "x",
        "CLUSTERHAT_PROXY_CONFIG": "x",
    }
    assert list(unknown_names({**env, "CLUSTERHAT_PROXY_QUEUE": "1", "PATH": ""})) == [
        "Unknown environment variable CLUSTERHAT_PROXY_MAXCON: did you mean CLUSTERHAT_PROXY_MAXCONN?"
    ]


def test_the_example_holds_every_key_with_its_default(tmp_path: Path, pem: Path) -> None:
    assert told("--config", str(EXAMPLE)) == Options()
    text = EXAMPLE.read_text(encoding="utf-8")
    keys = {key for key, value in tomllib.loads(text).items() if value != {}}
    unset = set(re.findall(r"^#([a-z-]+) = ", text, re.MULTILINE)) - {"p1", "p2", "bus", "address"}
    assert {name.replace("_", "-") for name in SETTINGS} == keys | unset | {"node", "options"}
    assert not keys & unset

    shown = re.sub(r"^#(\S+ = )", r"\1", text, flags=re.MULTILINE)
    shown = re.sub(r'"/[^"]*\.(pem|key|toml)"|"/run[^"]*"', json.dumps(str(pem)), shown)
    shown = shown.replace('"i2c"', '"sim"').replace("[nodes]", "[node]")
    options = told(*in_file(tmp_path / "shown.toml", shown))
    assert all(getattr(options, key.replace("-", "_")) is not None for key in unset)
    assert options.node.keys() == {"p1", "p2"}
    assert options.options == {"bus": "1", "address": "32"}


# What is made of them --------------------------------------------------------------------------------------


def test_the_pools_defaults_are_the_librarys() -> None:
    assert told().pool_settings() == PoolSettings()


def test_the_pools_settings_are_those_said() -> None:
    settings = told(
        *(
            "--balance=first",
            "--maxconn=1",
            "--queue=2",
            "--queue-timeout=3",
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
        assert f"{setting.flag}{' ' if setting.metavar else ','}" in shown, name
        assert setting.group in shown
        assert f"(default: {setting.shown})" in shown or not setting.shown


def test_the_version_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        told("--version")
    assert end.value.code == 0
    assert re.fullmatch(r"clusterhat-proxy of rpi-clusterhat \d+\.\d+\.\d+\n", capsys.readouterr().out)
