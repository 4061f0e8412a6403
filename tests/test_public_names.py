"""The public surface: names, contract, error tree, documentation and types of what users import."""

from __future__ import annotations

import ast
import copy
import inspect
import pickle
import pkgutil
import re
import subprocess
import sys
from enum import Enum
from importlib import import_module
from typing import TYPE_CHECKING

import pytest

import flashback_async
from flashback_async import config, endpoint_url, errors, models, routing
from flashback_async.routing import OperationKind, Outcome, Router, RoutingPolicy

if TYPE_CHECKING:
    from types import ModuleType

MODULES = (flashback_async, routing, errors, models, config, endpoint_url)
by_module = pytest.mark.parametrize("module", MODULES, ids=lambda module: module.__name__)


# --- __all__ -----------------------------------------------------------------------------------------------


@by_module
def test_public_names_are_listed_sorted_and_once(module):
    """`__all__` is sorted and names nothing twice, so that a change of it reads well."""
    assert module.__all__ == sorted(set(module.__all__))


@by_module
def test_public_names_can_be_imported(module):
    """Every listed name exists, and `dir` shows it."""
    for name in module.__all__:
        assert getattr(module, name) is not None
    assert set(module.__all__) <= set(dir(module))


@by_module
def test_a_star_import_brings_exactly_the_listed_names(module):
    """`from module import *` works in a fresh interpreter, and brings what is listed."""
    program = f"from {module.__name__} import *\nprint(sorted(name for name in dir() if name[0] != '_'))"
    done = subprocess.run(
        [sys.executable, "-c", program], check=True, capture_output=True, text=True, timeout=60
    )
    assert ast.literal_eval(done.stdout) == module.__all__


def own_names(module: ModuleType) -> set[str]:
    """Public names that the module defines itself, by assignment, `def` or `class` at its top level."""
    found: set[str] = set()
    for node in ast.parse(inspect.getsource(module)).body:
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            found.add(node.name)
        elif isinstance(node, ast.Assign):
            found |= {target.id for target in node.targets if isinstance(target, ast.Name)}
    return {name for name in found if not name.startswith("_")}


@pytest.mark.parametrize(
    ("module", "private"),
    [
        (errors, set()),
        # A type variable.
        (models, {"T"}),
        # The annotated types serve the settings alone; the bounds are told by the errors.
        (config, {"Strings", "Pairs", "Seconds", "Secret", "MIN_PART", "MAX_PART"}),
    ],
    ids=["errors", "models", "config"],
)
def test_the_list_is_complete(module, private):
    """What a module defines without an underscore is public, or named here as not."""
    assert own_names(module) - private == set(module.__all__)


def test_the_core_lists_what_it_re_exports():
    """`flashback_async.routing` lists every name that it imports from its modules."""
    tree = ast.parse(inspect.getsource(routing))
    imported = {alias.name for node in tree.body if isinstance(node, ast.ImportFrom) for alias in node.names}
    assert imported == set(routing.__all__)


def test_the_package_lists_every_error_and_value_type():
    """Errors and value types can be imported from the package itself, and are the same objects."""
    for module in (errors, models):
        assert set(module.__all__) <= set(flashback_async.__all__)
        for name in module.__all__:
            assert getattr(flashback_async, name) is getattr(module, name)


def test_the_package_names_its_version():
    """`__version__` is a release number."""
    assert re.fullmatch(r"\d+\.\d+\.\d+((a|b|rc)\d+)?", flashback_async.__version__)


def test_an_unknown_name_is_an_attribute_error():
    """A typing mistake is told as usual, in spite of lazy imports."""
    with pytest.raises(AttributeError, match=r"module 'flashback_async' has no attribute 'FlashbakClient'"):
        _ = flashback_async.FlashbakClient


def test_modules_do_not_hide_their_names():
    """Every module of the core that lists public names lists existing ones."""
    for found in pkgutil.iter_modules(routing.__path__):
        module = import_module(f"{routing.__name__}.{found.name}")
        for name in getattr(module, "__all__", ()):
            assert hasattr(module, name), f"{module.__name__}.{name}"


# --- clients and buckets -----------------------------------------------------------------------------------

MIRRORED = sorted(
    name
    for name, verb in inspect.getmembers(flashback_async.FlashbackClient, inspect.isfunction)
    if not name.startswith("_") and next(iter(list(inspect.signature(verb).parameters)[1:]), "") == "bucket"
)


