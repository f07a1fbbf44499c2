"""From options to a running proxy, and to its end."""

from __future__ import annotations

import asyncio
import gc
import logging
import math
import os
import resource
import signal
import ssl
import sys
from contextlib import AsyncExitStack
from functools import partial
from typing import TYPE_CHECKING, Any

from rpi_clusterhat import (
    AsyncCluster,
    AsyncNodePool,
    BootFailed,
    BootFinished,
    BootHistory,
    BootStarted,
    ClusterHatError,
    LockMissed,
    PoweredOff,
    PowerLost,
    PowerOffFailed,
    Quarantined,
)
from rpi_clusterhat.nodes.probes import HttpProbe, TcpProbe
from rpi_clusterhat.pool.activity import Counters, Traffic
from rpi_clusterhat.streams import OutputLostError, complain, output_lost, tell

from . import systemd
from .admin import Admin
from .gateway import Gateway
from .messages import Limits
from .metrics import Metrics
from .node_connections import NodeConnections
from .options import PROGRAM, OptionError, is_simulated, parse, unknown_names
from .server import Server, ServerSettings
from .terminal import Terminal

if TYPE_CHECKING:
    import socket
    from collections.abc import Sequence

    from rpi_clusterhat import Event, PoolEvent
    from rpi_clusterhat.nodes.probes import Probe

    from .options import Address, Options

__all__ = ["main"]

_GARBAGE = 20_000
"""Objects after which cycles are looked for: at Python's 700 that is a tenth of a request's cost."""

_OTHER_FILES = 256
"""Files that are no connections: the board's, locks, the admin side's."""

_TLS_TROUBLE = {"KEY_VALUES_MISMATCH": "the key is not this certificate's"}

