"""
Deploy the stage's CloudFront distribution in a separate stack.

The API recognizes the distribution's requests by a secret header.
"""

import hashlib
import re
import secrets
from collections.abc import Callable, Iterable
from urllib.parse import urlsplit

from chalicelib.settings import Settings
from ops import stages
from ops.cli.errors import OperatorError
from ops.deployment import overlay, site_files, stacks, template

#: CloudFront only accepts certificates in us-east-1.
_CERTIFICATE = re.compile(r"arn:aws[a-z-]*:acm:us-east-1:[0-9]{12}:certificate/[A-Za-z0-9-]+")

#: The maximum number of the owner's digests in FRONT_SECRETS, which has space for four: changing the CDN's secret needs
#: two.
_OWN_SECRETS = 2


def stack_name(stage: str) -> str:
    """Return the name of the stack with the stage's CDN."""
    return f"counter-{stage}-cdn"


def check(settings: Settings) -> None:
    """
    Check that the settings permit the CDN.

    A page's host behind CloudFront requires a certificate, and FRONT_SECRETS must have space for the CDN's digests.
    """
    if settings.cdn != "none" and len(settings.front_secrets) > _OWN_SECRETS:
        raise OperatorError(
            f"With CDN={settings.cdn}, FRONT_SECRETS must have at most {_OWN_SECRETS} digests, got "
            f"{len(settings.front_secrets)}."
        )
    host, certificate = site_files.parse_host(settings.allowed_origin[0]), _certificate(settings)
    if settings.cdn == "cloudfront" and host and not _CERTIFICATE.fullmatch(certificate):
        raise OperatorError(
            f"CDN=cloudfront requires the template parameter Certificate: the ARN of a certificate for {host} in "
            f"us-east-1, got {certificate!r}."
        )


def deploy(
    settings: Settings, deploy_api: Callable[[Iterable[str]], dict[str, str]], bucket: str, *, new_secret: bool
) -> dict[str, str]:
    """
    Deploy the API and the CDN. Return the outputs of the API's stack.

    `deploy_api` deploys an API that accepts the secrets with the given digests.

    Only CloudFormation stores the secret. The API requires the secret once the distribution exists. With `new_secret`,
    the API accepts both secrets until the distribution sends the new one. If the call is interrupted, the distribution
    sends a secret that the API accepts, and a repeated call completes the deployment. A call is refused while
    CloudFormation is still updating the distribution. If the settings have no CDN, delete the distribution.
    """
    name = stack_name(settings.stage)
    if settings.cdn == "none":
        outputs = deploy_api([])
        stacks.delete(name)
        return outputs
    # Otherwise, the API might accept secrets other than the one that the distribution is about to send.
    stacks.check_changeable(name)
    current = [digest] if (digest := stacks.find_outputs(name).get("Digest")) else []
    secret = secrets.token_hex(32) if new_secret or not current else ""
    new = [hashlib.sha256(secret.encode()).hexdigest()] if secret else []
    outputs = deploy_api([*current, *new] if current else [])
    front = next(front for front in settings.front if front != "rest")
    host = site_files.parse_host(settings.allowed_origin[0])
    parameters = {
        "Stage": settings.stage,
        "Api": urlsplit(outputs[overlay.ADDRESSES[front]]).hostname or "",
        "Bucket": bucket,
        "Host": host,
        "Certificate": _certificate(settings) if host else "",
        "Secret": secret or None,
        "Digest": new[0] if new else None,
    }
    stacks.apply(name, template.render_cdn(), parameters, stage=settings.stage)
    return deploy_api(new) if new else outputs


def find_domain(settings: Settings) -> str:
    """Return the host name that CloudFront generated for the distribution."""
    if "Domain" not in (outputs := stacks.find_outputs(stack_name(settings.stage))):
        raise OperatorError(f"CDN={settings.cdn} of stage {settings.stage} is not deployed yet: run deploy.")
    return outputs["Domain"]


def find_address(settings: Settings) -> str:
    """Return the address that page and API share, without a trailing slash: the page's host, or else CloudFront's."""
    return f"https://{site_files.parse_host(settings.allowed_origin[0]) or find_domain(settings)}"


def _certificate(settings: Settings) -> str:
    return stages.read_template_parameters(settings.stage).get("Certificate", "")
