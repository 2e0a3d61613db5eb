"""Certificates, made when the tests run."""

import datetime
import ipaddress
import ssl
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from . import secrets

NAMES = [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]


class Pki:
    """An authority and one certificate of it for `localhost`."""

    def __init__(self, folder):
        folder = Path(folder)
        self.ca, self.cert, self.key = folder / "ca.pem", folder / "tls.crt", folder / "tls.key"
        self.ca_key = ec.generate_private_key(ec.SECP256R1())
        self.ca_name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "tests")])
        ca = self.sign(self.ca_name, self.ca_key.public_key(), self.ca_name, self.ca_key, authority=True)
        self.ca.write_bytes(ca.public_bytes(serialization.Encoding.PEM))
        cert, key = self.issue()
        self.cert.write_bytes(cert)
        self.key.touch(mode=0o600)
        self.key.write_bytes(key)

    def issue(self):
        """Another certificate for `localhost`, with a key of its own: both in PEM."""
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
        cert = self.sign(name, key.public_key(), self.ca_name, self.ca_key, authority=False)
        return cert.public_bytes(serialization.Encoding.PEM), self.pem(key)

    @staticmethod
    def sign(name, public_key, issuer, issuer_key, authority):
        now = datetime.datetime.now(datetime.timezone.utc)
        builder = (
            x509.CertificateBuilder()
            .subject_name(name).issuer_name(issuer).public_key(public_key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(hours=1)).not_valid_after(now + datetime.timedelta(days=7))
            .add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
        )
        if not authority:
            builder = builder.add_extension(x509.SubjectAlternativeName(NAMES), critical=False)
        return builder.sign(issuer_key, hashes.SHA256())

    @staticmethod
    def pem(key):
        pem = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        # Behind what is the same for every key of this kind.
        secrets.note(pem.decode().splitlines()[2], "a private key")
        return pem

    @classmethod
    def write_key(cls, path, key):
        path.touch(mode=0o600)
        path.write_bytes(cls.pem(key))

    def listener_tls(self):
        """The `tls` section of a listener."""
        return {"certificates": [{"cert": str(self.cert), "key": str(self.key)}]}

    def client(self, *protocols):
        """What a client needs that offers these protocols."""
        context = ssl.create_default_context(cafile=str(self.ca))
        if protocols:
            context.set_alpn_protocols(list(protocols))
        return context
