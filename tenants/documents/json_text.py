"""Check that a text is JSON of the right form, without building its values.

Arrays and objects take twenty times as many bytes in memory as in the text, so a hostile one would make a
web process grow by hundreds of megabytes.
"""

import re
from typing import TypeVar

import msgspec
from django.conf import settings

from tenants.errors import DocumentTooLarge, InvalidDocument

Shape = TypeVar("Shape")
_ANYTHING = msgspec.json.Decoder(msgspec.Raw)
_ARRAY = re.compile(rb"\s*\[")
_OBJECT = re.compile(rb"\s*{")

# JSON.stringify writes half of a surrogate pair as such an escape. That is valid JSON, but msgspec refuses
# it, so msgspec gets a copy with another escape of the same length in its place.
_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")


def check_array(body: bytes, what: str) -> None:
    """Check that ``body`` is an array. ``what`` is a plural such as “flows”.

    Raises ``DocumentTooLarge`` or ``InvalidDocument``.
    """
    decoded(body, _ANYTHING, what)
    if not _ARRAY.match(body):
        raise InvalidDocument(f"The {what} must be a JSON array.")


def check_object(body: bytes, what: str) -> None:
    """Check that ``body`` is an object, as ``check_array`` does for an array."""
    decoded(body, _ANYTHING, what)
    if not _OBJECT.match(body):
        raise InvalidDocument(f"The {what} must be a JSON object.")


def decoded(body: bytes, shape: msgspec.json.Decoder[Shape], what: str) -> Shape:
    """Return what ``shape`` takes from ``body``; the rest is checked and left out.

    An escaped half of a surrogate pair comes out as another character. Raises the errors of ``check_array``.
    """
    if len(body) > settings.DOCUMENT_MAX_BYTES:
        raise DocumentTooLarge(
            f"{what.capitalize()} of {len(body):,} bytes are larger than the limit of "
            f"{settings.DOCUMENT_MAX_BYTES:,} bytes. Nothing was changed."
        )
    try:
        body.decode()
        return shape.decode(_SURROGATE.sub(rb"\\u00", body))
    except msgspec.ValidationError as error:
        raise InvalidDocument(f"The {what} do not have the right form: {error}.") from error
    except RecursionError as error:
        raise InvalidDocument(f"The {what} are nested too deeply.") from error
    except ValueError as error:
        raise InvalidDocument(f"The {what} are not JSON: {error}.") from error
