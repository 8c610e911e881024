"""The secrets of the kept data folders. They protect nothing but made-up data, and are derived here so that
no key has to lie in the repository."""

import base64
import hashlib
import hmac
import struct
import time
from pathlib import Path


def derived(name: str) -> bytes:
    """Return 32 bytes that are the same at every call."""
    return hashlib.sha256(f"flowstead upgrade test: {name}".encode()).digest()


PASSWORD = derived("password").hex()
ACCESS_TOKEN = f"fs_{derived('access token').hex()}"
TOTP_SECRET = base64.b32encode(derived("totp")[:20]).decode()
REGISTRY_SECRET = derived("registry").hex()[:32]
KEYS = {
    "secret-key": derived("secret key").hex(),
    "encryption-keys": base64.urlsafe_b64encode(derived("encryption key")).decode(),
}


def write_keys(data_dir: Path) -> None:
    """Put the keys where a start looks for them; it makes those that carry no stored data."""
    folder = data_dir / "keys"
    folder.mkdir(mode=0o700, parents=True)
    for name, key in KEYS.items():
        (folder / name).write_text(f"{key}\n")
        (folder / name).chmod(0o600)


def totp_code() -> str:
    """Return the code that an authenticator app shows now (RFC 6238, 30 s, six digits)."""
    counter = struct.pack(">Q", int(time.time()) // 30)
    mac = hmac.digest(base64.b32decode(TOTP_SECRET), counter, "sha1")
    offset = mac[-1] & 0x0F
    return f"{(int.from_bytes(mac[offset : offset + 4]) & 0x7FFFFFFF) % 10**6:06}"