def test_there_are_verbs_to_mirror():
    """The check below sees verbs of every family."""
    assert {"get_object", "get_ranges", "put_object", "list_objects", "get_objects", "delete_objects"} <= {
        *MIRRORED
    }


@pytest.mark.parametrize("name", MIRRORED)
def test_a_bucket_has_every_verb_without_its_first_argument(name):
    """`Bucket` has each verb of the client about a bucket, with the same arguments but that one."""
    verb = inspect.signature(getattr(flashback_async.FlashbackClient, name))
    mirror = inspect.signature(getattr(flashback_async.Bucket, name))
    without = [parameter for parameter in verb.parameters.values() if parameter.name != "bucket"]
    assert [(each.name, each.kind, each.default) for each in mirror.parameters.values()] == [
        (each.name, each.kind, each.default) for each in without
    ]
    assert mirror.return_annotation == verb.return_annotation
    assert getattr(flashback_async.Bucket, name).__doc__ == f"See `FlashbackClient.{name}`."


# --- the contract of the routing core ----------------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    [
        "Attempt",
        "Endpoint",
        "EndpointReport",
        "EndpointStatus",
        "OperationKind",
        "Outcome",
        "Router",
        "RoutingPolicy",
        "Wait",
    ],
)
def test_the_contract_names_exist(name):
    """Programs outside of this repository import these names from `flashback_async.routing`."""
    assert name in routing.__all__
    assert inspect.isclass(getattr(routing, name))


READ = OperationKind.READ


@pytest.mark.parametrize(
    ("method", "positional", "named"),
    [
        ("apply_discovery", ([],), {"now": 0.0}),
        ("record_probe", ("a", 0.1), {"now": 0.0}),
        ("record_probe", ("a", None), {"now": 0.0}),
        ("acquire", ("bucket", READ), {"tried": (), "size": None, "now": 0.0}),
        ("acquire", (None, READ, ("a",), 10), {"now": 0.0}),
        ("settle", (None, Outcome.SUCCESS), {"now": 0.0, "first_byte": None, "retry_after": None}),
        ("finish", (None, Outcome.SUCCESS), {"now": 0.0, "bytes_moved": 0, "seconds": 0.0}),
        ("drain_events", (), {}),
        ("snapshot", (), {"now": 0.0}),
        ("explain", ("bucket", READ), {"now": 0.0}),
    ],
)
def test_the_router_can_be_called_as_promised(method, positional, named):
    """Each method of the contract takes its arguments in the promised places and by the promised names."""
    inspect.signature(getattr(Router, method)).bind(None, *positional, **named)


def test_values_can_be_made_as_promised():
    """The values of the contract are made by the promised keywords, with the promised defaults."""
    endpoint = routing.Endpoint(id="a", url="https://a.example", region="eu")
    report = routing.EndpointReport(
        endpoint=endpoint,
        status=routing.EndpointStatus.ONLINE,
        reported_latency={"bucket": 0.02},
        offline_buckets=frozenset(),
    )
    assert routing.EndpointReport(endpoint=endpoint).status is routing.EndpointStatus.ONLINE
    router = Router(policy=RoutingPolicy(), random=lambda: 0.5)
    router.apply_discovery([report], now=0.0)
    attempt = router.acquire("bucket", READ, now=0.0)
    assert attempt.endpoint is endpoint
    assert routing.Wait(seconds=1.5).seconds == 1.5


@pytest.mark.parametrize(
    ("enum", "names"),
    [
        (routing.OperationKind, ["READ", "WRITE"]),
        (routing.EndpointStatus, ["ONLINE", "OFFLINE", "DISCONNECTED", "UNKNOWN"]),
        (
            routing.Outcome,
            ["SUCCESS", "ENDPOINT_FAULT", "TIMEOUT", "THROTTLED", "CALLER_FAULT", "CANCELLED"],
        ),
        (routing.BreakerState, ["CLOSED", "OPEN", "HALF_OPEN"]),
    ],
    ids=lambda value: value.__name__ if inspect.isclass(value) else "",
)
def test_the_enums_have_their_members(enum, names):
    """The members of an enum are a contract as well."""
    assert [member.name for member in enum] == names


# --- the error tree ----------------------------------------------------------------------------------------

