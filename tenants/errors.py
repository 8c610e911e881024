"""What the rules refuse, each with the code that the API and the pages show."""


class Refused(Exception):
    """A rule said no. The text is a sentence for people, ``code`` is for programs."""

    code = "refused"
    retry_after: int | None = None  # seconds, where trying again later can help

    def __init__(self, message: str = "", *, field: str | None = None) -> None:
        super().__init__(message)
        self.field = field


class InvalidName(Refused):
    code = "invalid_name"


class ReservedName(Refused):
    code = "reserved_name"


class NameTaken(Refused):
    code = "name_taken"


class QuotaReached(Refused):
    code = "quota_reached"


class NotAllowed(Refused):
    """The user sees the thing, but the user's role does not allow this."""

    code = "not_allowed"


class InvalidValue(Refused):
    code = "invalid_input"


class BeingDeleted(Refused):
    code = "being_deleted"


class StaleRevision(Refused):
    code = "stale_revision"


class DocumentTooLarge(Refused):
    code = "document_too_large"


class StorageFull(Refused):
    """The instance would store more in all than it may."""

    code = "storage_full"


class InvalidDocument(Refused):
    code = "invalid_document"


class NothingStored(Refused):
    code = "not_found"


class TooManyLogStreams(Refused):
    code = "too_many_log_streams"
    retry_after = 10