_log = logging.getLogger("clusterhat_proxy")


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the proxy until a signal ends it. The exit code: 0, 1 after a failure, 2 for a wrong option."""
    try:
        options = parse(sys.argv[1:] if argv is None else argv)
        logging.basicConfig(level=options.log_level.upper(), format="%(levelname)s %(message)s")
        logging.getLogger("asyncio").setLevel(logging.WARNING)
        for warning in unknown_names():
            _log.warning("%s", warning)
        asyncio.run(_Proxy(options).run())
    except OutputLostError as lost:
        return output_lost(PROGRAM, lost.error)
    except OptionError as error:
        return _say(error, 2)
    except (ClusterHatError, OSError) as error:
        return _say(error, 1)
    except KeyboardInterrupt:  # before the loop takes care of it
        return 130
    return 0


def _say(error: Exception, code: int) -> int:
    complain(f"{PROGRAM}: {error}")
    return code


class _Proxy:
    def __init__(self, options: Options) -> None:
        self._options = options
        self._context = _tls(options)
        self._signals: asyncio.Queue[int] = asyncio.Queue()
        self._terminal = Terminal()
        self._without_hangup = signal.getsignal(signal.SIGHUP) is signal.SIG_IGN

    async def run(self) -> None:
        options = self._options
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            loop.add_signal_handler(number, self._signals.put_nowait, number)
        async with AsyncExitStack() as stack:
            cluster = await stack.enter_async_context(AsyncCluster.open(**_cluster_arguments(options)))
            addresses = options.addresses(cluster.names, cluster.addresses)
            pool = AsyncNodePool(
                cluster,
                probe=lambda name: _probe(options, addresses[name]),
                settings=options.pool_settings(),
                traffic=_traffic(options),
                history=None if options.boot_history is None else BootHistory(options.boot_history),
            )
            connections = NodeConnections(addresses, options.timeout_connect)
            stack.callback(connections.close)
            pool.subscribe(partial(_cut, pool, connections))
            if options.probe == "http":
                pool.subscribe(partial(_note_answer, connections))
            pool.subscribe(_tell)
            stack.callback(cluster.subscribe(partial(_tell_of_board, len(cluster.boards))))
            metrics = Metrics(pool)
            server = Server(
                Gateway(pool, connections, options, metrics.requests),
                _server_settings(options),
                metrics.requests.refuse,
            )
            metrics.watch(server)
            admin = Admin(pool, metrics, server, options, addresses)
            await pool.open()
            try:
                await self._start(server, admin)
                alive = asyncio.create_task(_stay_alive())
                stack.callback(alive.cancel)
                while await self._signals.get() == signal.SIGHUP and not self._has_lost_terminal():
                    self._reload()
                await self._drain(server, admin, pool)
            finally:
                await pool.close(off=options.off_at_exit)

    async def _start(self, server: Server, admin: Admin) -> None:
        """Listens, and says so."""
        options = self._options
        given = systemd.listen_sockets()
        where = await _listen(server, options.listen, given.get("proxy", []), self._context)
        scheme = "https" if self._context else "http"
        tell("\n".join(f"proxy on {scheme}://{_authority(address)}/" for address in where))
        page = [options.admin] if options.admin is not None else []
        for address in await _listen(admin.server, page, given.get("admin", []), None):
            tell(f"status on http://{_authority(address)}/")
        # What is there by now stays; what a request leaves behind needs no cycle collector to go.
        gc.freeze()
        gc.set_threshold(_GARBAGE)
        systemd.ready()

    def _has_lost_terminal(self) -> bool:
        """Whether SIGHUP says that the terminal was closed; nohup(1) has it say nothing."""
        return not self._without_hangup and self._terminal.has_hung_up()

    def _reload(self) -> None:
        """Takes the certificate anew: connections that there are keep the old one."""
        systemd.reloading()
        try:
            if self._context is not None:
                _load_certificate(self._context, self._options)
                _log.info("the certificate was reloaded")
        except (OSError, OptionError) as error:
            _log.warning("the old certificate stays in use: %s", error)
        systemd.ready()

    async def _drain(self, server: Server, admin: Admin, pool: AsyncNodePool) -> None:
        systemd.stopping()
        again = asyncio.create_task(self._asked_to_end())
        # Those who still wait for a node when time is up are told so.
        drained = asyncio.create_task(server.drain(self._options.drain_timeout, at_end=pool.refuse_waiting))
        await asyncio.wait((again, drained), return_when=asyncio.FIRST_COMPLETED)
        again.cancel()
        if not drained.done():
            _log.warning("ended at once, with %d requests under way", server.busy)
            drained.cancel()
        elif not drained.result():
            _log.warning("requests were cut off after %g s", self._options.drain_timeout)
        await asyncio.gather(drained, return_exceptions=True)
        await server.drain(0)
        await admin.server.drain(1.0)  # so that those who watch see it end

    async def _asked_to_end(self) -> None:
        while await self._signals.get() == signal.SIGHUP:
            pass  # there is nothing to reload any more


def _cut(pool: AsyncNodePool, connections: NodeConnections, event: PoolEvent) -> None:
    """Ends what is open to a node without power, and to a node that failed twice.

    A tunnel or a silent stream must not keep it from being started again for ever.
    """
    failed = isinstance(event, BootFailed) and pool.nodes[event.node].failures > 1
    if failed or isinstance(event, PoweredOff):
        connections.cut(event.node)


def _note_answer(connections: NodeConnections, event: PoolEvent) -> None:
    """An HTTP probe had an answer."""
    if isinstance(event, BootFinished):
        connections.answered.add(event.node)


def _tell(event: PoolEvent) -> None:
    if isinstance(event, BootStarted):
        what = "is to start" if event.reason in ("lease", "hand", "retry") else "is looked at"
        _log.info("%s: %s (%s)", event.node, what, event.reason)
    elif isinstance(event, BootFinished):
        _log.info("%s: ready after %.1f s", event.node, event.seconds)
    elif isinstance(event, BootFailed):
        again = "" if event.retry_after == math.inf else f", retrying in {event.retry_after:.0f} s"
        _log.warning("%s: failed%s: %s", event.node, again, event.reason)
    elif isinstance(event, Quarantined):
        _log.error("%s: quarantined until it is switched on by hand%s", event.node, _or_after(event))
        for line in event.last_lines:
            _log.error("%s: its console: %s", event.node, line)
    elif isinstance(event, PowerOffFailed):
        _log.warning(
            "%s: could not be switched off, next try in %.0f s or later: %s",
            event.node,
            event.retry_after,
            event.reason,
        )
    else:
        _log.info("%s: off after %.0f s (%s)", event.node, event.seconds, event.reason)


def _or_after(event: Quarantined) -> str:
    return "" if event.retry_after == math.inf else f", or for {event.retry_after:.0f} s"


def _tell_of_board(boards: int, event: Event) -> None:
    if not isinstance(event, PowerLost | LockMissed):
        return
    of_board = f" of board {event.board + 1}" if boards > 1 else ""
    if isinstance(event, PowerLost):
        _log.warning("the expander%s lost power, and its nodes with it", of_board)
    else:
        _log.warning("the power%s is cut without a shared lock: %s", of_board, event.reason)


async def _listen(
    server: Server,
    addresses: Sequence[Address],
    sockets: Sequence[socket.socket],
    context: ssl.SSLContext | None,
) -> list[tuple[str, int]]:
    """Listens on the sockets that systemd gave, else on the addresses."""
    where: list[tuple[str, int]] = []
    for sock in sockets:
        where += await server.listen(sock=sock, context=context)
    if not sockets:
        for host, port in addresses:
            try:
                where += await server.listen(host, port, context=context)
            except OSError as error:
                # asyncio's own text has the address again.
                what = os.strerror(error.errno) if error.errno and error.errno > 0 else error.strerror
                raise OSError(f"cannot listen on {_authority((host, port))}: {what}") from error
    return where


def _authority(address: tuple[str, int]) -> str:
    host, port = address
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


async def _stay_alive() -> None:
    seconds = systemd.watchdog_interval()
    while seconds is not None:
        systemd.alive()
        await asyncio.sleep(seconds)


# From options to what they mean ---------------------------------------------------------------------------


def _cluster_arguments(options: Options) -> dict[str, Any]:
    arguments = options.cluster_arguments()
    if is_simulated(options, os.environ):  # its nodes are to be there for the proxy to reach
        arguments["options"] = {"serve": "yes", **(arguments["options"] or {})}
    return arguments


def _probe(options: Options, address: tuple[str, int]) -> Probe:
    host, port = address
    if options.probe == "tcp":
        return TcpProbe(host, port, timeout=options.probe_timeout or 0.3)
    return HttpProbe(
        host,
        port,
        options.probe_path,
        expect=options.probe_expect,
        timeout=options.probe_timeout or 5.0,
    )


def _traffic(options: Options) -> Traffic | None:
    if not options.network_activity:
        return None
    return Traffic(Counters(options.network_interface), options.network_activity)


def _server_settings(options: Options) -> ServerSettings:
    return ServerSettings(
        max_connections=_allow_connections(options.max_connections),
        max_connections_per_client=options.max_connections_per_client,
        max_body=options.max_body or 0,
        min_body_rate=options.min_body_rate,
        timeout_http_request=options.timeout_http_request,
        timeout_http_keep_alive=options.timeout_http_keep_alive,
        timeout_client=options.timeout_client,
        limits=Limits(options.max_header_size, options.max_request_line, options.max_headers),
        trust=options.trust_proxy,
    )


def _tls(options: Options) -> ssl.SSLContext | None:
    if options.tls_cert is None:
        return None
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    _load_certificate(context, options)
    return context


def _load_certificate(context: ssl.SSLContext, options: Options) -> None:
    assert options.tls_cert is not None
    key = options.tls_key or options.tls_cert

    def ask() -> str:  # in place of asking at the terminal, which is not this program's
        raise OptionError(f"--tls-key {key}: is encrypted: decrypt it, and let only this user read it")

    try:
        # Tried apart first: a pair that does not fit must not replace one that does.
        for target in (ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), context):
            target.load_cert_chain(options.tls_cert, options.tls_key, password=ask)
    except ssl.SSLError as error:
        what = _TLS_TROUBLE.get(error.reason or "", "no certificate and its private key in PEM")
        raise OptionError(f"--tls-cert {options.tls_cert}, --tls-key {key}: {what}") from error
    except OSError as error:  # which does not name the file
        raise OptionError(f"--tls-cert {options.tls_cert}, --tls-key {key}: {error.strerror}") from error


def _allow_connections(wanted: int) -> int:
    """Raises this process's limit of open files for clients that each have a connection to a node.

    Args:
        wanted: The number of clients.

    Returns:
        The number of clients that there is room for.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    files = 2 * wanted + _OTHER_FILES
    if soft == resource.RLIM_INFINITY or soft >= files:
        return wanted
    most = files if hard == resource.RLIM_INFINITY else min(files, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
    possible = (most - _OTHER_FILES) // 2
    if possible < 1:
        raise ClusterHatError(
            f"this process may have {most} files open, and the proxy needs {_OTHER_FILES + 2} at least: "
            "raise the limit (ulimit -n, or LimitNOFILE= of a systemd service)"
        )
    if possible < wanted:
        _log.info("room for %d connections: this process may have %d files open", possible, most)
    return min(wanted, possible)