TREE = {
    "FlashbackError": (Exception,),
    "ConfigurationError": ("FlashbackError", ValueError),
    "ClientClosedError": ("FlashbackError", RuntimeError),
    "DiscoveryError": ("FlashbackError",),
    "NoEndpointAvailableError": ("FlashbackError",),
    "OperationError": ("FlashbackError",),
    "EndpointError": ("OperationError",),
    "EndpointConnectError": ("EndpointError",),
    "EndpointTimeoutError": ("EndpointError", TimeoutError),
    "EndpointServerError": ("EndpointError",),
    "ThrottledError": ("OperationError",),
    "DeadlineExceededError": ("OperationError", TimeoutError),
    "PoolTimeoutError": ("OperationError", TimeoutError),
    "ServiceError": ("OperationError",),
    "ObjectNotFoundError": ("ServiceError", FileNotFoundError),
    "AccessDeniedError": ("ServiceError", PermissionError),
    "NotModifiedError": ("ServiceError",),
    "PreconditionFailedError": ("ServiceError",),
    "ObjectChangedError": ("ServiceError",),
    "WritesDisabledError": ("ServiceError",),
    "EntityTooLargeError": ("ServiceError",),
    "ClockSkewError": ("ServiceError",),
    "IntegrityError": ("OperationError",),
}
ERRORS = {name: getattr(errors, name) for name in TREE}
by_error = pytest.mark.parametrize("name", TREE)


def test_these_are_all_the_errors():
    """The tree has these errors and no others."""
    found = {name for name in errors.__all__ if issubclass(getattr(errors, name), BaseException)}
    assert found == set(TREE)


@by_error
def test_the_tree_is_as_drawn(name):
    """Each error has exactly the bases of the drawing, so that both `except` styles work."""
    bases = tuple(ERRORS[base] if isinstance(base, str) else base for base in TREE[name])
    assert ERRORS[name].__bases__ == bases


@by_error
def test_the_tree_is_drawn_in_the_documentation(name):
    """The module shows every error, with the builtin that it also is."""
    builtin = [base.__name__ for base in TREE[name] if not isinstance(base, str) and base is not Exception]
    pattern = rf"^.*\b{name}( \({builtin[0]}\))" if builtin else rf"^.*\b{name}(?! \()"
    assert re.search(pattern, errors.__doc__, re.MULTILINE)


DESCRIBED = {
    "FlashbackError": (None, False, False),
    "ConfigurationError": (False, False, False),
    "ClientClosedError": (False, False, False),
    "DiscoveryError": (True, False, False),
    "NoEndpointAvailableError": (True, False, False),
    "OperationError": (None, False, False),
    "EndpointError": (None, True, False),
    "EndpointConnectError": (None, True, False),
    "EndpointTimeoutError": (None, True, False),
    "EndpointServerError": (None, True, False),
    "ThrottledError": (True, False, True),
    "DeadlineExceededError": (None, False, False),
    "PoolTimeoutError": (True, False, False),
    "ServiceError": (False, False, False),
    "ObjectNotFoundError": (False, False, False),
    "AccessDeniedError": (False, False, False),
    "NotModifiedError": (False, False, False),
    "PreconditionFailedError": (False, False, False),
    "ObjectChangedError": (False, False, False),
    "WritesDisabledError": (False, False, False),
    "EntityTooLargeError": (False, False, False),
    "ClockSkewError": (False, False, False),
    "IntegrityError": (True, True, False),
}


@by_error
def test_errors_describe_themselves(name):
    """Whether to repeat, whose fault it is, whether to slow down: the error says it."""
    kind = ERRORS[name]
    assert (kind.is_retry_safe, kind.is_endpoint_fault, kind.is_throttling) == DESCRIBED[name]


def made(name: str) -> errors.FlashbackError:
    """An error with a value in every attribute that its constructor takes."""
    kind = ERRORS[name]
    if name == "DiscoveryError":
        return kind("refused", status=503, retry_after=2.0)
    if name == "NoEndpointAvailableError":
        return kind("nobody", detail={"a": "not in the table"}, retry_after=2.0)
    if not issubclass(kind, errors.OperationError):
        return kind("that went wrong")
    details: dict[str, object] = {}
    if issubclass(kind, errors.ServiceError):
        details = {"code": "NoSuchKey", "status": 404, "request_id": "r-1"}
    elif issubclass(kind, errors.EndpointServerError):
        details = {"code": "InternalError", "status": 500}
    return kind(
        "that went wrong",
        operation="GetObject",
        bucket="photos",
        key="cat.jpg",
        endpoint="eu-1",
        attempts=(errors.FailedAttempt("eu-2", 0.25, "refused"),),
        retry_after=2.0,
        **details,
    )


