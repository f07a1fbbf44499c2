"""HTTPS: versions, certificates that are replaced, and the same back-pressure and tunnels as without."""

from __future__ import annotations

import contextlib
import http.client
import os
import shutil
import signal
import ssl
import subprocess
import time
from contextlib import closing, contextmanager
from hashlib import sha256
from typing import TYPE_CHECKING, Any

import pytest

from tests.peers.bodies import pattern
from tests.proxy.running import PATIENCE, Proxy, everything

if TYPE_CHECKING:
    from collections.abc import Generator
    from pathlib import Path

pytestmark = pytest.mark.slow


def openssl(*arguments: str | Path) -> None:
    subprocess.run(["openssl", *arguments], check=True, capture_output=True, timeout=PATIENCE)


class Authority:
    """A CA of the test's own, and what it signs: one file with the key and the chain for each name."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.certificate = folder / "ca.pem"
        self._key = folder / "ca.key"
        openssl(
            *("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"),
            *("-subj", "/CN=test CA", "-days", "2", "-keyout", self._key, "-out", self.certificate),
        )

    def sign(self, name: str) -> tuple[Path, Path]:
        """Certificate and key for this common name at 127.0.0.1."""
        key, certificate = self.folder / f"{name}.key", self.folder / f"{name}.pem"
        openssl(
            *("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"),
            *("-subj", f"/CN={name}", "-days", "2", "-addext", "subjectAltName=IP:127.0.0.1"),
            *("-addext", "basicConstraints=critical,CA:FALSE", "-CA", self.certificate, "-CAkey", self._key),
            *("-keyout", key, "-out", certificate),
        )
        return certificate, key


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    if shutil.which("openssl") is None:
        if os.environ.get("CLUSTERHAT_TEST_REQUIRE_CLIENTS") == "1":
            pytest.fail("openssl is not installed")
        pytest.skip("openssl is not installed")
    return Authority(tmp_path_factory.mktemp("tls"))


@pytest.fixture(scope="module")
def pairs(authority: Authority) -> dict[str, tuple[Path, Path]]:
    return {name: authority.sign(name) for name in ("first", "second")}


@pytest.fixture
def trusting(authority: Authority) -> ssl.SSLContext:
    """A client's context."""
    return ssl.create_default_context(cafile=str(authority.certificate))


@pytest.fixture
def installed(pairs: dict[str, tuple[Path, Path]], tmp_path: Path) -> tuple[Path, Path]:
    """The first pair, where it can be replaced."""
    places = tmp_path / "cert.pem", tmp_path / "key.pem"
    install(pairs["first"], places)
    return places


def install(pair: tuple[Path, Path], places: tuple[Path, Path]) -> None:
    for source, target in zip(pair, places, strict=True):
        shutil.copy(source, target)


def secure_proxy(installed: tuple[Path, Path], *options: str, dev: bool = True) -> Proxy:
    """``dev``: asyncio writes a traceback for each handshake that fails then."""
    certificate, key = installed
    return Proxy("--cold", "hold", "--tls-cert", str(certificate), "--tls-key", str(key), *options, dev=dev)


@contextmanager
def secured(proxy: Proxy, context: ssl.SSLContext) -> Generator[ssl.SSLSocket]:
    """Where an end without the notice that TLS ends with is an error."""
    with (
        proxy.connect() as plain,
        context.wrap_socket(plain, server_hostname="127.0.0.1", suppress_ragged_eofs=False) as connection,
    ):
        yield connection


@contextmanager
def client(proxy: Proxy, context: ssl.SSLContext) -> Generator[http.client.HTTPSConnection]:
    with closing(
        http.client.HTTPSConnection("127.0.0.1", proxy.port, timeout=PATIENCE, context=context)
    ) as connection:
        yield connection


def name_of(connection: ssl.SSLSocket) -> str:
    certificate: Any = connection.getpeercert()
    return str(dict(pair for one in certificate["subject"] for pair in one)["commonName"])


def name_now(proxy: Proxy, context: ssl.SSLContext) -> str:
    with secured(proxy, context) as connection:
        return name_of(connection)


# Versions ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_modern_versions(
    version: ssl.TLSVersion, installed: tuple[Path, Path], trusting: ssl.SSLContext
) -> None:
    trusting.minimum_version = trusting.maximum_version = version
    trusting.set_alpn_protocols(["h2", "http/1.1"])
    with secure_proxy(installed) as proxy:
        assert proxy.listening[0][0] == "https"
        with secured(proxy, trusting) as connection:
            assert connection.version() == version.name.replace("_", ".")
            assert connection.selected_alpn_protocol() == "http/1.1"
            connection.sendall(b"GET / HTTP/1.1\r\nHost: c\r\nConnection: close\r\n\r\n")
            answer = everything(connection)
        assert answer.startswith(b"HTTP/1.1 200 ")
        assert b'["X-Forwarded-Proto","https"]' in answer
        assert b'["Forwarded","for=127.0.0.1;proto=https;host=c"]' in answer


