"""Waits until a node answers, and says what it answered: `python examples/probe_nodes.py p1.local:80`.

Without an argument it asks a small server of its own, which takes half a second to come up.
"""

import sys
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

from rpi_clusterhat import HttpProbe, Probe, TcpProbe, wait_until_up


def probe_of(host: str, port: int) -> Probe:
    """Whoever listens on the port must answer to HTTP as well."""
    return TcpProbe(host, port) & HttpProbe(host, port, "/", expect="200-399")


class Service(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # named so by its base
        pass


def demonstrate() -> None:
    with HTTPServer(("127.0.0.1", 0), Service, bind_and_activate=False) as server:
        server.server_bind()  # it has a port, and does not listen yet

        def serve() -> None:
            server.server_activate()
            server.serve_forever(poll_interval=0.05)

        probe = probe_of("127.0.0.1", server.server_port)
        first = probe.ask()
        boot = threading.Timer(0.5, serve)
        boot.start()
        second = wait_until_up(probe, timeout=10, interval=0.1, ready_after=0.2)
        for verdict in (first, second):
            reason = verdict.reason.replace(f":{server.server_port}", "")  # another one each time
            print(f"{'up' if verdict else 'down'}: {reason}")
        server.shutdown()
        boot.join()


if len(sys.argv) > 1:
    host, _, port = sys.argv[1].rpartition(":")
    verdict = wait_until_up(probe_of(host.strip("[]"), int(port)), timeout=60, ready_after=1)
    print(f"{'up' if verdict else 'down'}: {verdict.reason}")
    sys.exit(not verdict)
demonstrate()
