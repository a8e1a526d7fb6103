"""An OpenID Connect issuer on this machine, whose answers and keys a test controls."""

import base64
import contextlib
import hashlib
import hmac
import json
import ssl
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import jwt
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.x509.oid import NameOID
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm

AUDIENCE = "counter"


def make_rsa_key(bits: int = 2048) -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(65537, bits)


#: The key of every issuer. Tests with other keys publish them.
KEY = make_rsa_key()


def describe_key(kid: str, key: Any, **members: Any) -> dict[str, Any]:
    """Return the public key as a JWK."""
    kinds: dict[type, Any] = {
        rsa.RSAPrivateKey: RSAAlgorithm,
        ec.EllipticCurvePrivateKey: ECAlgorithm,
        ed25519.Ed25519PrivateKey: OKPAlgorithm,
    }
    algorithm = next(found for kind, found in kinds.items() if isinstance(key, kind))
    return {"kid": kid, "use": "sig", **algorithm.to_jwk(key.public_key(), as_dict=True), **members}


@dataclass
class Issuer:
    """`answers` maps paths to status and body. If `is_down`, every answer is a 503. `fetches` lists the paths read."""

    address: str = ""
    key: Any = KEY
    answers: dict[str, tuple[int, Any]] = field(default_factory=dict)
    fetches: list[str] = field(default_factory=list)
    is_down: bool = False

    def publish(self, *keys: dict[str, Any], **configuration: Any) -> None:
        """Publish these keys. Default: the issuer's own key, `1`."""
        address = {"issuer": self.address, "jwks_uri": f"{self.address}/keys"}
        self.answers = {
            "/.well-known/openid-configuration": (200, {**address, **configuration}),
            "/keys": (200, {"keys": list(keys) or [describe_key("1", self.key)]}),
        }

    def make_token(self, *, key: Any = None, algorithm: str = "RS256", headers: Any = None, **claims: Any) -> str:
        """Sign a token with these claims, and return it as an `Authorization` header. A claim of None is omitted."""
        now = int(time.time())
        typical = {"iss": self.address, "aud": AUDIENCE, "sub": "ann", "iat": now, "exp": now + 3600}
        content = {name: value for name, value in {**typical, **claims}.items() if value is not None}
        kid = {"kid": "1", **(headers or {})}
        body = jwt.api_jws.encode(json.dumps(content).encode(), key or self.key, algorithm, headers=kid)
        return f"Bearer {body}"

    def sign_with_public_key(self) -> str:
        """Return a token signed with HS256, with the public key as the secret. PyJWT itself refuses to sign it."""
        public = self.key.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )
        header = base64.urlsafe_b64encode(b'{"alg":"HS256","kid":"1"}').rstrip(b"=").decode()
        signed = f"{header}.{self.make_token().split('.')[1]}"
        signature = base64.urlsafe_b64encode(hmac.digest(public, signed.encode(), hashlib.sha256)).rstrip(b"=")
        return f"Bearer {signed}.{signature.decode()}"

    def make_unsigned_token(self) -> str:
        """Return a token whose algorithm is `none`."""
        header = base64.urlsafe_b64encode(b'{"alg":"none","kid":"1"}').rstrip(b"=").decode()
        return f"Bearer {header}.{self.make_token().split('.')[1]}."


@contextlib.contextmanager
def serve(certificate: Path | None = None) -> Iterator[Issuer]:
    """Serve an issuer, over TLS if there is a certificate."""
    issuer = Issuer()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            issuer.fetches.append(self.path)
            status, body = (503, b"") if issuer.is_down else issuer.answers.get(self.path, (404, b""))
            content = body if isinstance(body, bytes) else json.dumps(body).encode()
            self.send_response(status)
            if status in (301, 302):
                self.send_header("Location", f"{issuer.address}/moved")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: Any) -> None:
            """Print nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        if certificate:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate)
            server.socket = context.wrap_socket(server.socket, server_side=True)
        issuer.address = f"http{'s' if certificate else ''}://127.0.0.1:{server.server_port}"
        issuer.publish()
        thread = threading.Thread(target=server.serve_forever, args=[0.01], daemon=True)
        thread.start()
        yield issuer
        server.shutdown()
        thread.join()


def write_certificate(file: Path) -> Path:
    """Write a certificate for 127.0.0.1 and its key. Clients that trust it need only this file."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    file.write_bytes(private + certificate.public_bytes(serialization.Encoding.PEM))
    return file
