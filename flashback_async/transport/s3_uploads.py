"""Which endpoint a multipart upload was created at: its id may mean nothing to the others."""

from __future__ import annotations

from collections import OrderedDict
from typing import Final

# Uploads that are remembered; beyond, those unused for the longest time are forgotten. About 2 MB.
REMEMBERED: Final = 10_000


class UploadHomes:
    """UploadId -> endpoint id, from the creation of an upload to its end. A used id stays longest."""

    def __init__(self, *, remembered: int = REMEMBERED) -> None:
        self._homes: OrderedDict[str, str] = OrderedDict()
        self._remembered = remembered

    def __len__(self) -> int:
        return len(self._homes)

    def of(self, upload_id: object) -> str | None:
        """The endpoint that knows this upload; None if it was not created here."""
        if not isinstance(upload_id, str) or upload_id not in self._homes:
            return None
        self._homes.move_to_end(upload_id)
        return self._homes[upload_id]

    def remember(self, upload_id: object, endpoint_id: str) -> None:
        """An upload was created."""
        if isinstance(upload_id, str):
            self._homes[upload_id] = endpoint_id
            self._homes.move_to_end(upload_id)
            if len(self._homes) > self._remembered:
                self._homes.popitem(last=False)

    def forget(self, upload_id: object) -> None:
        """It was completed or aborted, or its endpoint says that it does not exist."""
        if isinstance(upload_id, str):
            self._homes.pop(upload_id, None)
