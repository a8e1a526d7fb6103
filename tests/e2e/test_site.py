"""Publish, change and restrict the site in its bucket, even after interruptions."""

import contextlib
import json
import re
import uuid
from dataclasses import replace

import boto3
import httpx
import pytest
from botocore.exceptions import ClientError

from ops import stages
from ops.cli.errors import OperatorError
from ops.deployment import buckets, provision, site, stacks
from testkit.faults import DiedError
from tests.e2e.conftest import ops

pytestmark = pytest.mark.exhaustive

API = "https://api.example/api"
YEAR, MINUTE = "public, max-age=31536000, immutable", "public, max-age=60"


@pytest.fixture
def settings():
    """Return the settings of a stage that no other test uses."""
    from chalicelib import settings

    return replace(settings.current(), stage=f"site-{uuid.uuid4().hex[:8]}", allowed_origin=("*",))


@pytest.fixture
def bucket(place, settings):
    """Create the empty bucket of that stage."""
    return provision.provision(settings)["SiteBucket"]


@pytest.fixture
def web(tmp_path):
    """Write the web folder of a page with this text and return its path."""

    def write(text):
        files = {
            "index.html": "<meta content=\"connect-src 'self' https:\"><script src='x'></script>"
            '<script type="application/json" id="config">{}</script>'
            f'<link href="style.css"><script type="module" src="app.js"></script><p>{text}</p>',
            "error.html": "nothing here",
            "app.js": f'import"./view.js";console.log("{text}");' * 20,  # minified
            "view.js": f"export const text = '{text}';",
            "style.css": "body { margin: 0 }" * 20,
            ".hidden": "nobody's",
        }
        folder = tmp_path / "web"
        folder.mkdir(exist_ok=True)
        for name, content in files.items():
            (folder / name).write_text(content)
        return folder

    return write


def keys_in(bucket):
    return {found["Key"] for found in boto3.client("s3").list_objects_v2(Bucket=bucket).get("Contents", [])}


def get(place, bucket, key):
    """Return the object as an anonymous page of another origin gets it and a browser decodes it."""
    return httpx.get(f"{place.aws_url}/{bucket}/{key}", headers={"Origin": "https://blog.example"}, timeout=60)


def page_shown(place, bucket):
    """Return the text of the page after checking that all its files are of the same version."""
    page = get(place, bucket, "index.html").raise_for_status().text
    (version,) = set(re.findall(r'="v/([0-9a-f]+)/', page))
    (text,) = re.findall(r"<p>(.*)</p>", page)
    for name in ("app.js", "view.js"):
        assert text in get(place, bucket, f"v/{version}/{name}").raise_for_status().text
    get(place, bucket, f"v/{version}/style.css").raise_for_status()
    assert "connect-src 'self' https://api.example" in page
    assert config_of(page) == {"api_url": API, "max_increment": 1000}
    return text


def config_of(page):
    """Return the address and the maximum amount that the page reads."""
    (block,) = re.findall('<script type="application/json" id="config">(.*?)</script>', page)
    return json.loads(block)


@contextlib.contextmanager
def requests_to_s3(last=None):
    """Record the operations on S3 in order. If `last` is a number, die at the next operation."""
    made: list[str] = []

    def note(event_name, **_):
        operation = event_name.rpartition(".")[2]
        if len(made) == last:
            raise DiedError(operation)
        made.append(operation)

    boto3.client("s3")  # so that there is a default session
    session = boto3.DEFAULT_SESSION
    assert session is not None
    session.events.register("before-send.s3", note)
    try:
        yield made
    finally:
        session.events.unregister("before-send.s3", note)


