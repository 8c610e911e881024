"""What an instance stores: flows with their history, credentials, settings, sessions, library.

Every document is addressed by its primary key alone, ``<instance id>:<kind>…``, so that any store
with keys can hold them. A document is JSON in UTF-8; what must stay secret is encrypted.

=============================  ====================================================================
key after ``<id>:``            body
=============================  ====================================================================
``flows``                      the history: newest first, one entry a kept revision; ``revision``
                               and ``digest`` of the row are those of the current flows
``flows:<n>``                  the flows of revision n
``flows:<n>:credentials``      the credentials that belonged to them, encrypted
``credentials`` ``sessions``   encrypted
``settings``                   plain
``library:<type>``             index: path -> the meta of the entry
``library:<type>:<hash>``      one entry: ``{"path", "meta", "body"}``
``usage``                      ``{"bytes", "types"}``: the bytes of all the other documents, and the
                               types of the library; counted again if it is missing
=============================  ====================================================================
"""

from tenants.documents.flows import (
    delete_revision,
    flows_of,
    history,
    load_flows,
    restore,
    save_flows,
    snapshot,
)
from tenants.documents.history import Revision
from tenants.documents.library import delete_entry, entry_from, load_library, save_library
from tenants.documents.objects import OBJECTS, load, save
from tenants.documents.store import Document, purge

__all__ = [
    "OBJECTS",
    "Document",
    "Revision",
    "delete_entry",
    "delete_revision",
    "entry_from",
    "flows_of",
    "history",
    "load",
    "load_flows",
    "load_library",
    "purge",
    "restore",
    "save",
    "save_flows",
    "save_library",
    "snapshot",
]