def test_old_versions_are_refused(installed: tuple[Path, Path]) -> None:
    old = ssl.create_default_context()
    old.check_hostname, old.verify_mode = False, ssl.CERT_NONE
    old.set_ciphers("DEFAULT:@SECLEVEL=0")  # else this client would not even ask
    with pytest.warns(DeprecationWarning, match="TLSv1"):
        old.minimum_version = ssl.TLSVersion.TLSv1
    with secure_proxy(installed, dev=False) as proxy:
        old.maximum_version = ssl.TLSVersion.TLSv1_2
        with secured(proxy, old) as connection:
            assert connection.version() == "TLSv1.2"
        with pytest.warns(DeprecationWarning, match="TLSv1"):
            old.maximum_version = ssl.TLSVersion.TLSv1_1
        with pytest.raises((ssl.SSLError, ConnectionResetError)), secured(proxy, old):
            pass


def test_plain_http_gets_no_answer_and_harms_nobody(
    installed: tuple[Path, Path], trusting: ssl.SSLContext
) -> None:
    with secure_proxy(installed, dev=False) as proxy:
        with contextlib.suppress(ConnectionError):
            assert b"HTTP/" not in proxy.ask(b"GET / HTTP/1.1\r\nHost: c\r\n\r\n")
        with client(proxy, trusting) as connection:
            connection.request("GET", "/")
            with connection.getresponse() as answer:
                assert answer.status == 200
        assert proxy.status()["nodes"]["p1"]["address"]  # the operators' side speaks plain HTTP


def test_a_handshake_that_does_not_end_is_cut(installed: tuple[Path, Path], trusting: ssl.SSLContext) -> None:
    with (
        secure_proxy(installed, "--timeout-http-request", "0.5", dev=False) as proxy,
        proxy.connect() as silent,
    ):
        began = time.monotonic()
        silent.sendall(b"\x16\x03\x01\x02\x00\x01")  # the beginning of a greeting
        assert name_now(proxy, trusting) == "first"
        with contextlib.suppress(ConnectionResetError):
            assert everything(silent) == b""
        assert 0.4 <= time.monotonic() - began <= 5.0


def test_one_who_leaves_within_the_handshake_or_an_answer(
    installed: tuple[Path, Path], trusting: ssl.SSLContext
) -> None:
    with secure_proxy(installed, dev=False) as proxy:
        with proxy.connect() as rude:
            rude.sendall(b"\x16\x03\x01\x02\x00\x01")
        with secured(proxy, trusting) as rude_too:
            rude_too.sendall(b"GET /?size=100000000 HTTP/1.1\r\nHost: c\r\n\r\n")
            assert rude_too.recv(1000)
        proxy.until(lambda status: not status["proxy"]["in_flight"] and not status["proxy"]["connections"])


# Certificates -----------------------------------------------------------------------------------------------


def reload(proxy: Proxy) -> None:
    proxy.process.send_signal(signal.SIGHUP)


def test_a_new_certificate_is_for_new_connections(
    installed: tuple[Path, Path], pairs: dict[str, tuple[Path, Path]], trusting: ssl.SSLContext
) -> None:
    """One that is open and a download that is under way go on."""
    with (
        secure_proxy(installed) as proxy,
        secured(proxy, trusting) as kept,
        client(proxy, trusting) as download,
    ):
        assert name_of(kept) == "first"
        download.request("GET", "/?chunks=20&interval=0.05&size=1000")
        with download.getresponse() as answer:
            assert answer.read(1000) == pattern(1000)
            install(pairs["second"], installed)
            assert name_now(proxy, trusting) == "first"
            reload(proxy)
            end = time.monotonic() + PATIENCE
            while name_now(proxy, trusting) != "second":
                assert time.monotonic() < end
                time.sleep(0.02)
            assert answer.read() == 19 * pattern(1000)
        kept.sendall(b"GET / HTTP/1.1\r\nHost: c\r\nConnection: close\r\n\r\n")
        assert everything(kept).startswith(b"HTTP/1.1 200 ")
        assert name_now(proxy, trusting) == "second"
    assert "Traceback" not in proxy.errors


@pytest.mark.parametrize("broken", ["no key for it", "no certificate", "gone"])
def test_a_broken_certificate_keeps_the_old_one(
    broken: str, installed: tuple[Path, Path], pairs: dict[str, tuple[Path, Path]], trusting: ssl.SSLContext
) -> None:
    certificate, _ = installed
    with secure_proxy(installed) as proxy:
        if broken == "no key for it":
            shutil.copy(pairs["second"][0], certificate)
        elif broken == "no certificate":
            certificate.write_text("nothing of use", encoding="ascii")
        else:
            certificate.unlink()
        reload(proxy)
        for _ in range(5):
            assert name_now(proxy, trusting) == "first"
            time.sleep(0.02)
        install(pairs["second"], installed)
        reload(proxy)
        end = time.monotonic() + PATIENCE
        while name_now(proxy, trusting) != "second":
            assert time.monotonic() < end
            time.sleep(0.02)
    assert proxy.errors.count("the old certificate stays") == 1


