"""The CDN: its template, the order in which secrets change, and refusals. CloudFormation is a recorder."""

import hashlib
import json
import re

import pytest
from samtranslator.yaml_helper import yaml_parse

from chalicelib import settings
from ops import stages
from ops.cli.errors import OperatorError
from ops.deployment import cdn, ci_package, site, site_files, stacks, template

API = {"FunctionUrl": "https://abc.lambda-url.eu-central-1.on.aws/"}
CONFIG = yaml_parse(template.render_cdn())["Resources"]["Distribution"]["Properties"]["DistributionConfig"]
CACHING_DISABLED = "4135ea2d-6df8-44a3-9df3-4b5a84be39ad"


def a_stage(**environment):
    return settings.read({"STAGE": "dev", "FRONT": "url", "CDN": "cloudfront", "COUNTERS": "*", **environment})


def hash_of(secret):
    return hashlib.sha256(secret.encode()).hexdigest()


class Cloud:
    """The distribution's stack and the digests that the API accepts. It may die before a step."""

    def __init__(self, monkeypatch):
        self.parameters: dict[str, str] = {}
        self.accepted: list[str] = []
        self.steps: list[str] = []
        self.dies_before = ""
        monkeypatch.setattr(stages, "read_template_parameters", lambda _stage: {})
        monkeypatch.setattr(stacks, "check_changeable", lambda _name: None)
        monkeypatch.setattr(stacks, "find_outputs", lambda _name: {**self.parameters})
        monkeypatch.setattr(stacks, "delete", lambda _name: self.parameters.clear())
        monkeypatch.setattr(stacks, "apply", self.apply_distribution)

    def step(self, name):
        self.steps.append(name)
        if name == self.dies_before:
            raise KeyboardInterrupt

    def apply_distribution(self, _name, _template, parameters, *, stage):
        self.step("distribution")
        assert stage == "dev"
        given = {name: value for name, value in parameters.items() if value is not None}
        self.parameters = {**self.parameters, **given}
        self.check()

    def deploy_api(self, digests):
        self.step("api" if not self.steps or self.steps[-1] != "distribution" else "api again")
        self.accepted = [*digests]
        self.check()
        return API

    def check(self):
        """Check that the API accepts what the distribution sends. Without digests, it accepts everything."""
        if self.parameters and self.accepted:
            assert hash_of(self.parameters["Secret"]) in self.accepted

    def deploy(self, *, new_secret=False, dies_before="", **environment):
        self.steps, self.dies_before = [], dies_before
        cdn.deploy(a_stage(**environment), self.deploy_api, "bucket", new_secret=new_secret)


@pytest.fixture
def cloud(monkeypatch):
    return Cloud(monkeypatch)


def test_first_deployment_creates_a_secret_that_the_api_requires(cloud):
    cloud.deploy()

    assert cloud.steps == ["api", "distribution", "api again"]
    assert re.fullmatch("[0-9a-f]{64}", cloud.parameters["Secret"])
    assert cloud.accepted == [cloud.parameters["Digest"]] == [hash_of(cloud.parameters["Secret"])]
    assert cloud.parameters["Api"] == "abc.lambda-url.eu-central-1.on.aws"


def test_repeated_deployment_keeps_the_secret(cloud):
    cloud.deploy()
    before = {**cloud.parameters}

    cloud.deploy()

    assert (cloud.parameters, cloud.accepted) == (before, [before["Digest"]])


def test_old_secret_is_accepted_until_the_new_one_is_sent(cloud):
    """`check` runs after each step."""
    cloud.deploy()
    old = cloud.parameters["Secret"]

    cloud.deploy(new_secret=True)

    assert cloud.steps == ["api", "distribution", "api again"]
    assert cloud.parameters["Secret"] != old
    assert cloud.accepted == [hash_of(cloud.parameters["Secret"])]


@pytest.mark.parametrize("step", ["api", "distribution", "api again"])
def test_interrupted_first_deployment_finishes_when_repeated(cloud, step):
    """Until the distribution exists, the API stays open: otherwise, no client could increment in the meantime."""
    with pytest.raises(KeyboardInterrupt):
        cloud.deploy(dies_before=step)
    assert cloud.accepted == []

    cloud.deploy()

    assert cloud.accepted == [hash_of(cloud.parameters["Secret"])]


def test_deployment_is_refused_while_the_distribution_is_being_changed(cloud, monkeypatch):
    """CloudFormation continues after an interruption, and the stack's outputs are still the old ones."""
    cloud.deploy()
    accepted = [*cloud.accepted]

    def refuse(_name):
        raise OperatorError("UPDATE_IN_PROGRESS")

    monkeypatch.setattr(stacks, "check_changeable", refuse)
    with pytest.raises(OperatorError, match="UPDATE_IN_PROGRESS"):
        cloud.deploy(new_secret=True)

    assert (cloud.steps, cloud.accepted) == ([], accepted)


