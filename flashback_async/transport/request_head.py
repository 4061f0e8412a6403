"""The head of an HTTP/1.1 request in bytes, in one piece, and safe to send."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flashback_async.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Collection


def request_head(method: str, target: str, host: str, headers: Collection[tuple[str, str]]) -> bytes:
    """From the request line to the empty line, in UTF-8: what aiohttp sends, and what was signed.

    Args:
        method: in capitals.
        target: percent-encoded path and query.
        host: the `Host` header.
        headers: names and values of all others, in the order of sending. The connection is kept, as HTTP/1.1
            has it unless a header says otherwise.

    Raises:
        ConfigurationError: a line break or NUL, which would begin another header or request, or a text that
            has no UTF-8.
    """
    lines = "".join([f"{name}: {value}\r\n" for name, value in headers])
    head = f"{method} {target} HTTP/1.1\r\nhost: {host}\r\n{lines}\r\n"
    breaks = len(headers) + 3
    if head.count("\n") != breaks or head.count("\r") != breaks or "\0" in head:
        raise ConfigurationError(_refusal(headers))
    try:
        return head.encode()
    except UnicodeEncodeError as error:
        raise ConfigurationError(_refusal(headers)) from error


def _refusal(headers: Collection[tuple[str, str]]) -> str:
    """Names the header, and keeps its value to itself: it may be a secret."""
    for name, value in headers:
        if any(sign in name + value for sign in "\r\n\0"):
            return f"the header {name!r} has a line break or NUL in it; remove it"
        if not (name + value).isascii() and any("\ud800" <= sign <= "\udfff" for sign in name + value):
            return f"the header {name!r} has half a character in it (a surrogate); remove it"
    return "the request line has a line break, NUL or half a character in it"