def test_files_have_their_content_type_and_cache_lifetime(place, settings, bucket, web):
    folder = web("one")

    done = site.publish(settings, folder, API, dry_run=False).facts

    below = f"v/{done['version']}"
    served = {key: get(place, bucket, key) for key in done["published"]}
    headers = {
        key: tuple(found.headers.get(name, "") for name in ("content-type", "cache-control", "content-encoding"))
        for key, found in served.items()
    }
    assert headers == {
        f"{below}/app.js": ("text/javascript; charset=utf-8", YEAR, "gzip"),
        f"{below}/style.css": ("text/css; charset=utf-8", YEAR, "gzip"),
        f"{below}/view.js": ("text/javascript; charset=utf-8", YEAR, ""),
        "error.html": ("text/html; charset=utf-8", MINUTE, ""),
        "index.html": ("text/html; charset=utf-8", MINUTE, "gzip"),
    }
    # Modules of other sites are loaded with CORS.
    assert {found.headers.get("access-control-allow-origin") for found in served.values()} == {"*"}
    assert served[f"{below}/app.js"].text == (folder / "app.js").read_text()
    assert keys_in(bucket) == set(served)
    assert page_shown(place, bucket) == "one"


def test_unchanged_site_sends_and_removes_nothing(settings, bucket, web):
    for text in ("one", "two"):
        site.publish(settings, web(text), API, dry_run=False)
    before = keys_in(bucket)

    with requests_to_s3() as made:
        again = site.publish(settings, web("two"), API, dry_run=False)

    assert (again.facts["published"], again.facts["removed"], again.facts["unchanged"]) == ([], [], 5)
    assert again.text.startswith("Nothing to do: 5 files are up to date.")
    assert set(made) == {"HeadObject", "ListObjectsV2"}
    assert keys_in(bucket) == before


def test_changed_site_keeps_the_previous_version_and_foreign_files(place, settings, bucket, web):
    foreign = {"robots.txt", "v/readme.txt", "other/app.js"}
    for key in foreign:
        boto3.client("s3").put_object(Bucket=bucket, Key=key, Body=b"theirs")
    one, two = (site.publish(settings, web(text), API, dry_run=False).facts for text in ("one", "two"))

    three = site.publish(settings, web("three"), API, dry_run=False).facts

    assert set(three["removed"]) == {key for key in one["published"] if key.startswith("v/")}
    assert keys_in(bucket) == foreign | {"error.html"} | set(two["published"]) | set(three["published"])
    assert page_shown(place, bucket) == "three"


def test_rollback_sends_only_the_page_and_keeps_both_versions(place, settings, bucket, web):
    for text in ("one", "two"):
        site.publish(settings, web(text), API, dry_run=False)

    back = site.publish(settings, web("one"), API, dry_run=False).facts

    assert (back["published"], back["removed"]) == (["index.html"], [])
    assert page_shown(place, bucket) == "one"


def test_changed_api_address_reaches_the_page_and_its_policy(place, settings, bucket, web):
    site.publish(settings, web("one"), API, dry_run=False)

    done = site.publish(settings, web("one"), "https://other.example", dry_run=False).facts

    page = get(place, bucket, "index.html").text
    assert done["published"] == ["index.html"]
    assert config_of(page) == {"api_url": "https://other.example", "max_increment": 1000}
    assert "connect-src 'self' https://other.example" in page


def test_changed_headers_are_restored(place, settings, bucket, web):
    site.publish(settings, web("one"), API, dry_run=False)
    boto3.client("s3").copy_object(
        Bucket=bucket,
        Key="error.html",
        CopySource=f"{bucket}/error.html",
        MetadataDirective="REPLACE",
        ContentType="text/html; charset=utf-8",
        CacheControl="public, max-age=86400",
    )

    again = site.publish(settings, web("one"), API, dry_run=False).facts

    assert again["published"] == ["error.html"]
    assert get(place, bucket, "error.html").headers["cache-control"] == MINUTE