def test_configured_secrets_leave_space_for_those_of_the_cdn(monkeypatch):
    monkeypatch.setattr(stages, "read_template_parameters", lambda _stage: {})
    digests = [hash_of(name) for name in "abc"]

    cdn.check(a_stage(FRONT_SECRETS=",".join(digests[:2])))
    with pytest.raises(OperatorError, match="at most 2 digests"):
        cdn.check(a_stage(FRONT_SECRETS=",".join(digests)))


@pytest.mark.parametrize("step", ["api", "distribution", "api again"])
def test_interrupted_change_of_secret_finishes_when_repeated(cloud, step):
    cloud.deploy()
    with pytest.raises(KeyboardInterrupt):
        cloud.deploy(new_secret=True, dies_before=step)
    cloud.check()

    cloud.deploy()

    assert cloud.accepted == [hash_of(cloud.parameters["Secret"])]


def test_stage_without_a_cdn_opens_its_api_and_deletes_the_distribution(cloud):
    cloud.deploy()

    cloud.deploy(CDN="none")

    assert (cloud.parameters, cloud.accepted) == ({}, [])


@pytest.mark.parametrize("certificate", ["", "arn:aws:acm:eu-central-1:000000000000:certificate/1", "mine"])
def test_host_without_a_certificate_in_us_east_1_is_refused_in_one_line(monkeypatch, certificate):
    monkeypatch.setattr(stages, "read_template_parameters", lambda _stage: {"Certificate": certificate})

    with pytest.raises(OperatorError, match=r"a certificate for counter\.example in us-east-1, got") as refusal:
        cdn.check(a_stage(ALLOWED_ORIGIN="https://counter.example"))

    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize(
    ("environment", "certificate"),
    [
        ({"ALLOWED_ORIGIN": "https://counter.example"}, "arn:aws:acm:us-east-1:000000000000:certificate/1-a"),
        ({}, ""),
        ({"ALLOWED_ORIGIN": "https://counter.example", "CDN": "none"}, ""),
    ],
)
def test_certificate_is_required_only_for_a_host_of_the_cdn(monkeypatch, environment, certificate):
    monkeypatch.setattr(stages, "read_template_parameters", lambda _stage: {"Certificate": certificate})

    cdn.check(a_stage(**environment))


def test_host_of_the_page_becomes_an_alias(cloud, monkeypatch):
    arn = "arn:aws:acm:us-east-1:000000000000:certificate/1"
    monkeypatch.setattr(stages, "read_template_parameters", lambda _stage: {"Certificate": arn})

    cloud.deploy(ALLOWED_ORIGIN="https://counter.example")

    assert (cloud.parameters["Host"], cloud.parameters["Certificate"]) == ("counter.example", arn)
    assert cdn.find_address(a_stage(ALLOWED_ORIGIN="https://counter.example")) == "https://counter.example"


def test_bucket_behind_cloudfront_has_a_generated_name():
    """CloudFront needs no particular name, so a bucket for Cloudflare keeps serving while the DNS record changes."""
    hosts = [
        site_files.parse_bucket_host(a_stage(ALLOWED_ORIGIN="https://counter.example", CDN=name))
        for name in settings.CDNS
    ]

    assert hosts == ["counter.example", ""]


def test_package_for_a_pipeline_is_refused_before_it_is_built(tmp_path):
    with pytest.raises(OperatorError, match="CDN=cloudfront requires `deploy`"):
        ci_package.package(a_stage(), tmp_path / "build")

    assert not (tmp_path / "build").exists()


def test_only_the_paths_that_shared_caches_may_keep_are_cached():
    cached, badge, every = CONFIG["CacheBehaviors"]

    patterns = [behavior["PathPattern"] for behavior in CONFIG["CacheBehaviors"]]
    assert patterns == ["/api/counters/*/cached", "/api/counters/*/badge.svg", "/api/*"]
    assert every["CachePolicyId"] == CACHING_DISABLED != cached["CachePolicyId"] == badge["CachePolicyId"]
    assert len(every["AllowedMethods"]) == 7
    assert {(each["TargetOriginId"], each["ViewerProtocolPolicy"]) for each in CONFIG["CacheBehaviors"]} == {
        ("api", "https-only")
    }


def test_errors_are_neither_cached_nor_replaced():
    """An error page of a distribution would also replace the problem documents of its API."""
    assert {tuple(each) for each in CONFIG["CustomErrorResponses"]} == {("ErrorCode", "ErrorCachingMinTTL")}
    assert {each["ErrorCachingMinTTL"] for each in CONFIG["CustomErrorResponses"]} == {0}


def test_secret_is_neither_an_output_nor_shown():
    rendered = yaml_parse(template.render_cdn())

    assert rendered["Parameters"]["Secret"]["NoEcho"] is True
    assert "Secret" not in json.dumps(rendered["Outputs"])


def test_page_is_not_published_with_an_address_that_refuses_it():
    stage = a_stage(CDN="none", FRONT_SECRETS=hash_of("secret"))

    with pytest.raises(OperatorError, match="FRONT_SECRETS requires --api"):
        site.find_api_url(stage)
