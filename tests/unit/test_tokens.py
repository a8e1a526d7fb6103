"""Test which tokens of an OpenID Connect issuer are valid, and the effects of an outage of the issuer."""

import base64
import json
import time
import uuid
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519

from chalicelib import settings
from chalicelib.access import tokens
from chalicelib.errors import SettingsError
from tests import issuer as issuers
from tests.environments import environment
from tests.issuer import AUDIENCE, describe_key

CONFIGURATION = "/.well-known/openid-configuration"

FOREIGN_KEY = issuers.make_rsa_key()
EC_KEY = ec.generate_private_key(ec.SECP256R1())
ED_KEY = ed25519.Ed25519PrivateKey.generate()


@pytest.fixture
def issuer():
    """Serve an issuer that the stage trusts, to a process that has not fetched its keys yet."""
    with issuers.serve() as served, environment(STAGE="local", JWT_ISSUER=served.address, JWT_AUDIENCE=AUDIENCE):
        tokens.client.cache_clear()
        yield served
    tokens.client.cache_clear()


def encode(part):
    return base64.urlsafe_b64encode(part).rstrip(b"=").decode()


def change_payload(issuer):
    header, payload, signature = issuer.make_token().split(".")
    claims = json.loads(base64.urlsafe_b64decode(payload + "=="))
    return f"{header}.{encode(json.dumps({**claims, 'sub': 'ben'}).encode())}.{signature}"


NOW = int(time.time())

