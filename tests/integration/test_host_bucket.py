"""The bucket with the page's host name, which another account could take if `destroy` deleted it."""

import json
import uuid
from dataclasses import replace

import boto3
import pytest
from click.testing import CliRunner

from chalicelib import settings
from ops import stages
from ops.cli import stage as commands
from ops.cli.errors import OperatorError
from ops.deployment import destroy, provision, stacks, template


@pytest.fixture
def stage(place):
    """Provision a stage whose page has a host, with an object in the host's bucket, and return its settings."""
    name = f"host-{uuid.uuid4().hex[:8]}"
    made = settings.read({"STAGE": name, "COUNTERS": "*", "ALLOWED_ORIGIN": f"https://{name}.example"})
    provision.provision(made)
    boto3.client("s3").put_object(Bucket=f"{name}.example", Key="index.html", Body=b"hello")
    yield made
    destroy.destroy(made, data=True, release_host=True)


def buckets(stage):
    return {bucket["Name"] for bucket in boto3.client("s3").list_buckets()["Buckets"] if stage.stage in bucket["Name"]}


def removed(outcome):
    return {resource["name"] for resource in outcome.facts["removed"]}


def test_destroy_keeps_the_emptied_bucket_of_the_host_and_says_so(stage):
    host = f"{stage.stage}.example"
    preview = destroy.preview(stage, data=True)

    done = destroy.destroy(stage, data=True)

    for outcome in (preview, done):
        assert f"Bucket {host} is emptied and kept" in outcome.text
    assert host not in removed(preview)
    assert done.facts["left"] == [host]
    assert buckets(stage) == {host}
    assert "Contents" not in boto3.client("s3").list_objects_v2(Bucket=host)

    assert provision.provision(stage)["SiteBucket"] == host


@pytest.mark.exhaustive
def test_kept_bucket_can_be_released_later(stage):
    """The operator has removed the DNS record in between."""
    destroy.destroy(stage, data=True)
    assert not destroy.has_resources(stage, data=True)
    assert destroy.has_resources(stage, data=True, release_host=True)

    done = destroy.destroy(stage, data=True, release_host=True)

    assert done.facts["removed"] == [f"{stage.stage}.example"]
    assert buckets(stage) == set()


def test_bucket_of_another_origin_is_never_emptied(place):
    """The stage was never provisioned, because its host's bucket existed before."""
    host = f"host-{uuid.uuid4().hex[:8]}.example"
    made = settings.read({"STAGE": host.partition(".")[0], "COUNTERS": "*", "ALLOWED_ORIGIN": f"https://{host}"})
    client = boto3.client("s3")
    client.create_bucket(Bucket=host)
    client.put_object(Bucket=host, Key="theirs", Body=b"theirs")

    destroy.destroy(made, data=True)
    with pytest.raises(OperatorError, match=f"{host} could not be deleted: remove its objects first"):
        destroy.destroy(made, data=True, release_host=True)

    assert client.get_object(Bucket=host, Key="theirs")["Body"].read() == b"theirs"


@pytest.mark.exhaustive
def test_bucket_without_a_host_is_removed_even_if_its_stack_is_gone(place):
    made = settings.read({"STAGE": f"host-{uuid.uuid4().hex[:8]}", "COUNTERS": "*"})
    provision.provision(made)
    stacks.delete(provision.stack_name(made.stage))
    (orphan,) = buckets(made)

    removed = destroy.destroy(made, data=True).facts["removed"]

    assert removed == [orphan, made.event_log_table]
    assert buckets(made) == set()


@pytest.mark.exhaustive
def test_destroy_with_release_host_deletes_the_bucket(stage):
    host = f"{stage.stage}.example"
    assert host in removed(destroy.preview(stage, data=True, release_host=True))

    destroy.destroy(stage, data=True, release_host=True)

    assert buckets(stage) == set()


@pytest.mark.exhaustive
def test_provision_refuses_the_bucket_of_the_host_if_it_has_objects(stage):
    destroy.destroy(stage, data=True)
    boto3.client("s3").put_object(Bucket=f"{stage.stage}.example", Key="mine", Body=b"mine")

    with pytest.raises(OperatorError, match="exists without its stack: remove its objects"):
        provision.provision(stage)
    boto3.client("s3").delete_object(Bucket=f"{stage.stage}.example", Key="mine")
    provision.provision(stage)


@pytest.mark.exhaustive
def test_provision_does_not_change_the_bucket_of_another_stage(stage):
    """The bucket is empty, as before the first `site`."""
    host = f"{stage.stage}.example"
    boto3.client("s3").delete_object(Bucket=host, Key="index.html")

    with pytest.raises(OperatorError, match=rf"{host} belongs to stack counter-{stage.stage}-data"):
        provision.provision(replace(stage, stage=f"{stage.stage}-2"))
    assert host in buckets(stage)


@pytest.mark.sample(1)
@pytest.mark.parametrize(("options", "note"), [([], "is emptied and kept"), (["--release-host"], "will be deleted")])
def test_command_states_the_consequences_for_the_host_before_it_asks(stage, monkeypatch, options, note):
    monkeypatch.setattr(stages, "enter", lambda _: stage)

    refused = CliRunner().invoke(commands.destroy_command, ["--stage", stage.stage, "--data", *options])

    before, _, _ = refused.stderr.partition("will be deleted permanently")
    assert refused.exit_code == 1
    assert f"Bucket {stage.stage}.example {note}" in before


def test_stack_that_would_delete_the_bucket_is_refused(place):
    """An earlier version of the template had this policy."""
    name = f"host-{uuid.uuid4().hex[:8]}"
    made = settings.read({"STAGE": name, "COUNTERS": "*", "ALLOWED_ORIGIN": f"https://{name}.example"})
    bucket = {"Type": "AWS::S3::Bucket", "DeletionPolicy": "Delete", "Properties": {"BucketName": f"{name}.example"}}
    stacks.apply(provision.stack_name(name), json.dumps({"Resources": {"Site": bucket}}), {}, stage=name)

    with pytest.raises(OperatorError, match="Run provision first, or pass --release-host"):
        destroy.destroy(made, data=True)
    assert buckets(made) == {f"{name}.example"}

    destroy.destroy(made, data=True, release_host=True)
    assert buckets(made) == set()


def test_template_retains_the_site():
    assert "  Site:\n    Type: AWS::S3::Bucket\n" in template.render_data()
    assert (
        "DeletionPolicy: RetainExceptOnCreate"
        in template.render_data().partition("\n  Site:\n")[2].partition("Properties:")[0]
    )
