"""botocore's session: cheaper, and the same answers."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from urllib.parse import urlsplit

import aioboto3
import pytest
from aiobotocore.config import AioConfig
from aiobotocore.session import AioSession
from botocore.endpoint_provider import EndpointProvider, RuleSet
from botocore.exceptions import DataNotFoundError, EndpointProviderError, ParamValidationError
from hypothesis import given, settings
from hypothesis import strategies as some

from flashback_async.transport.s3_session import ask_fewer_rules, lean_rules, lean_session

RULES = "endpoint-rule-set-1"


def providers():
    """What resolves endpoints, by botocore's own rules and by the lean ones."""
    loaders = [session.get_component("data_loader") for session in (AioSession(), lean_session())]
    return [
        EndpointProvider(loader.load_service_model("s3", RULES), loader.load_data("partitions"))
        for loader in loaders
    ]


PLAIN, LEAN = providers()


def resolved(provider, parameters):
    """Where a request goes, or why it goes nowhere."""
    try:
        return provider.resolve_endpoint(**parameters)
    except EndpointProviderError as error:
        return str(error)


@settings(deadline=None)
@given(
    some.fixed_dictionaries(
        {
            "Region": some.sampled_from(["us-east-1", "eu-west-1", "aws-global", "cn-north-1", "moon"]),
            "Key": some.text(),
            "Prefix": some.text(),
            "CopySource": some.text(),
        },
        optional={
            "Bucket": some.sampled_from(
                [
                    "bucket",
                    "with.dots",
                    "UPPER",
                    "a--x-s3",
                    "bucket--use1-az4--x-s3",
                    "arn:aws:s3:us-east-1:123456789012:accesspoint:mine",
                    "arn:aws:s3-outposts:us-east-1:123456789012:outpost:op-1:accesspoint:mine",
                    "arn:aws:s3::123456789012:accesspoint:m.mrap",
                ]
            ),
            "Endpoint": some.sampled_from(["https://node.example", "http://127.0.0.1:9000", "nonsense"]),
            **{
                name: some.booleans()
                for name in ("ForcePathStyle", "Accelerate", "UseArnRegion", "UseFIPS", "UseDualStack")
            },
        },
    )
)
def test_lean_rules_lead_to_the_same_place(parameters):
    """Whatever the bucket, the key and the settings: the same URL and signing, or the same refusal."""
    read = {name: value for name, value in parameters.items() if name not in {"Key", "Prefix", "CopySource"}}
    plain = {"UseFIPS": False, "UseDualStack": False, "Accelerate": False, "UseGlobalEndpoint": False}
    assert resolved(LEAN, plain | read) == resolved(PLAIN, plain | parameters)


def test_only_what_no_rule_reads_is_dropped():
    """Parameters stay that a condition, a URL or a header reads, or that the rules insist on."""
    rows = {"required": {"type": "String", "required": True}} | {
        name: {"type": "String"} for name in ("condition", "url", "header", "attribute", "nowhere")
    }
    rules = {
        "version": "1.0",
        "parameters": rows,
        "rules": [
            {
                "conditions": [{"fn": "isSet", "argv": [{"ref": "condition"}]}],
                "endpoint": {
                    "url": "https://{url}.example",
                    "headers": {"x": ["{header}"]},
                    "properties": {"name": "{attribute#name}"},
                },
                "documentation": "nowhere",
            }
        ],
    }
    lean = lean_rules(rules)
    assert set(lean["parameters"]) == {"required", "condition", "url", "header", "attribute"}
    assert (lean["version"], lean["rules"]) == (rules["version"], rules["rules"])
    assert "nowhere" in rules["parameters"], "what was given stays as it was"


def test_other_data_of_botocore_is_untouched():
    """Service models and paginators are loaded as botocore has them, from the places where it looks."""
    plain, lean = (session.get_component("data_loader") for session in (AioSession(), lean_session()))
    assert list(lean.search_paths) == list(plain.search_paths)
    for kind in ("service-2", "paginators-1", "waiters-2"):
        assert lean.load_service_model("s3", kind) == plain.load_service_model("s3", kind)
    assert lean.load_service_model("s3", RULES) is lean.load_service_model("s3", RULES)


def test_sessions_share_what_botocore_loads():
    """Whatever thread a session is made in: models, rules and tables are in memory once."""

    def loaded(_number):
        loader = lean_session().get_component("data_loader")
        together.wait()
        models = [loader.load_service_model("s3", kind) for kind in ("service-2", RULES)]
        return [*models, loader.load_data("endpoints"), loader.load_data("partitions")]

    together = Barrier(4)
    with ThreadPoolExecutor(4) as threads:
        first, *others = threads.map(loaded, range(4))
    assert all(data is same for other in others for data, same in zip(first, other, strict=True))


def test_data_of_the_users_own_stays_with_who_asked_for_it(tmp_path, monkeypatch):
    """A session that looks in another place, through AWS_DATA_PATH, finds what is there; others do not."""
    (tmp_path / "mine.json").write_text('{"whose": "mine"}')
    monkeypatch.setenv("AWS_DATA_PATH", str(tmp_path))
    mine = lean_session().get_component("data_loader")
    monkeypatch.delenv("AWS_DATA_PATH")
    others = lean_session().get_component("data_loader")
    assert mine.load_data("mine") == {"whose": "mine"}
    with pytest.raises(DataNotFoundError):
        others.load_data("mine")


def test_aws_configuration_is_read_for_each_session(tmp_path, monkeypatch):
    """What a configuration file says counts for the sessions that are made from then on."""
    regions = []
    for region in ("eu-west-1", "us-west-2"):
        path = tmp_path / region
        path.write_text(f"[default]\nregion = {region}\n")
        monkeypatch.setenv("AWS_CONFIG_FILE", str(path))
        regions.append(lean_session().get_config_variable("region"))
    assert regions == ["eu-west-1", "us-west-2"]


async def client_of(session):
    """A client of that session, and what closes it."""
    context = aioboto3.Session(botocore_session=session).client(
        "s3",
        endpoint_url="https://node.example",
        region_name="us-east-1",
        aws_access_key_id="id",
        aws_secret_access_key="secret",
        config=AioConfig(s3={"addressing_style": "path"}),
    )
    return await context.__aenter__()


async def test_the_rules_are_asked_once_per_bucket(monkeypatch):
    """Requests for many keys of a bucket find their endpoint with one evaluation of the rules."""
    evaluated = []
    evaluate = RuleSet.evaluate

    def counted(self, parameters):
        evaluated.append(parameters["Bucket"])
        return evaluate(self, parameters)

    monkeypatch.setattr(RuleSet, "evaluate", counted)
    session = AioSession()
    ask_fewer_rules(session)
    client = await client_of(session)
    asked = [{"Bucket": bucket, "Key": str(number)} for number in range(20) for bucket in ("a-1", "b-2")]
    urls = [await client.generate_presigned_url("get_object", Params=row) for row in asked]
    await client.close()
    assert [urlsplit(url).path for url in urls] == [f"/{row['Bucket']}/{row['Key']}" for row in asked]
    assert evaluated == ["a-1", "b-2"]


async def test_a_key_of_the_wrong_type_is_told_as_such():
    """What is not a string never reaches the rules; boto's own validation says so."""
    client = await client_of(lean_session())
    with pytest.raises(ParamValidationError, match="Key"):
        await client.get_object(Bucket="bucket", Key=5)
    await client.close()
