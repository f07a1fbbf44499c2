"""Header fields on their way through the proxy, for any fields."""

from __future__ import annotations

import ipaddress
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clusterhat_proxy.fields import (
    HOP_BY_HOP,
    Field,
    Forwarding,
    connection_options,
    end_to_end,
    fewer_hops,
    is_upgrade,
    is_within,
    tokens,
    trailer_fields,
)

NAMES = [
    "Connection",
    "Keep-Alive",
    "TE",
    "Transfer-Encoding",
    "Upgrade",
    "Proxy-Authorization",
    "Content-Length",
    "Host",
    "Via",
    "Set-Cookie",
    "X-A",
    "x-b",
    "Forwarded",
    "X-Forwarded-For",
    "X-Real-IP",
    "x_forwarded_for",
    "Trailer",
    "Max-Forwards",
    "Fo",
    "X-Forward",
]
names = st.sampled_from(NAMES).flatmap(lambda name: st.sampled_from([name, name.lower(), name.upper()]))
lists = st.lists(st.one_of(names, st.sampled_from(["", "close", " ", "x y"]))).map(", ".join)
values = st.one_of(
    lists, st.text(st.characters(min_codepoint=32, max_codepoint=255, exclude_characters="\x7f"))
)
fields = st.lists(
    st.tuples(names, values).map(
        lambda pair: (pair[0].lower().encode(), pair[0].encode(), pair[1].encode("latin-1"))
    )
)
hosts = st.text("abz019.-_~%!$&'()*+,;=:[]").map(str.encode)


def first(fields: list[Field]) -> dict[bytes, bytes]:
    return {name: value for name, _, value in reversed(fields)}


@given(fields)
def test_only_what_is_for_the_next_hop_is_taken_out(fields: list[Field]) -> None:
    named = {
        part.strip().lower()
        for name, _, value in fields
        if name == b"connection"
        for part in value.split(b",")
    }
    gone = (HOP_BY_HOP | named) - {b"content-length", b"host"}
    found = end_to_end(fields, first(fields))
    assert found == [field for field in fields if field[0] not in gone]
    assert end_to_end(found, first(found)) == found


@given(fields)
def test_trailers_hold_nothing_that_says_how_to_read_or_route_a_message(fields: list[Field]) -> None:
    trailers = [(raw, value) for _, raw, value in fields]
    found = trailer_fields(trailers, [(b"connection", b"Connection", b"x-a")])
    left = {name.lower() for name, _ in found}
    assert left <= {b"via", b"set-cookie", b"x-b", b"max-forwards", b"fo", b"x-forward"}
    assert found == [pair for pair in trailers if pair[0].lower() in left]


@given(
    fields, hosts, st.booleans(), st.booleans(), st.sampled_from(["192.0.2.1", "2001:db8::1", "fe80::1%eth0"])
)
def test_a_node_is_told_of_the_client_once(
    fields: list[Field], host: bytes, trusted: bool, secure: bool, peer: str
) -> None:
    kept = list(fields)
    found = Forwarding(peer, secure=secure, trusted=trusted).add(fields, host, b"1.1")
    assert fields == kept
    plain = [
        f for f in fields if f[0] not in (b"forwarded", b"x-forwarded-for", b"x-real-ip", b"x_forwarded_for")
    ]
    assert found[: len(plain)] == plain
    assert found[-1] == (b"via", b"Via", b"1.1 rpi-clusterhat")
    added = [name for name, _, _ in found[len(plain) : -1]]
    assert len(added) == len(set(added))
    assert {b"forwarded", b"x-forwarded-for", b"x-forwarded-proto", b"x-forwarded-host"} <= set(added)
    told = first(found)
    proto = b"https" if secure else b"http"
    if not trusted:
        assert told[b"x-forwarded-for"] == peer.encode()
        assert told[b"x-forwarded-host"] == host
        assert len(added) == 4
        node = f'"[{peer}]"' if ":" in peer else peer
        wanted = re.compile(rb'for=%b;proto=%b;host=("?)(.*)\1' % (re.escape(node.encode()), proto))
        match = wanted.fullmatch(told[b"forwarded"])
        assert match is not None
        assert match[2] == host
        assert match[1] or re.fullmatch(rb"[\w!#$%&'*+.^`|~-]+", host)
    else:
        assert told[b"x-forwarded-for"].endswith(peer.encode())
        for name in (b"x-forwarded-for", b"forwarded"):
            said = [value for key, _, value in fields if key == name]
            assert told[name].startswith(b", ".join(said))


@given(st.lists(st.binary(max_size=20), max_size=5))
def test_the_members_of_lists(values: list[bytes]) -> None:
    found = tokens(values)
    assert found == tokens([b",".join(values)])
    assert all(token and token == token.strip().lower() and b"," not in token for token in found)


@given(fields)
def test_an_upgrade_is_one_where_both_fields_say_so(fields: list[Field]) -> None:
    wanted = tokens([value for name, _, value in fields if name == b"upgrade"])
    asked = bool(wanted) and b"h2c" not in wanted
    assert is_upgrade(fields) == (asked and b"upgrade" in connection_options(fields))


@pytest.mark.parametrize(
    ("value", "left"),
    [
        (b"1", b"0"),
        (b"10", b"9"),
        (b"007", b"6"),
        (b"999999999", b"999999998"),
        (b"0", b"0"),
        (b"", b""),
        (b"-1", b"-1"),
        (b"x", b"x"),
        (b"9" * 5000, b"9" * 5000),
    ],
)
def test_hops_are_counted_down(value: bytes, left: bytes) -> None:
    before = [(b"a", b"A", b"1"), (b"max-forwards", b"Max-forwards", value)]
    assert fewer_hops(before) == [(b"a", b"A", b"1"), (b"max-forwards", b"Max-forwards", left)]


@pytest.mark.parametrize(
    ("peer", "within"),
    [
        ("192.0.2.9", True),
        ("192.0.3.9", False),
        ("::ffff:192.0.2.9", True),
        ("fe80::1%eth0", True),
        ("2001:db8::1", False),
        ("", False),
        ("/run/socket", False),
    ],
)
def test_who_is_trusted(peer: str, within: bool) -> None:
    networks = [ipaddress.ip_network("192.0.2.0/24"), ipaddress.ip_network("fe80::/10")]
    assert is_within(peer, networks) is within
    assert not is_within(peer, [])
