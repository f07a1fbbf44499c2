"""What the client's messages mean, without a client."""

from __future__ import annotations

import base64
import hashlib
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rpi_clusterhat.errors import HostKeyError, LoginError, NodeAccessError
from rpi_clusterhat.nodes.ssh.failures import failure
from rpi_clusterhat.nodes.ssh.host_keys import HostKeys

if TYPE_CHECKING:
    from pathlib import Path

MESSAGES = [
    ("kex_exchange_identification: read: Connection reset by peer", NodeAccessError, "journalctl -u ssh"),
    ("ssh: connect to host p1 port 22: No route to host", NodeAccessError, "It is off, booting, or not in"),
    ("ssh: connect to host p1 port 22: Connection timed out", NodeAccessError, "It is off, booting, or not"),
    ("ssh: Could not resolve hostname p1: Name or service not known", NodeAccessError, "say its address"),
    ("Bad owner or permissions on /root/.ssh/config", NodeAccessError, "Mend the settings of ssh"),
    (
        "Unable to negotiate with 10.0.0.1 port 22: no matching host key type found. Their offer: ssh-rsa",
        NodeAccessError,
        "update the older one",
    ),
    ("", NodeAccessError, "the ssh client failed and did not say why"),
    ("something new", NodeAccessError, "something new"),
    ("pi@p1: Permission denied (publickey,password).", LoginError, "ssh-copy-id pi@p1.local"),
    ("Received disconnect from 1 port 22:2: Too many authentication failures", LoginError, "identity="),
    (
        "No RSA host key is known for p1 and you have requested strict checking.",
        HostKeyError,
        "forget the old",
    ),
    ("Host key verification failed.", HostKeyError, "rm "),
]


@pytest.mark.parametrize(("said", "kind", "advice"), MESSAGES)
def test_messages(said: str, kind: type[NodeAccessError], advice: str, tmp_path: Path) -> None:
    error = failure("p1", "pi@p1.local", None, said, HostKeys(str(tmp_path), "p1"))
    assert type(error) is kind
    assert advice in str(error)
    assert str(error).startswith(("p1 ", "p1's "))


@given(st.text(max_size=300))
def test_whatever_is_said_becomes_one_printable_line(said: str) -> None:
    error = failure("p1", "p1.local", 22, said, HostKeys("/nowhere", "p1"))
    assert str(error).isprintable()
    assert len(str(error)) < 600


def test_fingerprints(tmp_path: Path) -> None:
    keys = HostKeys(str(tmp_path), "p1")
    assert keys.fingerprints() == {}
    keys.prepare()
    assert keys.fingerprints() == {}
    blob = b"a key"
    encoded = base64.b64encode(blob).decode()
    (tmp_path / "p1").write_text(
        f"# p1 ssh-dss {encoded}\n\np1 short\n@revoked p1 ssh-rsa {encoded}\np1 ssh-rsa !!!!\n"
        f"p1 ssh-ed25519 {encoded} comment\n"
    )
    digest = base64.b64encode(hashlib.sha256(blob).digest()).decode().rstrip("=")
    assert keys.fingerprints() == {"ssh-ed25519": f"SHA256:{digest}"}
    keys.forget()
    keys.forget()
    assert keys.fingerprints() == {}