@pytest.mark.parametrize(
    ("certificate", "key", "reason"),
    [
        ("first.pem", "second.key", "the key is not this certificate's"),
        ("first.pem", None, "no certificate and its private key in PEM"),
        ("first.pem", "locked.key", "is encrypted"),
    ],
)
def test_a_pair_that_cannot_be_used_is_told(
    certificate: str,
    key: str | None,
    reason: str,
    authority: Authority,
    pairs: dict[str, tuple[Path, Path]],
) -> None:
    folder = authority.folder
    openssl(
        "ec", "-in", pairs["first"][1], "-aes256", "-passout", "pass:secret", "-out", folder / "locked.key"
    )
    options = ["--tls-cert", str(folder / certificate)]
    options += ["--tls-key", str(folder / key)] if key else []
    ended = subprocess.run(
        Proxy(*options).argv,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
        start_new_session=True,
    )
    assert (ended.returncode, ended.stdout, ended.stderr.count("\n")) == (2, "", 1)
    assert reason in ended.stderr
    assert str(folder / (key or certificate)) in ended.stderr


def test_a_reload_without_tls_changes_nothing() -> None:
    with Proxy("--cold", "hold") as proxy:
        reload(proxy)
        assert proxy.request().status == 200


# What goes through ------------------------------------------------------------------------------------------


def test_a_tunnel(installed: tuple[Path, Path], trusting: ssl.SSLContext) -> None:
    sent = pattern(300_000)
    with secure_proxy(installed) as proxy, secured(proxy, trusting) as connection:
        connection.sendall(b"GET / HTTP/1.1\r\nHost: c\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n")
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            head += connection.recv(1)
        assert head.startswith(b"HTTP/1.1 101 ")
        got = b""
        for at in range(0, len(sent), 30_000):
            connection.sendall(sent[at : at + 30_000])
            while len(got) < at + 30_000:
                got += connection.recv(65536)
        assert got == sent


def test_a_large_download_waits_for_its_reader(
    installed: tuple[Path, Path], trusting: ssl.SSLContext
) -> None:
    """50 MB: the proxy does not take in what the client does not."""
    size = 50_000_000
    with secure_proxy(installed) as proxy, client(proxy, trusting) as connection:
        connection.request("GET", "/")
        with connection.getresponse() as answer:
            answer.read()
        before = resident(proxy)
        connection.request("GET", f"/?size={size}")
        with connection.getresponse() as answer:
            digest = sha256(answer.read(65536))
            time.sleep(0.5)  # in which it would take in all, if it did
            grown = resident(proxy) - before
            while data := answer.read(1 << 20):
                digest.update(data)
        print(f"memory grew by {grown / 1e6:.1f} MB while the reader of {size / 1e6:g} MB waited")
        assert digest.digest() == sha256(pattern(size)).digest()
        assert grown < 12e6


def test_a_large_upload(installed: tuple[Path, Path], trusting: ssl.SSLContext) -> None:
    body = pattern(50_000_000)
    with secure_proxy(installed) as proxy, client(proxy, trusting) as connection:
        connection.request("GET", "/")
        with connection.getresponse() as answer:
            answer.read()
        before = resident(proxy)
        connection.request("PUT", "/?slow-read=0.3", body)
        with connection.getresponse() as answer:
            assert sha256(body).hexdigest().encode() in answer.read()
        assert resident(proxy) - before < 12e6


def resident(proxy: Proxy) -> int:
    """Bytes of memory that the proxy has had at most."""
    with open(f"/proc/{proxy.process.pid}/status", encoding="ascii") as file:
        return 1024 * next(int(line.split()[1]) for line in file if line.startswith("VmHWM:"))


def test_an_answer_that_is_cut_does_not_end_cleanly(
    installed: tuple[Path, Path], trusting: ssl.SSLContext
) -> None:
    with secure_proxy(installed) as proxy, secured(proxy, trusting) as connection:
        connection.sendall(b"GET /?cut=10 HTTP/1.0\r\n\r\n")
        with pytest.raises((ssl.SSLEOFError, ConnectionResetError)):
            everything(connection)


def test_an_answer_without_a_length_ends_cleanly(
    installed: tuple[Path, Path], trusting: ssl.SSLContext
) -> None:
    with secure_proxy(installed) as proxy, secured(proxy, trusting) as connection:
        connection.sendall(b"GET /?no-length=1&size=100000 HTTP/1.0\r\n\r\n")
        assert everything(connection).endswith(pattern(100_000))
