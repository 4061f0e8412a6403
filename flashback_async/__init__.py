"""flashback_async: many S3-compatible gateways that behave like one fast, always-available S3.

```python
from flashback_async import FlashbackClient

async with FlashbackClient() as fb:
    await fb.put_object("bucket", "key", b"data")
    stored = await fb.get_object("bucket", "key")
```

Importing the package loads neither boto nor any extra; both wait until a client starts.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from flashback_async.bucket import Bucket
    from flashback_async.client import FlashbackClient
    from flashback_async.config import Credentials, FlashbackSettings
    from flashback_async.errors import (
        AccessDeniedError,
        ClientClosedError,
        ClockSkewError,
        ConfigurationError,
        DeadlineExceededError,
        DiscoveryError,
        EndpointConnectError,
        EndpointError,
        EndpointServerError,
        EndpointTimeoutError,
        EntityTooLargeError,
        FailedAttempt,
        FlashbackError,
        IntegrityError,
        NoEndpointAvailableError,
        NotModifiedError,
        ObjectChangedError,
        ObjectNotFoundError,
        OpenUpload,
        OperationError,
        PoolTimeoutError,
        PreconditionFailedError,
        ServiceError,
        ThrottledError,
        WritesDisabledError,
    )
    from flashback_async.models import (
        BulkResult,
        ClientStats,
        CommonPrefix,
        DeletedObject,
        EndpointView,
        ObjectInfo,
        ObjectVersion,
        StorageHeaders,
        StoredObject,
    )
    from flashback_async.objects.lease import EndpointLease
    from flashback_async.objects.reading import ObjectStream
    from flashback_async.routing import Endpoint, OperationKind, Outcome, Router, RoutingPolicy
    from flashback_async.transport.control_plane import ControlPlane

__version__ = "0.1.0"

__all__ = [
    "AccessDeniedError",
    "Bucket",
    "BulkResult",
    "ClientClosedError",
    "ClientStats",
    "ClockSkewError",
    "CommonPrefix",
    "ConfigurationError",
    "ControlPlane",
    "Credentials",
    "DeadlineExceededError",
    "DeletedObject",
    "DiscoveryError",
    "Endpoint",
    "EndpointConnectError",
    "EndpointError",
    "EndpointLease",
    "EndpointServerError",
    "EndpointTimeoutError",
    "EndpointView",
    "EntityTooLargeError",
    "FailedAttempt",
    "FlashbackClient",
    "FlashbackError",
    "FlashbackSettings",
    "IntegrityError",
    "NoEndpointAvailableError",
    "NotModifiedError",
    "ObjectChangedError",
    "ObjectInfo",
    "ObjectNotFoundError",
    "ObjectStream",
    "ObjectVersion",
    "OpenUpload",
    "OperationError",
    "OperationKind",
    "Outcome",
    "PoolTimeoutError",
    "PreconditionFailedError",
    "Router",
    "RoutingPolicy",
    "ServiceError",
    "StorageHeaders",
    "StoredObject",
    "ThrottledError",
    "WritesDisabledError",
]

# Where each public name lives; a module is imported when its first name is asked for.
_HOMES = {
    "bucket": ("Bucket",),
    "client": ("FlashbackClient",),
    "config": ("Credentials", "FlashbackSettings"),
    "models": (
        "BulkResult",
        "ClientStats",
        "CommonPrefix",
        "DeletedObject",
        "EndpointView",
        "ObjectInfo",
        "ObjectVersion",
        "StorageHeaders",
        "StoredObject",
    ),
    "objects.lease": ("EndpointLease",),
    "objects.reading": ("ObjectStream",),
    "routing": ("Endpoint", "OperationKind", "Outcome", "Router", "RoutingPolicy"),
    "transport.control_plane": ("ControlPlane",),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}


def __getattr__(name: str) -> object:
    """Import a public name on first use (PEP 562)."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value: object = getattr(import_module(f"{__name__}.{_HOME_OF.get(name, 'errors')}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """The public names, imported or not."""
    return sorted({*globals(), *__all__})