def test_publication_cut_off_anywhere_leaves_a_whole_page(place, settings, bucket, web):
    """A repetition finishes it."""
    for text in ("before", "old"):
        site.publish(settings, web(text), API, dry_run=False)
    with requests_to_s3() as made:
        site.publish(settings, web("new"), API, dry_run=False)
    assert made[-2:] == ["PutObject", "DeleteObjects"]

    seen = []
    for last in range(len(made)):
        old, new = f"old {last}", f"new {last}"
        for text in (f"before {last}", old):
            site.publish(settings, web(text), API, dry_run=False)
        with requests_to_s3(last), pytest.raises(DiedError):
            site.publish(settings, web(new), API, dry_run=False)
        seen.append(page_shown(place, bucket).partition(" ")[0])
        finished = site.publish(settings, web(new), API, dry_run=False).facts
        assert page_shown(place, bucket) == new
        assert len({key.split("/")[1] for key in keys_in(bucket) if key.startswith("v/")}) == 2
        assert finished["unchanged"] + len(finished["published"]) == 5

    # The new page is shown only after the page is put. After that, only the removal of old files may be missing.
    assert seen == ["old"] * (len(made) - 1) + ["new"]


def test_site_dry_run_lists_changes_and_makes_none(settings, bucket, web):
    for text in ("one", "two"):
        site.publish(settings, web(text), API, dry_run=False)
    before = keys_in(bucket)

    with requests_to_s3() as made:
        outcome = site.publish(settings, web("three"), API, dry_run=True)

    assert set(made) == {"HeadObject", "ListObjectsV2"}
    assert keys_in(bucket) == before
    lines = outcome.text.splitlines()
    assert lines[0] == "Would publish 4 files and remove 3 outdated files."
    assert len(lines) == 8


def test_site_command_publishes_the_page_with_the_apis_address(place, api_url):
    first = ops("site", "--stage", "local", "--json")
    again = ops("site", "--stage", "local")

    done = json.loads(first.stdout)
    page = httpx.get(done["url"], timeout=60)
    assert (first.returncode, again.returncode) == (0, 0)
    assert again.stdout.startswith("Nothing to do")
    assert config_of(page.text) == {"api_url": api_url, "max_increment": 1000}
    assert f"connect-src 'self' {place.aws_url};" in page.text
    assert f'src="v/{done["version"]}/page/app.js"' in page.text
    assert f'<meta property="og:url" content="{done["url"]}">' in page.text


def test_api_address_that_browsers_block_is_refused_in_one_line(place):
    refused = ops("site", "--stage", "local", "--api", "http://api.example")

    assert (refused.returncode, refused.stderr.count("\n")) == (2, 1)
    assert "the form https://api.example/path" in refused.stderr


def test_stage_without_a_deployed_api_is_refused_with_the_way_out(settings, bucket):
    with pytest.raises(OperatorError, match="run deploy first, or pass its address, as in --api"):
        site.find_api_url(settings)


def test_stage_without_a_site_bucket_is_refused_with_the_way_out(place, settings, web):
    template = {"Resources": {"Queue": {"Type": "AWS::SQS::Queue"}}}
    stacks.apply(provision.stack_name(settings.stage), json.dumps(template), {}, stage=settings.stage)

    with pytest.raises(OperatorError, match="run provision again"):
        site.publish(settings, web("one"), API, dry_run=False)


def test_bucket_has_the_name_of_the_pages_host(place, settings, web):
    host = f"{settings.stage}.example"
    settings = replace(settings, allowed_origin=(f"https://{host}",))

    provisioned = provision.provision(settings)
    done = site.publish(settings, web("one"), API, dry_run=False)

    assert provisioned["SiteBucket"] == host
    assert done.facts["url"] == f"https://{host}/"
    assert done.text.splitlines()[-1] == f"DNS: {host} CNAME {provisioned['SiteWebsite']}, proxied by Cloudflare"
    assert re.fullmatch(rf"{host}\.s3-website[-.][a-z0-9-]+\.amazonaws\.com", provisioned["SiteWebsite"])


def test_bucket_of_the_host_serves_until_the_dns_record_names_cloudfront(place, settings, web, configured):
    host = f"{settings.stage}.example"
    settings = replace(settings, allowed_origin=(f"https://{host}",))
    old = provision.provision(settings)["SiteBucket"]
    site.publish(settings, web("one"), API, dry_run=False)
    certificate = "arn:aws:acm:us-east-1:000000000000:certificate/1"
    configured(settings.stage, {"template_parameters": {"Certificate": certificate}})

    new = provision.provision(replace(settings, front=("url",), cdn="cloudfront"))["SiteBucket"]

    assert (old, "." in new) == (host, False)
    assert page_shown(place, old) == "one"


