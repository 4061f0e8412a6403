"""Numbers and names as people read them."""

from __future__ import annotations

_STEP = 1_024
_UNITS = ("B", "KiB", "MiB", "GiB", "TiB", "PiB")
_DIGITS_FROM = 9.95
_MINUTE = 60.0


def size_text(size: float) -> str:
    """A number of bytes: `999 B`, `1.2 MiB`, `123 GiB`."""
    amount, unit = float(size), 0
    while amount >= _STEP - 0.5 and unit < len(_UNITS) - 1:
        amount, unit = amount / _STEP, unit + 1
    digits = 1 if unit and amount < _DIGITS_FROM else 0
    return f"{amount:.{digits}f} {_UNITS[unit]}"


def seconds_text(seconds: float | None) -> str:
    """A latency: `4.2 ms`, `412 ms`, `1.3 s`; a dash while it is unknown."""
    if seconds is None:
        return "-"
    if seconds < _DIGITS_FROM / 1_000:
        return f"{seconds * 1_000:.1f} ms"
    if seconds < 1 - 0.0005:
        return f"{seconds * 1_000:.0f} ms"
    return f"{seconds:.1f} s" if seconds < _MINUTE else f"{seconds:,.0f} s"


def counted(count: int, noun: str) -> str:
    """`1 object`, `1,500 objects`."""
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


def causes_text(causes: dict[str, int]) -> str:
    """How often each cause was seen: `connect 3, server 12`; `none` without any."""
    return ", ".join(f"{cause} {count:,}" for cause, count in sorted(causes.items()) if count) or "none"


def printable(text: str) -> str:
    """`text` without what could move the cursor or change the colours: keys are chosen by anybody."""
    if text.isprintable():
        return text
    return "".join(
        char if char.isprintable() else char.encode("unicode_escape", "surrogatepass").decode()
        for char in text
    )


def one_line(text: str) -> str:
    """`text` in one printable line."""
    return printable(" ".join(text.split()))
