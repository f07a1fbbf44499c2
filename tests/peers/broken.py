"""Answers that break the rules of HTTP, byte by byte."""

__all__ = ["RAW"]

_OK = b"HTTP/1.1 200 OK\r\n"

RAW: dict[str, bytes] = {
    "two-lengths": _OK + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello!",
    "cl-te": _OK + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
    "bad-length": _OK + b"Content-Length: 5x\r\n\r\nhello",
    "negative-length": _OK + b"Content-Length: -5\r\n\r\nhello",
    "space-colon": _OK + b"Content-Length : 5\r\n\r\nhello",
    "no-colon": _OK + b"Content-Length 5\r\n\r\nhello",
    "fold": _OK + b"X-Fold: one\r\n two\r\nContent-Length: 5\r\n\r\nhello",
    "bare-lf": b"HTTP/1.1 200 OK\nContent-Length: 5\n\nhello",
    "bare-cr": _OK + b"X-Bare: one\rtwo\r\nContent-Length: 5\r\n\r\nhello",
    "nul": _OK + b"X-Nul: one\0two\r\nContent-Length: 5\r\n\r\nhello",
    "bad-status": b"HTTP/1.1 2x0 OK\r\nContent-Length: 5\r\n\r\nhello",
    "bad-version": b"HTTP/3.7 200 OK\r\nContent-Length: 5\r\n\r\nhello",
    "garbage": b"\x16\x03\x01 this is not HTTP\r\n\r\n",
    "huge-headers": _OK + b"X-Huge: " + b"a" * (1 << 20) + b"\r\nContent-Length: 5\r\n\r\nhello",
    "bad-chunk": _OK + b"Transfer-Encoding: chunked\r\n\r\nxyz\r\nhello\r\n0\r\n\r\n",
    "chunk-overrun": _OK + b"Transfer-Encoding: chunked\r\n\r\n3\r\nhello\r\n0\r\n\r\n",
    "unknown-coding": _OK + b"Transfer-Encoding: x-unknown\r\n\r\nhello",
    "te-in-1.0": b"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
    "short": _OK + b"Content-Length: 10\r\n\r\nhello",
    "short-chunks": _OK + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
    "half-head": _OK + b"Content-Le",
    "extra": _OK + b"Content-Length: 5\r\n\r\nhelloHTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nsmugg",
    "unasked-switch": b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n",
    "empty": b"",
}
"""Answers as they are sent, by name; the connection is closed after each. ``empty`` closes without a byte;
``reset``, which is not in here, resets without one."""
