"""A self-signed certificate for each member, made by the openssl command (contract 1.1).

As xapi makes them: RSA of 2048 bits, ten years, the names as alternatives, and not marked as an authority.
"""
from __future__ import annotations

import hashlib
import ssl
import subprocess
from pathlib import Path

# Without it openssl adds its own extensions, among them the mark of an authority.
CONFIG = "[req]\ndistinguished_name = name\n[name]\n"
MADE: dict[tuple[str, str], tuple[bytes, bytes]] = {}  # certificates and keys of this process: a key takes a while


def make(folder: Path, hostname: str, address: str) -> tuple[Path, Path]:
    """Paths of the certificate and its key."""
    certificate, key, config = (folder / f"{hostname}.{suffix}" for suffix in ("pem", "key", "cnf"))
    if (hostname, address) in MADE:
        for path, data in zip((certificate, key), MADE[hostname, address], strict=True):
            path.write_bytes(data)
        return certificate, key
    config.write_text(CONFIG)
    command = ["openssl", "req", "-x509", "-config", config, "-newkey", "rsa:2048", "-nodes", "-days", "3650", "-subj", f"/CN={hostname}",
               "-addext", f"subjectAltName=DNS:{hostname},IP:{address}", "-keyout", key, "-out", certificate]
    subprocess.run(command, check=True, capture_output=True)
    MADE[hostname, address] = (certificate.read_bytes(), key.read_bytes())
    return certificate, key


def fingerprint(certificate: Path) -> str:
    """SHA-256 of the DER form, in hex."""
    return hashlib.sha256(ssl.PEM_cert_to_DER_cert(certificate.read_text())).hexdigest()


def context(certificate: Path, key: Path) -> ssl.SSLContext:
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    made.minimum_version = ssl.TLSVersion.TLSv1_2
    made.load_cert_chain(certificate, key)
    return made
