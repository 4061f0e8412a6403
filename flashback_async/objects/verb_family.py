"""What every family of verbs needs."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from flashback_async.objects.runner import Runner


class VerbFamily(ABC):
    """Verbs that belong together. `Verbs` is all families, and says what they have in common."""

    @abstractmethod
    def _started(self) -> Runner:
        """What runs the verbs.

        Raises:
            ClientClosedError: the client is not running here.
        """
