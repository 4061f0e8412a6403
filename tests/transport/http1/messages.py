"""Answers as bytes, and a reference that reads them: slow, plain, and written without a look at the parser."""

from __future__ import annotations

import re

from hypothesis import strategies as st

TOKEN = st.text("abcdefghijklmnopqrstuvwxyzABCXYZ0123456789-_!~", min_size=1, max_size=12)
VALUE = st.text(
    st.characters(min_codepoint=0x20, max_codepoint=0xFF, exclude_characters="\x7f"), max_size=30
).map(str.strip)
FRAMING_NAMES = {
    "content-length",
    "transfer-encoding",
    "connection",
    "upgrade",
    "keep-alive",
    "proxy-connection",
}
HEADERS = st.lists(st.tuples(TOKEN.filter(lambda name: name.lower() not in FRAMING_NAMES), VALUE), max_size=4)
STATUS = st.sampled_from([200, 206, 404, 412, 500, 503, 599])
INTERIM = st.lists(st.sampled_from([100, 102, 103, 199]), max_size=3)


def head(status, headers, *, version="1.1", reason="Some Reason"):
    lines = [f"HTTP/{version} {status} {reason}", *(f"{name}: {value}" for name, value in headers)]
    return "\r\n".join([*lines, "", ""]).encode("latin-1")


@st.composite
def chunked(draw, body):
    """`body` in chunks of any size, with extensions and trailers."""
    out = b""
    rest = body
    while rest:
        size = draw(st.integers(1, len(rest)))
        digits = f"{size:x}" if draw(st.booleans()) else f"{size:04X}"
        extension = draw(st.sampled_from(["", ";a", ";a=b", ';a="b"', ";a=1;b=2"]))
        out += f"{digits}{extension}\r\n".encode() + rest[:size] + b"\r\n"
        rest = rest[size:]
    trailers = draw(
        st.lists(st.tuples(TOKEN.filter(lambda n: n.lower() not in FRAMING_NAMES), VALUE), max_size=2)
    )
    end = "".join(f"{name}: {value}\r\n" for name, value in trailers).encode("latin-1")
    return out + b"0\r\n" + end + b"\r\n"


@st.composite
def answers(draw, framings=("length", "chunked", "close")):
    """A valid answer: (wire, status, headers, body, whether the connection can be used again)."""
    status, headers, body = draw(STATUS), draw(HEADERS), draw(st.binary(max_size=120))
    framing = draw(st.sampled_from(framings))
    version = draw(st.sampled_from(["1.1", "1.1", "1.1", "1.0"])) if framing != "chunked" else "1.1"
    is_reusable = framing != "close" and version == "1.1"
    content = body
    if framing == "length":
        headers.insert(draw(st.integers(0, len(headers))), ("Content-Length", str(len(body))))
    elif framing == "chunked":
        headers.append(("Transfer-Encoding", draw(st.sampled_from(["chunked", "Chunked"]))))
        content = draw(chunked(body))
    said = draw(st.sampled_from([None, None, "keep-alive", "close", "Close", "foo, close"]))
    if said is not None:
        headers.append(("Connection", said))
        is_reusable = is_reusable and "close" not in said.lower()
    interim = b"".join(head(code, []) for code in draw(INTERIM))
    wire = interim + head(status, headers, version=version) + content
    seen = list({name.lower(): value for name, value in headers}.items())
    return wire, status, seen, body, is_reusable


@st.composite
def cut(draw, wire):
    """`wire` in segments, of single bytes too."""
    if draw(st.integers(0, 4)) == 0:
        return [wire[i : i + 1] for i in range(len(wire))]
    marks = sorted(draw(st.lists(st.integers(0, len(wire)), max_size=8)))
    return [wire[a:b] for a, b in zip([0, *marks], [*marks, len(wire)], strict=True) if a < b]


@st.composite
def mutated(draw, wire):
    """`wire` with a few accidents."""
    data = bytearray(wire)
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.integers(0, max(0, len(data) - 1)))
        kind = draw(st.sampled_from(["flip", "drop", "insert", "repeat", "truncate", "line"]))
        if kind == "flip" and data:
            data[at] = draw(st.integers(0, 255))
        elif kind == "drop":
            del data[at : at + draw(st.integers(1, 4))]
        elif kind == "insert":
            data[at:at] = draw(
                st.sampled_from([b"\0", b"\r", b"\n", b"\r\n", b" ", b"\t", b";", b":", b"0", b"f"])
            )
        elif kind == "repeat":
            data[at:at] = data[at : at + draw(st.integers(1, 40))]
        elif kind == "truncate":
            del data[at:]
        else:
            line = data.find(b"\r\n") + 2
            data[line:line] = draw(
                st.sampled_from(
                    [
                        b"Content-Length: 3\r\n",
                        b"Content-Length: -1\r\n",
                        b"Content-Length: 99999999999999999999999\r\n",
                        b"Transfer-Encoding: chunked\r\n",
                        b"Transfer-Encoding: gzip, chunked\r\n",
                        b"Transfer-Encoding: identity\r\n",
                        b" folded\r\n",
                        b"Connection: upgrade\r\nUpgrade: h2c\r\n",
                    ]
                )
            )
    return bytes(data)


def reference(wire, *, expects_body=True):
    """What `wire` says, up to where the peer closed: (status, body, bytes left over), or None for nonsense.

    More tolerant than it should be: it is asked only whether a body that was accepted is the right one.
    """
    while True:
        raw, end, rest = wire.partition(b"\r\n\r\n")
        if not end:
            return None
        first, *lines = raw.decode("latin-1").split("\r\n")
        match = re.match(r"HTTP/1\.([01]) (\d\d\d)", first)
        if match is None:
            return None
        status = int(match[2])
        if status >= 200:
            break
        wire = rest
    fields = {}
    for line in lines:
        name, _, value = line.partition(":")
        fields.setdefault(name.strip().lower(), []).append(value.strip())
    if not expects_body or status in {204, 304}:
        return status, b"", rest
    if "transfer-encoding" in fields:
        return None if "content-length" in fields else _dechunked(status, rest)
    if "content-length" not in fields:
        return status, rest, b""
    return _counted(status, rest, fields["content-length"])


def _counted(status, rest, announced):
    try:
        (length,) = {int(value) for value in announced}
    except ValueError:
        return None
    return None if length < 0 or len(rest) < length else (status, rest[:length], rest[length:])


def _dechunked(status, rest):
    body = b""
    while True:
        line, end, rest = rest.partition(b"\r\n")
        match = re.match(rb"[0-9a-fA-F]+", line)
        if not end or match is None:
            return None
        size = int(match[0], 16)
        if not size:
            break
        if rest[size : size + 2] != b"\r\n":
            return None
        body, rest = body + rest[:size], rest[size + 2 :]
    while True:
        line, end, rest = rest.partition(b"\r\n")
        if not end:
            return None
        if not line:
            return status, body, rest
