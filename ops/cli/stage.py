"""Commands that create, change and remove a stage."""

import functools
import json
import sys
from pathlib import Path

import click

from chalicelib.settings import Settings
from ops import stages
from ops.cli import errors
from ops.cli.command import confirm, stage_command
from ops.cli.result import Outcome


def _prepare_stage(stage: str, *, yes: bool, counters: str | None) -> None:
    if stages.is_known(stage):
        if counters is not None:
            stages.set_counters(stage, counters)
        return
    confirm(
        f"Add the new stage {stage} to .chalice/config.json?",
        yes=yes,
        refusal=f"{stages.describe_unknown_stage(stage)} Add --yes to create it.",
    )
    stages.add(stage, counters)


@functools.partial(stage_command, prepare=_prepare_stage)
@click.option("--yes", is_flag=True, help="Add a new stage without asking.")
@click.option(
    "--counters", metavar="TEXT", help="Set COUNTERS: '*', names and patterns such as 'visits,likes-*', or ''."
)
def provision_command(settings: Settings, **_options: bool | str | None) -> Outcome:  # _prepare_stage reads them
    """
    Create or update tables, queues, buckets and alarms.

    Safe to repeat. The command restores tables and queues that changed outside CloudFormation. It adds a new stage, and
    the functions of its optional features, to .chalice/config.json. It writes the functions' policies next to that
    file, where Chalice reads them.

    A stage other than local needs an explicit choice of the counters that exist. --counters writes this choice to
    .chalice/config.json.

    \b
    Examples:
      python -m ops provision --stage dev --counters '*'
      python -m ops provision --stage beta --yes --counters 'visits,likes-*'
    """
    from ops import target
    from ops.deployment import policies, provision

    outputs = provision.provision(settings)
    policies.write(settings, stages.PROJECT / ".chalice")
    stages.configure_functions(settings)
    return Outcome({"Where": target.describe(), **outputs})


@stage_command
@click.option(
    "--new-secret", is_flag=True, help="With CDN=cloudfront, replace the secret that CloudFront sends to the API."
)
def deploy_command(settings: Settings, *, new_secret: bool) -> Outcome:
    """
    Deploy this checkout to a provisioned stage.

    Safe to repeat. A CDN takes minutes to create, change or delete.

    \b
    Examples:
      python -m ops deploy --stage dev
    """
    from ops import target
    from ops.deployment import deploy

    if new_secret and settings.cdn == "none":
        raise click.UsageError("--new-secret requires CDN=cloudfront.")
    deployed = deploy.deploy(settings, stages.local_folder(), new_secret=new_secret)
    url, *others = deployed.urls.values()
    facts = {"Where": target.describe(), "ApiId": deployed.api_id, "Url": url, "AlsoAt": ", ".join(others)}
    return Outcome({name: fact for name, fact in facts.items() if fact})


@stage_command
@click.option("--api", "api_url", metavar="URL", help="API address (default: the deployed API).")
@click.option("--dry-run", is_flag=True, help="List changes without making them.")
def site_command(settings: Settings, api_url: str | None, dry_run: bool) -> Outcome:
    """
    Publish the page to its bucket, configured for the API.

    The command uploads only changed files: assets first, then the page that refers to them. Outdated files are removed
    last; the previous version is kept. If the command is interrupted, run it again to finish.

    \b
    Examples:
      python -m ops site --stage prod
      python -m ops site --stage prod --api https://api.counter.example
    """
    from ops.deployment import site

    return site.publish(settings, stages.PROJECT / "web", api_url or site.find_api_url(settings), dry_run=dry_run)


@stage_command
@click.argument("folder", type=click.Path(file_okay=False, path_type=Path))
def package_command(settings: Settings, folder: Path) -> Outcome:
    """
    Write the deployment package to FOLDER.

    The command needs no AWS account. FOLDER gets deployment.zip (the code), sam.json (the template) and overlay.json
    (those settings of the template that Chalice cannot express). The command prints the AWS CLI commands that apply the
    package to a provisioned stage.

    \b
    Examples:
      python -m ops package --stage prod build
    """
    from ops.deployment import ci_package

    return ci_package.package(settings, folder)


@stage_command
@click.option("--data", is_flag=True, help="Also delete all data, permanently.")
@click.option("--confirm", "confirmed", metavar="STAGE", help="Stage name, to confirm --data.")
@click.option("--dry-run", is_flag=True, help="List what would be removed.")
@click.option("--yes", is_flag=True, help="Remove the application without asking.")
@click.option(
    "--release-host",
    is_flag=True,
    help="With --data, also delete the bucket with the page's host name. Default: empty and keep it.",
)
def destroy_command(
    settings: Settings, *, data: bool, confirmed: str | None, dry_run: bool, yes: bool, release_host: bool
) -> Outcome:
    """
    Remove the application: CDN, API, API keys, functions, event sources.

    The command keeps the data, unless --data is given and confirmed with the stage's name. With --data, the event log
    is deleted last, and the bucket with the page's host name is only emptied, unless --release-host is given. Once this
    bucket is deleted, another account can take its name. While the host's DNS record points to that name, the other
    account can then serve pages at the host. Safe to repeat.

    \b
    Examples:
      python -m ops destroy --stage dev
      python -m ops destroy --stage dev --data --confirm dev
    """
    from ops import target
    from ops.deployment import destroy
    from ops.maintenance import replay

    if confirmed and not data:
        raise click.UsageError("--confirm requires --data.")
    if release_host and not data:
        raise click.UsageError("--release-host requires --data.")
    if dry_run:
        return destroy.preview(settings, data=data, release_host=release_host)
    if destroy.has_resources(settings, data=data, release_host=release_host):
        if data:
            if note := destroy.describe_host_bucket(settings, release_host=release_host):
                click.echo(note, err=True)
            _confirm_data_loss(settings.stage, target.describe(), confirmed)
        else:
            scope = f"the application of stage {settings.stage} in {target.describe()}"
            confirm(f"Remove {scope}? Its data is kept.", yes=yes)
    outcome = destroy.destroy(settings, data=data, release_host=release_host)
    if data:
        replay.delete_checkpoints(stages.local_folder(), settings.stage)
    return outcome


def _confirm_data_loss(stage: str, where: str, confirmed: str | None) -> None:
    warning = f"All data of stage {stage} in {where} will be deleted permanently."
    if confirmed is None:
        if not sys.stdin.isatty():
            raise errors.OperatorError(f"{warning} Confirm with --confirm {stage}.")
        confirmed = click.prompt(f"{warning} Type the stage's name", err=True)
    if confirmed != stage:
        raise errors.InputError(f"The confirmation must be {stage}, got {confirmed}. Nothing was removed.")


@stage_command
def policy_command(settings: Settings) -> Outcome:
    """
    Print the IAM policy that operators need.

    The policy allows verify, replay, rebuild, redrive, adjust, show, export, import, copy, restore, counters and sql on
    this stage. Files in S3 need additional permissions, and copy needs the policies of both stages. For restore, the
    policy covers only the table counter-STAGE-event-log-restored. If WRITERS or READERS is api-key, the policy also
    allows keys. With Aurora DSQL, it also allows connecting as the database roles of SQL_URL (or of SQL_OWNER_URL, if
    set) and SQL_READER_URL.

    \b
    Examples:
      python -m ops policy --stage prod > operator.json
    """
    from ops.deployment import policies

    policy = policies.operator_policy(settings)
    return Outcome(policy, [json.dumps(policy, indent=2)])
