"""Pages of a long list: a cursor says after which row the next page begins."""

from base64 import b64decode, urlsafe_b64encode
from typing import Any, TypeVar

from django.db.models import Model, QuerySet

from tenants.errors import InvalidValue

MAX_LIMIT = 200
DEFAULT_LIMIT = 50

Row = TypeVar("Row", bound=Model)


def page(
    rows: "QuerySet[Row]", *, order: str, cursor: str | None, limit: int
) -> tuple[list[Row], str | None]:
    """The rows after ``cursor`` and the cursor of the next page, None on the last one.

    ``order`` is a unique field, with ``-`` for descending. Raises ``InvalidValue``.
    """
    check_limit(limit)
    field = order.removeprefix("-")
    if cursor:
        direction = "lt" if order.startswith("-") else "gt"
        rows = _after(rows, f"{field}__{direction}", cursor)
    found = list(rows.order_by(order)[: limit + 1])
    more = len(found) > limit
    return found[:limit], _encode(getattr(found[limit - 1], field)) if more else None


def check_limit(limit: int) -> None:
    """Refuse a limit that is out of range. Raises ``InvalidValue``."""
    if not 1 <= limit <= MAX_LIMIT:
        raise InvalidValue(f"limit must be from 1 to {MAX_LIMIT}.", field="limit")


def bad_cursor() -> InvalidValue:
    return InvalidValue("cursor must be one that an earlier answer gave.", field="cursor")


def _after(rows: "QuerySet[Row]", lookup: str, cursor: str) -> "QuerySet[Row]":
    try:
        value = b64decode(cursor, altchars=b"-_", validate=True).decode()
        if "\0" in value:  # PostgreSQL cannot compare with it
            raise ValueError(value)
        return rows.filter(**{lookup: value})
    except (ValueError, TypeError) as error:
        raise bad_cursor() from error


def _encode(value: Any) -> str:
    return urlsafe_b64encode(str(value).encode()).decode()
