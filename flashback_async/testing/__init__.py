"""Endpoints in memory, for tests of this package and of programs that use it.

```python
from flashback_async.testing import MemoryEndpoints, Step

async def test_my_program_survives_a_dead_node():
    endpoints = MemoryEndpoints.of("a", "b")
    endpoints["a"].then = Step.refused()
    endpoints.store.put("bucket", "key", b"data")
    async with endpoints.client() as fb:
        assert await my_program(fb) == "fine"
    assert endpoints.leases == endpoints.open_bodies == 0
```

Only the network is replaced: routing, retries, timers and the resuming of bodies are the real ones. There are
no sockets and no threads, so the endpoints also work in an event loop whose clock jumps.
"""

from flashback_async.testing.clock import ManualClock
from flashback_async.testing.endpoint import ScriptedEndpoint
from flashback_async.testing.multipart import OpenUploads, UploadInParts
from flashback_async.testing.pool import MemoryEndpoints, MemoryPool
from flashback_async.testing.script import Break, Dialect, Fault, Request, Step
from flashback_async.testing.store import MemoryStore, Version

__all__ = [
    "Break",
    "Dialect",
    "Fault",
    "ManualClock",
    "MemoryEndpoints",
    "MemoryPool",
    "MemoryStore",
    "OpenUploads",
    "Request",
    "ScriptedEndpoint",
    "Step",
    "UploadInParts",
    "Version",
]
