"""Whether a text is the JSON that belongs there, told without building what stands in it."""

import re
from typing import TypeVar

import msgspec
from django.conf import settings

from tenants.errors import DocumentTooLarge, InvalidDocument

Shape = TypeVar("Shape")
ARRAY = msgspec.json.Decoder(list[msgspec.Raw])
OBJECT = msgspec.json.Decoder(dict[str, msgspec.Raw])

# JSON.stringify writes half of a pair of surrogates as such an escape. That is JSON, but msgspec refuses it,
# so it is shown another escape in its place, which is as long and as valid.
_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")


def decoded(body: bytes, shape: msgspec.json.Decoder[Shape], what: str) -> Shape:
    """The outermost level of ``body``; what lies deeper is checked and left as it is. An escaped half of a
    surrogate pair comes out as another character.

    Raises ``DocumentTooLarge`` or ``InvalidDocument``; ``what`` is a plural such as “flows”.
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