REFUSED = {
    "another scheme": lambda issuer: issuer.make_token().replace("Bearer", "Basic"),
    "no scheme": lambda issuer: issuer.make_token().removeprefix("Bearer "),
    "no token": lambda _: "Bearer ",
    "nothing": lambda _: "",
    "no JWT": lambda _: "Bearer some-opaque-token",
    "half a surrogate pair": lambda issuer: f"{issuer.make_token()}\ud800",
    "deep JSON": lambda _: f"Bearer {encode(b'[' * 100_000)}.e30.AA",
    "two tokens": lambda issuer: f"{issuer.make_token()}, {issuer.make_token()}",
    "no signature": lambda issuer: issuer.make_token().rpartition(".")[0] + ".",
    "another signature": lambda issuer: (
        issuer.make_token().rpartition(".")[0] + "." + issuer.make_token()[-342:-2] + "AA"
    ),
    "another payload": change_payload,
    "alg none": lambda issuer: issuer.make_unsigned_token(),
    "HS256 with the public key": lambda issuer: issuer.sign_with_public_key(),
    "another algorithm": lambda issuer: issuer.make_token(algorithm="RS512"),
    "foreign key": lambda issuer: issuer.make_token(key=FOREIGN_KEY),
    "foreign key in the token": lambda issuer: issuer.make_token(
        key=FOREIGN_KEY, headers={"jwk": describe_key("1", FOREIGN_KEY), "jku": f"{issuer.address}/keys"}
    ),
    "unknown kid": lambda issuer: issuer.make_token(headers={"kid": "2"}),
    "empty kid": lambda issuer: issuer.make_token(headers={"kid": ""}),
    "unknown critical extension": lambda issuer: issuer.make_token(headers={"crit": ["exp"]}),
    "foreign issuer": lambda issuer: issuer.make_token(iss="https://login.example"),
    "issuer with a slash": lambda issuer: issuer.make_token(iss=f"{issuer.address}/"),
    "no issuer": lambda issuer: issuer.make_token(iss=None),
    "another audience": lambda issuer: issuer.make_token(aud="other"),
    "part of the audience": lambda issuer: issuer.make_token(aud="count"),
    "no audience": lambda issuer: issuer.make_token(aud=None),
    "expired": lambda issuer: issuer.make_token(exp=NOW - 3600),
    "never expires": lambda issuer: issuer.make_token(exp=None),
    "expiry is a text": lambda issuer: issuer.make_token(exp="tomorrow"),
    "not valid yet": lambda issuer: issuer.make_token(nbf=int(time.time()) + 3600),
    "from the future": lambda issuer: issuer.make_token(iat=int(time.time()) + 3600),
    "no subject": lambda issuer: issuer.make_token(sub=None),
    "empty subject": lambda issuer: issuer.make_token(sub=""),
    "subject is a number": lambda issuer: issuer.make_token(sub=7),
    "subject is half a surrogate pair": lambda issuer: issuer.make_token(sub="\ud800"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_invalid_token_is_refused_and_never_logged(issuer, capsys, kind):
    token = REFUSED[kind](issuer)

    assert tokens.verify(token) is None
    output = capsys.readouterr().out
    assert json.loads(output.splitlines()[-1])["message"] == "token refused"
    assert not [part for part in token.split(".") if len(part) > 20 and part in output]


@pytest.mark.parametrize("character", ["x", "\x01", "é"])
def test_log_line_of_a_refused_token_is_short(issuer, capsys, character):
    """The sender chooses the key id, and the owner pays for each byte of the log, which escapes some characters."""
    assert tokens.verify(issuer.make_token(headers={"kid": character * 1000})) is None

    assert len(capsys.readouterr().out) < 700


VALID = {
    "RS256": ("RS256", None, {}),
    "PS384": ("PS384", None, {"alg": "PS384"}),
    "ES256": ("ES256", EC_KEY, {}),
    "EdDSA": ("EdDSA", ED_KEY, {}),
}


@pytest.mark.parametrize("algorithm", VALID)
def test_token_of_the_issuer_gives_its_subject(issuer, algorithm):
    name, key, members = VALID[algorithm]
    key = key or issuer.key
    issuer.publish(describe_key("0", FOREIGN_KEY), describe_key("1", key, **members))

    assert tokens.verify(issuer.make_token(key=key, algorithm=name, sub="a\nb é")) == "a\nb é"


@pytest.mark.parametrize(
    "claims",
    [
        {"aud": ["other", AUDIENCE]},
        {"exp": NOW + 86_400},
        {"iat": None},
        {"sub": "x" * 255},
        {"scope": "anything"},
    ],
)
def test_token_with_other_valid_claims_is_accepted(issuer, claims):
    assert tokens.verify(issuer.make_token(**claims)) == claims.get("sub", "ann")


def test_clocks_may_differ_a_little(issuer):
    now = int(time.time())

    assert tokens.verify(issuer.make_token(exp=now - 10)) == "ann"
    assert tokens.verify(issuer.make_token(nbf=now + 10, iat=now + 10)) == "ann"


def test_scheme_may_have_any_case(issuer):
    assert tokens.verify(issuer.make_token().replace("Bearer", "bEARER")) == "ann"


def test_secret_among_the_keys_verifies_no_token(issuer):
    """A published secret proves nothing: every client can sign with it."""
    secret = "x" * 32
    issuer.publish(
        describe_key("0", issuer.key), {"kid": "1", "kty": "oct", "k": encode(secret.encode()), "alg": "HS256"}
    )

    assert tokens.verify(issuer.make_token(key=secret, algorithm="HS256")) is None


@pytest.mark.parametrize("members", [{"use": "enc"}, {"kid": None}])
def test_key_for_another_use_verifies_no_token(issuer, members):
    issuer.publish(describe_key("0", FOREIGN_KEY), describe_key("1", issuer.key) | members)

    assert tokens.verify(issuer.make_token()) is None


@pytest.mark.filterwarnings("ignore::jwt.warnings.InsecureKeyLengthWarning")
def test_short_key_verifies_no_token(issuer):
    key = issuers.make_rsa_key(1024)
    issuer.publish(describe_key("1", key))

    assert tokens.verify(issuer.make_token(key=key)) is None


def test_keys_are_fetched_once_for_many_tokens(issuer):
    for number in range(5):
        assert tokens.verify(issuer.make_token(sub=str(number))) == str(number)
    for _ in range(5):
        assert tokens.verify(issuer.make_token(headers={"kid": uuid.uuid4().hex})) is None

    assert issuer.fetches == [CONFIGURATION, "/keys"]


def pass_time(seconds):
    """Let the fetched keys grow older."""
    keys: Any = tokens.client()
    keys.jwk_set_cache.jwk_set_with_timestamp.timestamp -= seconds
    keys._last_successful_fetch -= seconds


def test_new_key_is_found_and_a_revoked_one_forgotten(issuer):
    assert tokens.verify(issuer.make_token()) == "ann"
    issuer.publish(describe_key("2", FOREIGN_KEY))
    new = issuer.make_token(key=FOREIGN_KEY, headers={"kid": "2"})

    assert tokens.verify(new) is None, "too soon to ask again"
    pass_time(31)
    assert tokens.verify(new) == "ann"
    assert tokens.verify(issuer.make_token()) is None


def test_revoked_key_is_forgotten_after_five_minutes(issuer):
    assert tokens.verify(issuer.make_token()) == "ann"
    issuer.publish(describe_key("2", FOREIGN_KEY))

    assert tokens.verify(issuer.make_token()) == "ann"
    pass_time(tokens.REFRESH_S + 1)
    assert tokens.verify(issuer.make_token()) is None


def test_known_keys_work_while_the_issuer_is_down(issuer, capsys):
    """Nor are they fetched with each request."""
    assert tokens.verify(issuer.make_token()) == "ann"
    issuer.is_down = True
    pass_time(tokens.REFRESH_S + 1)
    asked = len(issuer.fetches)

    for _ in range(3):
        assert tokens.verify(issuer.make_token()) == "ann"
        assert tokens.verify(issuer.make_token(key=FOREIGN_KEY)) is None

    assert len(issuer.fetches) == asked + 1
    assert "keys not fetched" in capsys.readouterr().out


OUTAGES = {
    "no answer": {CONFIGURATION: (503, b"")},
    "no such page": {CONFIGURATION: (404, b"")},
    "a redirection": {CONFIGURATION: (302, b"")},
    "not JSON": {CONFIGURATION: (200, b"<html>")},
    "not UTF-8": {CONFIGURATION: (200, b"\xff")},
    "not an object": {CONFIGURATION: (200, [])},
    "nothing": {CONFIGURATION: (200, {})},
    "no keys": {"/keys": (200, {"keys": []})},
    "no known keys": {"/keys": (200, {"keys": [{"kid": "1", "kty": "new"}]})},
    "keys are a text": {"/keys": (200, "keys")},
    "keys moved": {"/keys": (301, b"")},
    "keys missing": {"/keys": (404, b"")},
}


@pytest.mark.parametrize("outage", OUTAGES)
def test_outage_before_any_keys_are_fetched_is_reported(issuer, outage):
    token, works = issuer.make_token(), dict(issuer.answers)
    issuer.answers |= OUTAGES[outage]

    with pytest.raises(tokens.IssuerUnavailableError, match="no keys from http"):
        tokens.verify(token)

    issuer.answers = works
    assert tokens.verify(token) == "ann"


@pytest.mark.parametrize(
    "configuration",
    [{"issuer": "https://login.example"}, {"jwks_uri": "file:///etc/passwd"}, {"jwks_uri": None}, {"jwks_uri": 7}],
)
def test_configuration_of_another_issuer_is_an_outage(issuer, configuration):
    issuer.publish(**configuration)

    with pytest.raises(tokens.IssuerUnavailableError, match="must be"):
        tokens.verify(issuer.make_token())


def test_keys_of_a_secure_issuer_are_fetched_only_securely():
    keys: Any = tokens.IssuerKeys("https://login.example")
    keys._configuration.fetch_data = lambda: {"issuer": "https://login.example", "jwks_uri": "http://login.example"}

    with pytest.raises(tokens.IssuerUnavailableError, match="jwks_uri must begin with https://"):
        keys.fetch_data()


def test_issuer_may_end_in_a_slash():
    assert tokens.IssuerKeys("https://login.example/").uri == f"https://login.example{CONFIGURATION}"
    assert tokens.IssuerKeys("https://login.example/pool").uri == f"https://login.example/pool{CONFIGURATION}"


def test_only_asymmetric_algorithms_are_allowed():
    assert set(tokens.ALGORITHMS) <= jwt.algorithms.requires_cryptography


TYPICAL = {"STAGE": "dev", "WRITERS": "jwt", "JWT_ISSUER": "https://login.example/pool_1", "JWT_AUDIENCE": "counter"}


def test_tokens_need_an_authorizer():
    assert settings.read(TYPICAL).has_authorizer
    assert settings.read({**TYPICAL, "WRITERS": "anyone", "READERS": "jwt"}).has_authorizer
    assert not settings.read({**TYPICAL, "WRITERS": "iam"}).has_authorizer
    assert not settings.read({"STAGE": "dev"}).has_authorizer


@pytest.mark.parametrize("url", ["http://127.0.0.1:8090", "http://localhost/realm", "https://login.example:8443/"])
def test_issuer_of_the_local_stage_may_be_on_this_machine(url):
    assert settings.read({**TYPICAL, "STAGE": "local", "JWT_ISSUER": url}).jwt_issuer == url


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("JWT_ISSUER", None),
        ("JWT_AUDIENCE", None),
        *(
            ("JWT_ISSUER", url)
            for url in (
                "",
                "login.example",
                "http://login.example",
                "http://127.0.0.1:8090",
                "https://",
                "https://a b",
                "https://ann@login.example",
                "https://login.example?x=1",
                "https://login.example#x",
                "https://login.example\n",
                "ftp://login.example",
            )
        ),
        *(("JWT_AUDIENCE", text) for text in ("", " ", "a b", "é", "x" * 256, "a\n")),
    ],
)
def test_missing_or_malformed_issuer_or_audience_is_refused(name, value):
    variables = {key: text for key, text in {**TYPICAL, name: value}.items() if text is not None}

    with pytest.raises(SettingsError, match=f"{name} must be "):
        settings.read(variables)


def test_plain_issuer_elsewhere_is_refused_even_in_the_local_stage():
    with pytest.raises(SettingsError, match="JWT_ISSUER must be the https URL"):
        settings.read({**TYPICAL, "STAGE": "local", "JWT_ISSUER": "http://127.0.0.1.example"})
