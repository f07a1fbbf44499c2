"""A bare relay by aiohttp's server and client: no power, no limits, none of a gateway's rules.

python -m tests.benchmarks.proxy_peers.aiohttp_relay NODE_PORT
"""

from __future__ import annotations

import asyncio
import sys

from aiohttp import ClientSession, DummyCookieJar, TCPConnector, web
from yarl import URL

HOP_BY_HOP = {"connection", "keep-alive", "te", "transfer-encoding", "upgrade"}
AUTOMATIC = ("Accept", "Accept-Encoding", "Content-Type", "User-Agent")


async def main(node: str) -> None:
    connector = TCPConnector(limit=0)
    async with ClientSession(
        connector=connector, cookie_jar=DummyCookieJar(), auto_decompress=False, skip_auto_headers=AUTOMATIC
    ) as session:

        async def relay(request: web.BaseRequest) -> web.StreamResponse:
            async with session.request(
                request.method,
                URL(f"http://127.0.0.1:{node}{request.raw_path}", encoded=True),
                headers=[(k, v) for k, v in request.headers.items() if k.lower() not in HOP_BY_HOP],
                data=request.content if request.can_read_body else None,
                allow_redirects=False,
            ) as answer:
                head = [(k, v) for k, v in answer.headers.items() if k.lower() not in HOP_BY_HOP]
                response = web.StreamResponse(status=answer.status, reason=answer.reason, headers=head)
                await response.prepare(request)
                async for data in answer.content.iter_any():
                    await response.write(data)
                await response.write_eof()
                return response

        runner = web.ServerRunner(web.Server(relay, access_log=None))
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0, backlog=1024).start()
        print(f"listening on 127.0.0.1:{runner.addresses[0][1]}", flush=True)
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