def test_host_other_than_the_buckets_is_refused_with_the_way_out(settings, bucket, web):
    elsewhere = replace(settings, allowed_origin=("https://counter.example",))

    with pytest.raises(OperatorError, match="run provision again"):
        site.publish(elsewhere, web("one"), API, dry_run=False)


def test_bucket_policy_allows_only_reads(settings, bucket):
    (statement,) = json.loads(boto3.client("s3").get_bucket_policy(Bucket=bucket)["Policy"])["Statement"]
    website = boto3.client("s3").get_bucket_website(Bucket=bucket)

    assert statement == {
        "Sid": "ReadObjects",
        "Effect": "Allow",
        "Principal": "*",
        "Action": "s3:GetObject",
        "Resource": f"arn:aws:s3:::{bucket}/*",
    }
    assert (website["IndexDocument"]["Suffix"], website["ErrorDocument"]["Key"]) == ("index.html", "error.html")


def test_public_bucket_allows_anonymous_reads_and_nothing_else(place, settings, web, configured):
    """A bucket for Cloudflare allows them from Cloudflare only."""
    bucket = provision.provision(settings)["SiteBucket"]
    site.publish(settings, web("one"), API, dry_run=False)
    address = f"{place.aws_url}/{bucket}"

    def answers():
        with httpx.Client(timeout=60) as client:
            return [
                client.get(f"{address}/index.html").status_code,
                client.get(address).status_code,
                client.put(f"{address}/more.html", content="theirs").status_code,
                client.delete(f"{address}/index.html").status_code,
            ]

    when_open = answers()
    configured(settings.stage, {"template_parameters": {"SiteReaders": "cloudflare"}})
    provision.provision(settings)
    when_for_cloudflare_only = answers()

    assert when_open == [200, 403, 403, 403]
    assert when_for_cloudflare_only == [403, 403, 403, 403]
    assert keys_in(bucket) >= {"index.html"}


def test_cloudflare_bucket_policy_is_not_public_by_s3s_rules(place, settings, configured):
    open_bucket = provision.provision(settings)["SiteBucket"]
    client = boto3.client("s3")
    open_policy = client.get_bucket_policy(Bucket=open_bucket)["Policy"]

    configured(settings.stage, {"template_parameters": {"SiteReaders": "cloudflare"}})
    bucket = provision.provision(settings)["SiteBucket"]

    policy = client.get_bucket_policy(Bucket=bucket)["Policy"]
    (statement,) = json.loads(policy)["Statement"]
    ranges = statement["Condition"]["IpAddress"]["aws:SourceIp"]
    assert bucket == open_bucket
    assert {"173.245.48.0/20", "2400:cb00::/32"} <= set(ranges)
    assert set(client.get_public_access_block(Bucket=bucket)["PublicAccessBlockConfiguration"].values()) == {True}
    client.put_bucket_policy(Bucket=bucket, Policy=policy)
    with pytest.raises(ClientError, match="BlockPublicPolicy"):
        client.put_bucket_policy(Bucket=bucket, Policy=open_policy)


@pytest.fixture
def configured(tmp_path, monkeypatch):
    """Write a configuration with this stage, and let the commands read it."""

    def write(stage, content):
        (tmp_path / ".chalice").mkdir(exist_ok=True)
        (tmp_path / ".chalice" / "config.json").write_text(json.dumps({"stages": {stage: content}}))
        monkeypatch.setattr(stages, "PROJECT", tmp_path)

    return write


def test_empty_bucket_deletes_all_versions(settings, bucket, web):
    client = boto3.client("s3")
    client.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    for text in ("one", "two", "three"):
        site.publish(settings, web(text), API, dry_run=False)

    removed = buckets.empty(bucket)

    left = client.list_object_versions(Bucket=bucket)
    assert removed > 12
    assert (left.get("Versions", []), left.get("DeleteMarkers", [])) == ([], [])
    assert buckets.empty(bucket) == 0
