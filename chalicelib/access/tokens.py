"""Verify the tokens of an OpenID Connect issuer (RFC 7519). Only the authorizer function needs this module."""

from __future__ import annotations

import functools
from typing import Any

import jwt
from jwt import PyJWKClient, PyJWTError

from chalicelib import settings, telemetry
from chalicelib.errors import UnavailableError

#: Asymmetric algorithms only. With HS256, an attacker could sign a token with the issuer's public key as the secret.
ALGORITHMS = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA")

#: The maximum accepted difference between the clocks of the issuer and of Lambda, in seconds.
LEEWAY_S = 30

#: The time after which keys are fetched again. An unknown key triggers an earlier fetch, at most every 30 seconds.
REFRESH_S = 300

#: The timeout of each of the two requests of a fetch. Together, they are shorter than the function's timeout.
_WAIT_S = 3

_RULES: Any = {"require": ["exp", "iss", "aud", "sub"], "enforce_minimum_key_length": True}


class IssuerUnavailableError(UnavailableError):
    """The issuer's configuration or keys cannot be fetched, and no earlier fetch succeeded."""


class IssuerKeys(PyJWKClient):
    """The public keys of an issuer, found through its configuration. Old keys stay in use until a fetch succeeds."""

    def __init__(self, issuer: str) -> None:
        configuration = f"{issuer.removesuffix('/')}/.well-known/openid-configuration"
        super().__init__(configuration, lifespan=REFRESH_S, timeout=_WAIT_S)
        self._issuer = issuer
        self._configuration = PyJWKClient(configuration, cache_jwk_set=False, timeout=_WAIT_S)
        self._known: Any = None

    def fetch_data(self) -> Any:
        """
        Fetch the issuer's configuration and keys. If that fails, return the keys of the last fetch.

        Raises:
            IssuerUnavailableError: the fetch fails, and no earlier fetch succeeded.
        """
        try:
            self.uri = self._find_address()
            self._known = super().fetch_data()
        except (PyJWTError, OSError, ValueError) as error:
            if self._known is None:
                raise IssuerUnavailableError(f"no keys from {self._issuer}: {error}") from error
            telemetry.log_kept_keys(self._issuer)
        return self._known

    def _find_address(self) -> str:
        """Return the URL of the issuer's keys. The configuration must name this issuer (OpenID Connect Discovery)."""
        configuration = self._configuration.fetch_data()
        issuer, address = configuration.get("issuer"), configuration.get("jwks_uri")
        if issuer != self._issuer:
            raise PyJWTError(f"the configuration's issuer must be {self._issuer}, got {issuer!r}")
        scheme = self._issuer.partition("://")[0]
        if not isinstance(address, str) or not address.startswith(f"{scheme}://"):
            raise PyJWTError(f"jwks_uri must begin with {scheme}://, got {address!r}")
        return address


@functools.cache
def client() -> IssuerKeys:
    """Return the process's copy of the issuer's keys. The keys are fetched when the first token is verified."""
    return IssuerKeys(settings.current().jwt_issuer)


def verify(authorization: str) -> str | None:
    """
    Return the subject of the token in an `Authorization` header, or None if the token is invalid.

    Raises:
        IssuerUnavailableError: the issuer's keys are unknown.
    """
    try:
        return _read_subject(authorization)
    except (PyJWTError, ValueError) as error:
        telemetry.log_refused_token(str(error))
        return None


def _read_subject(authorization: str) -> str:
    scheme, _, token = authorization.partition(" ")
    if scheme.lower() != "bearer":
        raise PyJWTError("the header must be `Bearer TOKEN`")
    stage = settings.current()
    claims = jwt.decode(
        token,
        client().get_signing_key_from_jwt(token),
        algorithms=ALGORITHMS,
        audience=stage.jwt_audience,
        issuer=stage.jwt_issuer,
        leeway=LEEWAY_S,
        options=_RULES,
    )
    subject: str = claims["sub"]
    if not subject.encode():  # raises for a lone surrogate, which API Gateway cannot pass on
        raise PyJWTError("the subject must not be empty")
    return subject