@by_error
@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_errors_pickle_with_attributes_and_text(name, protocol):
    """An error that crosses a process keeps its type, text, arguments and every attribute."""
    error = made(name)
    again = pickle.loads(pickle.dumps(error, protocol))
    assert type(again) is type(error)
    assert (str(again), again.args, vars(again)) == (str(error), error.args, vars(error))
    assert again.retry_after == error.retry_after


@by_error
def test_errors_can_be_copied(name):
    """`copy` and `deepcopy` work as well, as logging and futures need it."""
    error = made(name)
    for again in (copy.copy(error), copy.deepcopy(error)):
        assert type(again) is type(error)
        assert (str(again), vars(again)) == (str(error), vars(error))


@by_error
def test_a_bare_error_needs_only_its_message(name):
    """Every error can be raised with a message alone, and shows it."""
    error = ERRORS[name]("that went wrong")
    assert str(error) == "that went wrong"
    assert error.retry_after is None
    with pytest.raises(errors.FlashbackError, match=r"^that went wrong$"):
        raise error


def test_an_operation_error_names_operation_target_and_history():
    """The text says what was tried on what, what came of it, and what each attempt before met."""
    assert str(made("EndpointConnectError")) == (
        "GetObject photos/cat.jpg: that went wrong (attempts: eu-2 after 0.250 s: refused)"
    )
    assert str(errors.OperationError("no", operation="ListBuckets")) == "ListBuckets: no"
    assert str(errors.OperationError("no", bucket="photos")) == "photos: no"


def test_errors_of_subclasses_with_other_constructors_pickle_too():
    """Unpickling calls no constructor, so that errors with arguments of their own come through."""
    error = errors.NoEndpointAvailableError("nobody", detail={"a": "open", "b": "tried"})
    again = pickle.loads(pickle.dumps(error))
    again.detail["c"] = "x"
    assert error.detail == {"a": "open", "b": "tried"}


# --- no secret anywhere ------------------------------------------------------------------------------------

SECRET = "hunter2-the-secret"
SECRETS = ("key_secret", "session_token", "read_key_secret", "jwt", "refresh_token")


def text_of(error: BaseException) -> str:
    """Everything that a log could show of an error, its pickle and its causes."""
    shown = f"{error} {error!r} {vars(error)} {pickle.dumps(error)!r}"
    for other in (error.__cause__, None if error.__suppress_context__ else error.__context__):
        shown += text_of(other) if other is not None else ""
    return shown


@pytest.mark.parametrize("name", SECRETS)
@pytest.mark.parametrize("value", [f" {SECRET}", f"{SECRET}\n", f"{SECRET}\x00"])
def test_a_refused_secret_is_not_shown(monkeypatch, name, value):
    """The message about an unusable secret names the setting and not the value."""
    with pytest.raises(errors.ConfigurationError, match=name) as caught:
        config.FlashbackSettings(**{name: value})
    assert SECRET not in text_of(caught.value)
    monkeypatch.setenv(f"FB_{name.upper()}", value.replace("\x00", "\t"))
    with pytest.raises(errors.ConfigurationError, match=f"FB_{name.upper()}") as caught:
        config.FlashbackSettings()
    assert SECRET not in text_of(caught.value)


def test_another_mistake_does_not_show_the_secrets_beside_it():
    """An error about one setting shows no other one's value."""
    given = {name: SECRET for name in SECRETS if name != "read_key_secret"}
    with pytest.raises(errors.ConfigurationError) as caught:
        config.FlashbackSettings(key_id="AK", attempts=0, unknown_setting=1, **given)
    assert SECRET not in text_of(caught.value)


@pytest.mark.parametrize(
    ("name", "value", "way_out"),
    [
        ("checksum", "sha1", "should be 'none', 'crc32c', 'sha256' or 'md5'"),
        ("resume_identity", "name", "should be 'etag', 'etag_and_length', 'last_modified' or 'length'"),
        ("lane", "slow", "should be 'aioboto3' or 'fast'"),
        ("read_your_writes", "-1", "greater than or equal to 0"),
        ("bucket_ids", "demo", "write it like name=uuid"),
    ],
)
def test_a_wrong_setting_is_told_once(monkeypatch, name, value, way_out):
    """A variable that cannot work is named once, with its value and with what would work."""
    variable = f"FB_{name.upper()}"
    monkeypatch.setenv(variable, value)
    with pytest.raises(errors.ConfigurationError, match=way_out) as caught:
        config.FlashbackSettings()
    assert str(caught.value).startswith(f"{variable}=")
    assert str(caught.value).count(variable) == 1
    assert value in str(caught.value)


