"""Certificates for tests and benches: self-signed, or by an authority of the test's own."""

from __future__ import annotations

import datetime
import ipaddress
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

_LOOPBACK = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))


def make(folder: Path, name: str = "edge") -> tuple[Path, Path]:
    """A P-256 certificate for 127.0.0.1, good for a day, and its key: two PEM files in ``folder``."""
    return Authority(folder, name).files


class Authority:
    """Its own certificate is one for 127.0.0.1 too."""

    def __init__(self, folder: Path, name: str) -> None:
        self._folder = folder
        self._name = _named(name)
        self._key = ec.generate_private_key(ec.SECP256R1())
        self.files = self._write(name, self._key, self._name, [_LOOPBACK], is_authority=True, days=1)

    @property
    def file(self) -> Path:
        """What others believe."""
        return self.files[0]

    def issue(
        self, name: str, names: list[x509.GeneralName] | None = None, days: float = 1
    ) -> tuple[Path, Path]:
        """A certificate with these alternative names (127.0.0.1 when none are given), and its key."""
        key = ec.generate_private_key(ec.SECP256R1())
        return self._write(
            name, key, _named(name), [_LOOPBACK] if names is None else names, is_authority=False, days=days
        )

    def _write(
        self,
        file: str,
        key: ec.EllipticCurvePrivateKey,
        subject: x509.Name,
        names: list[x509.GeneralName],
        *,
        is_authority: bool,
        days: float,
    ) -> tuple[Path, Path]:
        now = datetime.datetime.now(datetime.UTC)
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(days=2))
            .not_valid_after(now + datetime.timedelta(days=days))
            .add_extension(x509.BasicConstraints(ca=is_authority, path_length=None), True)
        )
        if names:
            builder = builder.add_extension(x509.SubjectAlternativeName(names), False)
        certificate = builder.sign(self._key, hashes.SHA256())
        paths = self._folder / f"{file}.crt", self._folder / f"{file}.key"
        paths[0].write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        paths[1].write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        )
        return paths


def _named(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
