"""botocore's session for all clients: its models, loaded once per process, and what makes its calls cheaper.

Only through what botocore offers for it, and nothing that anybody can see in an answer. What each of them is
worth, `benchmarks/boto_knobs.py` measures.
"""

from __future__ import annotations

import re
from importlib.metadata import version
from typing import TYPE_CHECKING, Any, Final

from aiobotocore.session import AioSession
from botocore.handlers import add_retry_headers
from botocore.loaders import Loader

from flashback_async.transport.s3_timestamps import parse_timestamp

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

# Composed by botocore anew for every request otherwise, from parts that are always the same. botocore adds
# its own name behind it.
USER_AGENT: Final = f"flashback-async/{version('flashback-async')}"

_RULES: Final = "endpoint-rule-set-1"
# A superset of what botocore takes for a placeholder: {Name} or {Name#attribute}.
_PLACEHOLDER: Final = re.compile(r"\{(\w+)")


def lean_session() -> AioSession:
    """A session whose clients do less for the same answers. Blocking: reads AWS's configuration files."""
    session = AioSession()
    ask_fewer_rules(session)
    parse_timestamps_faster(session)
    count_no_retries(session)
    return session


def ask_fewer_rules(session: AioSession) -> None:
    """Where requests go is found out once per bucket, not once per key; see `SharedLoader`."""
    session.register_component("data_loader", SharedLoader.after(session.get_component("data_loader")))


def parse_timestamps_faster(session: AioSession) -> None:
    """Answers are read with our parser, which knows the formats of S3."""
    session.get_component("response_parser_factory").set_parser_defaults(timestamp_parser=parse_timestamp)


def count_no_retries(session: AioSession) -> None:
    """Two headers less to compute and to sign: they count botocore's retries, of which there are none."""
    session.unregister("request-created", add_retry_headers)


class SharedLoader(Loader):  # type: ignore[misc]  # botocore has no types
    """Loads botocore's data once per process, without the parameters that no rule of endpoints reads.

    botocore keeps what it loaded per session, which would be 80 ms and 8 MiB for each of several clients. The
    files belong to an installed package and do not change, and nobody changes what was read from them: all
    sessions share it, whatever their threads and loops. They share nothing else: AWS's configuration files
    and variables are read for each session.

    Of the rules botocore keeps the last hundred results, by all parameters. The key of an object is one of
    them, though no rule reads it, so that every new key would be a new evaluation: a quarter of a GET. Later
    releases of botocore (1.43 does) leave the key out by themselves.
    """

    @classmethod
    def after(cls, other: Loader) -> SharedLoader:
        """One that searches where `other` does."""
        return cls(extra_search_paths=list(other.search_paths), include_default_search_paths=False)

    def load_service_model(
        self, service_name: str, type_name: str, api_version: str | None = None
    ) -> dict[str, Any]:
        """See botocore."""
        found: dict[str, Any] = self._once((service_name, type_name, api_version), self._load_model)
        return found

    def load_data_with_path(self, name: str) -> tuple[dict[str, Any], str]:
        """See botocore. All that is no model comes this way."""
        found: tuple[dict[str, Any], str] = self._once((name,), super().load_data_with_path)
        return found

    def _load_model(self, service_name: str, type_name: str, api_version: str | None) -> dict[str, Any]:
        data: dict[str, Any] = super().load_service_model(service_name, type_name, api_version)
        return lean_rules(data) if type_name == _RULES else data

    def _once(self, what: tuple[str | None, ...], load: Callable[..., object]) -> Any:
        which = (tuple(self.search_paths), what)
        found = _LOADED.get(which)
        # No lock, which a fork could inherit while it is held: of two threads that load the same at once,
        # both get what the first one stores.
        return _LOADED.setdefault(which, load(*what)) if found is None else found


_LOADED: Final[dict[tuple[tuple[str, ...], tuple[str | None, ...]], object]] = {}


def lean_rules(rules: dict[str, Any]) -> dict[str, Any]:
    """A set of rules with those of its parameters that a rule reads, or that it insists on."""
    read = set(_read_by(rules["rules"]))
    parameters = {
        name: row for name, row in rules["parameters"].items() if name in read or row.get("required")
    }
    return {**rules, "parameters": parameters}


def _read_by(rules: object) -> Iterator[str]:
    """The names that rules refer to: `{"ref": name}`, and placeholders in texts."""
    if isinstance(rules, dict):
        if isinstance(rules.get("ref"), str):
            yield rules["ref"]
        for part in rules.values():
            yield from _read_by(part)
    elif isinstance(rules, list):
        for part in rules:
            yield from _read_by(part)
    elif isinstance(rules, str):
        yield from _PLACEHOLDER.findall(rules)
