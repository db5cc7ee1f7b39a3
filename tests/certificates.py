# SPDX-License-Identifier: Apache-2.0
"""A certificate authority for loopback that lives as long as a test."""

import datetime
import ipaddress

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

_DAY = datetime.timedelta(days=1)


class Authority:
    """Signs certificates that are good for servers on 127.0.0.1 and for clients.

    :ivar file: its own certificate
    """

    def __init__(self, directory):
        self.directory = directory
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "authority")])
        basic = x509.BasicConstraints(ca=True, path_length=0)
        signed = self._builder(self._name, self._key).add_extension(basic, critical=True)
        self.file = self._written("authority", signed.sign(self._key, hashes.SHA256()))

    def issue(self, name, oid=NameOID.COMMON_NAME):
        """The files with a certificate of this name and with its private key.

        :param oid: which part of the subject the name is
        """
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(oid, name)])
        both = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
        at = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
        builder = (
            self._builder(subject, key)
            .add_extension(x509.SubjectAlternativeName([at]), critical=False)
            .add_extension(x509.ExtendedKeyUsage(both), critical=False)
        )
        key_file = self.directory / f"{name}.key"
        pkcs8 = serialization.PrivateFormat.PKCS8
        no_encryption = serialization.NoEncryption()
        key_file.write_bytes(
            key.private_bytes(serialization.Encoding.PEM, pkcs8, no_encryption),
        )
        return self._written(name, builder.sign(self._key, hashes.SHA256())), key_file

    def _builder(self, subject, key):
        now = datetime.datetime.now(datetime.UTC)
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - _DAY)
            .not_valid_after(now + _DAY)
        )

    def _written(self, name, certificate):
        file = self.directory / f"{name}.pem"
        file.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        return file
