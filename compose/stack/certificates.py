"""Certificates of a secured stack: an authority of its own, and one certificate for each server that listens.

The authority's key is used once and never written: nothing can be signed in its name later.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from compose.stack.ports import HOST

FOLDER = "tls"
AUTHORITY = "ca.pem"
SERVERS = ("kafka", "registry")

_VALID = timedelta(days=365)
_RENEWED = timedelta(days=30)
# clocks of client and server may differ a little
_SINCE = timedelta(minutes=5)
_SIGNS_ONLY = x509.KeyUsage(
    digital_signature=False,
    content_commitment=False,
    key_encipherment=False,
    data_encipherment=False,
    key_agreement=False,
    key_cert_sign=True,
    crl_sign=True,
    encipher_only=False,
    decipher_only=False,
)


def _new_key() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


@dataclass(frozen=True)
class Authority:
    """Signs certificates for this machine's loopback address."""

    name: x509.Name = field(default_factory=lambda: _named("checkout stack"))
    _key: ec.EllipticCurvePrivateKey = field(default_factory=_new_key, repr=False)

    def certificate(self) -> bytes:
        """What clients and servers trust, as PEM."""
        made = _begun(self.name, self.name, self._key.public_key())
        made = made.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        made = made.add_extension(_SIGNS_ONLY, critical=True)
        return made.sign(self._key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)

    def issue(self, name: str) -> bytes:
        """A new key and its certificate in one PEM: for a server on loopback, or a client called `CN=<name>`."""
        key = _new_key()
        hosts = [x509.IPAddress(ip_address(HOST)), x509.DNSName("localhost")]
        uses = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
        made = _begun(_named(name), self.name, key.public_key())
        made = made.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        made = made.add_extension(x509.SubjectAlternativeName(hosts), critical=False)
        made = made.add_extension(x509.ExtendedKeyUsage(uses), critical=False)
        signer = x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key())
        made = made.add_extension(signer, critical=False)
        signed = made.sign(self._key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)
        private = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        return private + signed


def _named(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


def _begun(subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    made = x509.CertificateBuilder(issuer, subject, key, x509.random_serial_number(), now - _SINCE, now + _VALID)
    return made.add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)


def ensure(data: Path) -> None:
    """Make the certificates of a data folder where there are none, or where they end within a month."""
    folder = data / FOLDER
    if not _is_good(folder / AUTHORITY):
        _make(folder)


def _is_good(authority: Path) -> bool:
    if not authority.exists():
        return False
    ends = x509.load_pem_x509_certificate(authority.read_bytes()).not_valid_after_utc
    return ends > datetime.now(UTC) + _RENEWED


def _make(folder: Path) -> None:
    """Make them under another name and rename: a folder that exists is a whole one."""
    new = folder.with_suffix(".new")
    shutil.rmtree(new, ignore_errors=True)
    new.mkdir(mode=0o700)
    authority = Authority()
    (new / AUTHORITY).write_bytes(authority.certificate())
    for server in SERVERS:
        write_key(new / f"{server}.pem", authority.issue(server))
    shutil.rmtree(folder, ignore_errors=True)
    new.rename(folder)


def write_key(path: Path, pem: bytes) -> None:
    """Write a file that only its owner can read, before there is anything in it."""
    path.touch(mode=0o600)
    path.write_bytes(pem)


def authority(data: Path) -> Path:
    """The file of the certificate that all servers of this folder are signed with."""
    return data / FOLDER / AUTHORITY


def of(data: Path, server: str) -> Path:
    """The file of a server's key and certificate."""
    return data / FOLDER / f"{server}.pem"
