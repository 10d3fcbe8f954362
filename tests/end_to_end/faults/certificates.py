"""Certificates for a server on this machine, one that is valid and one that has expired."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ec import (
    SECP256R1,
    EllipticCurvePrivateKey,
    generate_private_key,
)
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

_DAY = timedelta(days=1)
_SIGNS_CERTIFICATES = x509.KeyUsage(
    digital_signature=False,
    content_commitment=False,
    key_encipherment=False,
    data_encipherment=False,
    key_agreement=False,
    key_cert_sign=True,
    crl_sign=False,
    encipher_only=False,
    decipher_only=False,
)


@dataclass(frozen=True, slots=True)
class Certificates:
    """Files in PEM.

    Attributes:
        authority: The certificate of who has issued the others: who trusts it trusts them.
        valid: A certificate for 127.0.0.1, with its key.
        expired: The same, but it has expired.
    """

    authority: Path
    valid: Path
    expired: Path


def make_certificates(directory: Path) -> Certificates:
    """Make an authority, and have it issue certificates."""
    authority = _Authority()
    made = Certificates(*(directory / f"{name}.pem" for name in ("authority", "valid", "expired")))
    made.authority.write_bytes(authority.certificate.public_bytes(Encoding.PEM))
    made.valid.write_bytes(authority.issue(expires_in=_DAY))
    made.expired.write_bytes(authority.issue(expires_in=-_DAY))
    return made


class _Authority:
    def __init__(self) -> None:
        self._key = generate_private_key(SECP256R1())
        self._name = _named("tests")
        self.certificate = (
            _builder(self._name, self._key, _DAY)
            .issuer_name(self._name)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(_SIGNS_CERTIFICATES, critical=True)
            .sign(self._key, SHA256())
        )

    def issue(self, expires_in: timedelta) -> bytes:
        """Issue a certificate for this machine; return it with its key."""
        key = generate_private_key(SECP256R1())
        here = x509.SubjectAlternativeName([x509.IPAddress(IPv4Address("127.0.0.1"))])
        issuer = x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key())
        certificate = (
            _builder(_named("127.0.0.1"), key, expires_in)
            .issuer_name(self._name)
            .add_extension(here, critical=False)
            .add_extension(issuer, critical=False)
            .sign(self._key, SHA256())
        )
        secret = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        return certificate.public_bytes(Encoding.PEM) + secret


def _builder(
    subject: x509.Name, key: EllipticCurvePrivateKey, expires_in: timedelta
) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    identifier = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
    return x509.CertificateBuilder(
        subject_name=subject,
        public_key=key.public_key(),
        serial_number=x509.random_serial_number(),
        not_valid_before=now - 7 * _DAY,
        not_valid_after=now + expires_in,
    ).add_extension(identifier, critical=False)


def _named(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
