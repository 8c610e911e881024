"""What is said while the database cannot be used: it is locked, full, or away. Any other error of the
database is a fault of this program, and is treated as one."""

import logging
import sqlite3

import psycopg
from django.db import Error, InterfaceError, OperationalError

from tenants.locks import NoTurn

RETRY_AFTER = 5  # seconds
BUSY = "The database is not available at the moment. Try again in a few seconds."
FULL = (
    "The disk that holds the database is full. Tell the operator, who has to make room, then try again. "
    "What was stored before is still there."
)

_SQLITE_AWAY = {
    sqlite3.SQLITE_BUSY,
    sqlite3.SQLITE_LOCKED,
    sqlite3.SQLITE_IOERR,
    sqlite3.SQLITE_CANTOPEN,
    sqlite3.SQLITE_READONLY,
    sqlite3.SQLITE_NOMEM,
}
# Classes of PostgreSQL's codes (connection, resources, operator's intervention, system, rollback), and two
# single codes: lock not available, read only.
_POSTGRES_AWAY = ("08", "53", "57", "58", "40", "55P03", "25006")
_POSTGRES_FULL = "53100"

_logger = logging.getLogger(__name__)


def sentence(error: BaseException | None) -> str | None:
    """Return what to tell people if ``error`` means that the database cannot be used, else None.

    Log the details for the operator.
    """
    if not isinstance(error, Error) or not _is_away(error):
        return None
    _logger.error("The database cannot be used: %s", error)
    return FULL if _code(error) in {sqlite3.SQLITE_FULL, _POSTGRES_FULL} else BUSY


def _is_away(error: Error) -> bool:
    code = _code(error)
    if isinstance(code, int):
        return code == sqlite3.SQLITE_FULL or code in _SQLITE_AWAY
    if isinstance(code, str):
        return code.startswith(_POSTGRES_AWAY)
    # Without a code: no server answered, or the write did not get its turn in time.
    return isinstance(error, NoTurn | InterfaceError) or (
        isinstance(error, OperationalError) and isinstance(error.__cause__, psycopg.Error)
    )


def _code(error: Error) -> int | str | None:
    """Return SQLite's number or PostgreSQL's five characters."""
    cause = error.__cause__
    if isinstance(cause, sqlite3.Error):
        return cause.sqlite_errorcode & 0xFF  # the other bits are details of the same reason
    return cause.sqlstate if isinstance(cause, psycopg.Error) else None
