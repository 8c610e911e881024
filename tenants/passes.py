"""What an instance shows to be let in elsewhere: the npm registry, the catalogue. Pure.

A pass names its instance and proves that whoever made it knew the instance's storage token, without
telling the token. It ends with the instance, or with that token; each purpose has passes of its own.
"""

import re
from enum import StrEnum
from uuid import UUID

from django.utils.crypto import constant_time_compare, salted_hmac

PREFIX = "fsi_"
_FORM = re.compile(PREFIX + r"([0-9a-f]{32})([0-9a-f]{64})\Z")


class Purpose(StrEnum):
    REGISTRY = "registry"  # a bearer token: a secret
    CATALOGUE = "catalogue"  # part of an address that everybody reads who may open the editor


def issue(instance_id: UUID, storage_token: str, purpose: Purpose) -> str:
    return f"{PREFIX}{instance_id.hex}{_proof(instance_id, storage_token, purpose)}"


def bearer(text: str) -> UUID | None:
    """The instance that a pass names. Whether it is genuine says ``is_genuine``."""
    match = _FORM.match(text)
    return UUID(match[1]) if match else None


def is_genuine(text: str, instance_id: UUID, storage_token: str, purpose: Purpose) -> bool:
    return constant_time_compare(text, issue(instance_id, storage_token, purpose))


def _proof(instance_id: UUID, storage_token: str, purpose: Purpose) -> str:
    salt = f"tenants.passes.{purpose}"
    return salted_hmac(salt, instance_id.hex, secret=storage_token, algorithm="sha256").hexdigest()
