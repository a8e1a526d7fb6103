"""Remove a stage's application and, on request, its data."""

from collections.abc import Iterable

import boto3

from chalicelib.projections import PROJECTIONS
from chalicelib.settings import Settings
from ops import target
from ops.cli.errors import OperatorError
from ops.cli.result import Outcome
from ops.deployment import buckets, cdn, deploy, keys, provision, resources, stacks

_TABLE, _BUCKET = "AWS::DynamoDB::Table", "AWS::S3::Bucket"


def preview(settings: Settings, *, data: bool, release_host: bool = False) -> Outcome:
    """List what `destroy` would remove."""
    deploy.check_not_deployed_by_chalice(settings.stage)
    resources = _list_resources(settings, data=data, release_host=release_host)
    notes = [] if release_host else list(map(_describe_kept, _list_host_buckets(resources)))
    removed = [(kind, name) for kind, name in resources if release_host or not _is_host_bucket(kind, name)]
    facts = {"dry_run": True, "removed": [{"type": kind, "name": name} for kind, name in removed]}
    head = f"Would be removed from stage {settings.stage} in {target.describe()}:"
    lines = [head, *(f"  {kind} {name}" for kind, name in removed), *notes]
    return Outcome(facts, lines if resources else [_nothing_to_remove(settings, data=data)])


def describe_host_bucket(settings: Settings, *, release_host: bool) -> str:
    """Describe what a deletion of the data does to the bucket of the page's host. Empty if there is no such bucket."""
    buckets = _list_host_buckets(_list_resources(settings, data=True, release_host=release_host))
    return " ".join(map(_describe_released if release_host else _describe_kept, buckets))


def has_resources(settings: Settings, *, data: bool, release_host: bool = False) -> bool:
    """Check whether there is anything to remove."""
    deploy.check_not_deployed_by_chalice(settings.stage)
    names = [*_application_stacks(settings), *(_storage_stacks(settings) if data else [])]
    return any(map(stacks.exists, names)) or bool(_list_resources(settings, data=data, release_host=release_host))


def destroy(settings: Settings, *, data: bool, release_host: bool = False) -> Outcome:
    """
    Remove the stage's application with its API keys and, with `data`, its data. Safe to repeat.

    The application is removed first because it needs the data. The event log is removed last. The bucket with the name
    of the page's host is emptied and, unless `release_host` is set, kept. If it were deleted, another account could
    take its name and, while a DNS record points there, serve pages at the host. If CloudFormation refuses, removed
    resources stay removed, and a repeated call continues.
    """
    storage = _storage_stacks(settings)
    orphans = _find_orphan(settings, release_host=release_host) if data else []
    resources = _list_resources(settings, data=data, release_host=release_host)
    kept_buckets = [] if release_host else _list_host_buckets(resources)
    if kept_buckets and not stacks.retains(provision.stack_name(settings.stage), "Site"):
        raise OperatorError(
            f"The stack of stage {settings.stage} is from an earlier version of the project. Deleting it would delete "
            f"the bucket {kept_buckets[0]} of the page's host. Run provision first, or pass --release-host."
        )
    removed = keys.remove_all(settings)  # API Gateway refuses to delete a stage with a usage plan
    removed += [name for name in _application_stacks(settings) if stacks.delete(name)]
    if data:
        for kind, name in resources:
            if kind == _BUCKET and ((kind, name) not in orphans or not _is_host_bucket(kind, name)):
                buckets.empty(name)
            if kind == _BUCKET and name not in kept_buckets:
                buckets.delete(name, f"Bucket {name} could not be deleted: remove its objects first.")
        removed += [name for name in storage if stacks.delete(name)]
        removed += [name for _, name in orphans]
        if provision.has_log(settings):
            _delete_log(settings.event_log_table)
            removed.append(settings.event_log_table)
    kept = kept_buckets if data else [name for name in storage if stacks.exists(name)]
    lines = [f"Removed: {', '.join(removed)}." if removed else _nothing_to_remove(settings, data=data)]
    lines += map(_describe_kept, kept_buckets)
    if kept and not data:
        lines.append(f"Kept: {', '.join(kept)}, with all events, counters and queues.")
    if settings.event_log_table in removed:
        lines.append("AWS keeps a final backup of the event log for 35 days, from which you can restore it.")
    return Outcome({"removed": removed, "left": kept}, lines)


def _is_host_bucket(kind: str, name: str) -> bool:
    """Check whether this bucket has the name of a host. Generated names have no dots."""
    return kind == _BUCKET and "." in name


def _list_host_buckets(resources: Iterable[tuple[str, str]]) -> list[str]:
    return [name for kind, name in resources if _is_host_bucket(kind, name)]


def _describe_kept(bucket: str) -> str:
    return (
        f"Bucket {bucket} is emptied and kept: if it were deleted, another account could take its name and serve pages "
        f"at {bucket} while a DNS record points there. To delete it, remove the record and pass --release-host."
    )


def _describe_released(bucket: str) -> str:
    return (
        f"Bucket {bucket} will be deleted. Another account can then take its name: remove the DNS record of {bucket} "
        "first."
    )


def _find_orphan(settings: Settings, *, release_host: bool) -> list[tuple[str, str]]:
    """
    Return the site's bucket, with its type, if it was kept when its stack was deleted.

    A bucket with a host's name is returned only with `release_host`. Such a bucket might belong to another project, and
    must not be emptied.
    """
    if stacks.exists(provision.stack_name(settings.stage)):
        return []
    name = provision.site_bucket(settings)
    if not release_host and _is_host_bucket(_BUCKET, name):
        return []
    return [(_BUCKET, name)] if buckets.exists(name) and not stacks.find_output("SiteBucket", name) else []


def _application_stacks(settings: Settings) -> list[str]:
    """Return the names of the stacks without data. The CDN is first: it sends requests to the application."""
    return [cdn.stack_name(settings.stage), deploy.stack_name(settings.stage)]


def _storage_stacks(settings: Settings) -> list[str]:
    """Return the names of the stacks with the stage's data, the log's stack last."""
    optional = [provision.projection_stack_name(settings.stage, projection) for projection in PROJECTIONS[1:]]
    return [*optional, provision.stack_name(settings.stage)]


def _list_resources(settings: Settings, *, data: bool, release_host: bool) -> list[tuple[str, str]]:
    resources = keys.list_resources(settings)
    resources += [resource for name in _application_stacks(settings) for resource in stacks.resources(name)]
    if data:
        resources += [resource for name in _storage_stacks(settings) for resource in stacks.resources(name)]
        log = (_TABLE, settings.event_log_table)
        resources += [log] if log not in resources and provision.has_log(settings) else []
        resources += _find_orphan(settings, release_host=release_host)
    return resources


def _nothing_to_remove(settings: Settings, *, data: bool) -> str:
    return f"Nothing to remove: stage {settings.stage} has no application{' and no data' if data else ''} here."


def _delete_log(table: str) -> None:
    client = boto3.client("dynamodb")
    if client.describe_table(TableName=table)["Table"].get("DeletionProtectionEnabled"):
        resources.update_table(client, table, DeletionProtectionEnabled=False)
    client.delete_table(TableName=table)
    client.get_waiter("table_not_exists").wait(TableName=table)
