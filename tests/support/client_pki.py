"""An authority for tests, and the certificates that it gives to clients."""

import datetime
import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

NOW = datetime.datetime.now(datetime.UTC)
CLIENT = ExtendedKeyUsageOID.CLIENT_AUTH
UPN = x509.ObjectIdentifier("1.3.6.1.4.1.311.20.2.3")


def common_name(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


def upn(name: str) -> x509.OtherName:
    octets = name.encode()
    return x509.OtherName(UPN, b"\x0c" + bytes([len(octets)]) + octets)


@dataclass
class Authority:
    """Signs certificates; one without `above` is a root."""

    directory: Path
    name: str = "authority"
    above: "Authority | None" = None
    key: ec.EllipticCurvePrivateKey = field(default_factory=lambda: ec.generate_private_key(ec.SECP256R1()))

    def __post_init__(self) -> None:
        signer = self.above or self
        self.certificate = (
            self._begun(self.name, self.key, signer)
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .sign(signer.key, hashes.SHA256())
        )
        self.path = self.directory / f"{self.name}.pem"
        self.path.write_bytes(self.certificate.public_bytes(Encoding.PEM))

    def _begun(
        self, name: str, key: ec.EllipticCurvePrivateKey, signer: "Authority", days: tuple[int, int] = (-1, 30)
    ) -> x509.CertificateBuilder:
        return (
            x509.CertificateBuilder()
            .subject_name(common_name(name))
            .issuer_name(common_name(signer.name))
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(NOW + datetime.timedelta(days=days[0]))
            .not_valid_after(NOW + datetime.timedelta(days=days[1]))
        )

    def client(
        self,
        name: str,
        names: Sequence[x509.GeneralName] = (),
        days: tuple[int, int] = (-1, 30),
        usage: x509.ObjectIdentifier = CLIENT,
        key: ec.EllipticCurvePrivateKey | None = None,
    ) -> tuple[x509.Certificate, Path]:
        """A client's certificate, and the file that has it with its key and what is between it and a root."""
        own = key or ec.generate_private_key(ec.SECP256R1())
        builder = self._begun(name, own, self, days).add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
        if names:
            builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
        made = builder.sign(self.key, hashes.SHA256())
        path = self.directory / f"client-{name}-{made.serial_number % 10**8}.pem"
        chain = [made, *([self.certificate] if self.above else [])]
        secret = own.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        path.write_bytes(secret + b"".join(one.public_bytes(Encoding.PEM) for one in chain))
        return made, path

    def revoked(self, path: Path, *certificates: x509.Certificate, days: int = 10) -> Path:
        """Write a revocation list with these on it."""
        builder = (
            x509.CertificateRevocationListBuilder()
            .issuer_name(common_name(self.name))
            .last_update(NOW - datetime.timedelta(days=2))
            .next_update(NOW + datetime.timedelta(days=days))
        )
        for certificate in certificates:
            entry = x509.RevokedCertificateBuilder().serial_number(certificate.serial_number)
            builder = builder.add_revoked_certificate(entry.revocation_date(NOW).build())
        new = path.with_suffix(".new")
        new.write_bytes(builder.sign(self.key, hashes.SHA256()).public_bytes(Encoding.PEM))
        new.rename(path)
        return path


def mail(address: str) -> x509.RFC822Name:
    return x509.RFC822Name(address)


def host(name: str) -> x509.DNSName:
    return x509.DNSName(name)


def address(text: str) -> x509.IPAddress:
    return x509.IPAddress(ipaddress.ip_address(text))
