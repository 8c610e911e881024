"""The keys of an installation, made at its first start and kept outside the database."""

import secrets
from collections.abc import Callable
from pathlib import Path

from cryptography.fernet import Fernet
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from deploy.local.layout import make_folder, write_private

HOOK_TOKEN = "registry-hook-token"


def make_missing(folder: Path) -> None:
    """Make the keys that are not there; one that is there never changes."""
    make_folder(folder, 0o700)
    for name, make in KEYS.items():
        if not (folder / name).exists():
            write_private(folder / name, f"{make().strip()}\n")


def _oidc_private_key() -> str:
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ).decode()


# what portal/env.py looks for in KEYS_DIR
KEYS: dict[str, Callable[[], str]] = {
    "secret-key": lambda: secrets.token_urlsafe(60),
    "encryption-keys": lambda: Fernet.generate_key().decode(),
    "oidc-private-key.pem": _oidc_private_key,
    HOOK_TOKEN: lambda: secrets.token_urlsafe(32),
}
