"""Bytes that are made before it is known what is in them."""

from __future__ import annotations

import functools
import mmap
from contextlib import suppress
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

# Bytes from which it is worth asking for pages of 2 MiB.
_WORTH_LARGE_PAGES: Final = 4 * 1_024 * 1_024
# Bytes of the largest block that glibc learns from, which needs a little for itself.
_LESSON: Final = 32 * 1_024 * 1_024 - 8 * 1_024


def blank(length: int) -> bytes:
    """So many bytes, whatever they are. For those who write all of them before anybody else gets them.

    What `bytes(length)` makes is zeroed first, which takes a quarter of the time that it takes to receive
    what is then written there. Where many large ones come and go, page faults take longer still, 3 ms for
    8 MiB on a virtual machine, unless pages are large and stay with the process for a while.

    Raises:
        MemoryError: there is not so much.
    """
    return _maker()(length)


@functools.cache
def _maker() -> Callable[[int], bytes]:
    """How to make them in this Python. Not before somebody wants some: it takes milliseconds to find out."""
    try:
        import ctypes  # noqa: PLC0415  # on demand

        api = ctypes.pythonapi
    except (ImportError, AttributeError):  # It was built without libffi, or is not CPython.
        return bytes
    # The C API's own way to make bytes that are filled later: with NULL instead of what is in them.
    new = api["PyBytes_FromStringAndSize"]
    new.restype = ctypes.py_object
    new.argtypes = [ctypes.c_void_p, ctypes.c_ssize_t]
    large_pages: int | None = getattr(mmap, "MADV_HUGEPAGE", None)
    # glibc learns from the blocks that are freed how much to keep instead of giving it back at once, twice
    # as much as the largest one (mallopt(3), M_MMAP_THRESHOLD): 16 MiB by bodies of 8 MiB, 64 MiB by this.
    # Who set the threshold has switched that off, and nothing happens elsewhere.
    with suppress(MemoryError):
        bytes(_LESSON)
    if large_pages is None:
        return functools.partial(new, None)
    place = api["PyBytes_AsString"]
    place.restype = ctypes.c_void_p
    place.argtypes = [ctypes.py_object]
    advise = ctypes.CDLL(None)["madvise"]
    advise.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]

    def make(length: int) -> bytes:
        made: bytes = new(None, length)
        if length >= _WORTH_LARGE_PAGES:
            start = place(made)
            # The kernel may decline, and what else lies in the first page does not mind.
            advise(start - start % mmap.PAGESIZE, length, large_pages)
        return made

    return make