def test_passwords_in_urls_are_not_shown():
    """A URL that carries a password is refused without repeating it."""
    with pytest.raises(errors.ConfigurationError) as caught:
        endpoint_url.checked_url(f"https://me:{SECRET}@s3.example.com", what="endpoints")
    assert SECRET not in text_of(caught.value)
    with pytest.raises(errors.ConfigurationError) as caught:
        config.FlashbackSettings(endpoints=f"https://me:{SECRET}@s3.example.com")
    assert SECRET not in text_of(caught.value)


def test_no_representation_shows_a_secret():
    """Settings and credentials hide their secrets from `repr` and `str`."""
    settings = config.FlashbackSettings(
        key_id="AK", key_secret=SECRET, session_token=SECRET, jwt=SECRET, refresh_token=SECRET
    )
    for shown in (settings, settings.credentials(), settings.read_credentials()):
        assert SECRET not in f"{shown!r} {shown}"


# --- documentation and types -------------------------------------------------------------------------------


def documented(module: ModuleType) -> list[tuple[str, object]]:
    """Public classes and functions of a module, and the public methods of those classes."""
    found: list[tuple[str, object]] = []
    for name in module.__all__:
        value = getattr(module, name)
        if inspect.isclass(value) and value.__module__.startswith("flashback_async"):
            found.append((name, value))
            for attribute, member in vars(value).items():
                plain = member.__func__ if isinstance(member, classmethod | staticmethod) else member
                if not attribute.startswith("_") and (
                    inspect.isfunction(plain) or isinstance(plain, property)
                ):
                    found.append((f"{name}.{attribute}", plain))
        elif inspect.isfunction(value):
            found.append((name, value))
    return found


PUBLIC = {f"{module.__name__}.{name}": value for module in MODULES for name, value in documented(module)}
by_public = pytest.mark.parametrize("name", PUBLIC)


def test_there_is_something_to_document():
    """The checks below see classes, methods, properties and functions."""
    assert {
        "flashback_async.FlashbackClient",
        "flashback_async.routing.Router.acquire",
        "flashback_async.routing.Explanation.expected",
        "flashback_async.endpoint_url.checked_url",
    } <= PUBLIC.keys()


@by_public
def test_everything_public_is_documented(name):
    """Each public class, method, property and function has a docstring of its own, written by hand."""
    value = PUBLIC[name]
    text = value.__doc__
    assert text, name
    assert not text.startswith(f"{name.rpartition('.')[2]}("), "that is what a dataclass makes up"


def functions_of(value: object) -> list[object]:
    """The functions whose signatures callers of `value` see."""
    if isinstance(value, property):
        return [value.fget]
    if not inspect.isclass(value):
        return [value]
    made_by_hand = vars(value).get("__init__")
    is_ours = inspect.isfunction(made_by_hand) and not issubclass(value, config.FlashbackSettings)
    return [made_by_hand] if is_ours and not issubclass(value, Enum) else []


def names_in(annotation: object) -> set[str]:
    """The names that an annotation mentions, whether it is text or an object."""
    if not isinstance(annotation, str):
        return {repr(annotation).rpartition(".")[2], *re.findall(r"\w+", repr(annotation))}
    return {
        node.id if isinstance(node, ast.Name) else node.attr
        for node in ast.walk(ast.parse(annotation, mode="eval"))
        if isinstance(node, ast.Name | ast.Attribute)
    }


@by_public
def test_public_signatures_are_typed_and_without_any(name):
    """Every parameter and result has a type, and none is `Any`."""
    for function in functions_of(PUBLIC[name]):
        signature = inspect.signature(function)
        parameters = list(signature.parameters.values())
        if parameters and parameters[0].name in {"self", "cls"}:
            parameters = parameters[1:]
        for annotation in (*(each.annotation for each in parameters), signature.return_annotation):
            assert annotation is not inspect.Signature.empty, f"{name}{signature}"
            assert "Any" not in names_in(annotation), f"{name}{signature}"


@by_public
def test_public_attributes_are_without_any(name):
    """No annotated attribute of a public class is `Any`."""
    value = PUBLIC[name]
    for attribute, annotation in (
        (vars(value).get("__annotations__") or {}).items() if inspect.isclass(value) else ()
    ):
        assert "Any" not in names_in(annotation), f"{name}.{attribute}"


def test_aliases_are_without_any():
    """Public type aliases name their parts."""
    aliases = [getattr(config, name) for name in config.__all__ if name.endswith(("Provider", "Callback"))]
    assert len(aliases) == 3
    assert not any("Any" in names_in(alias) for alias in aliases)
