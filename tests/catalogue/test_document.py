"""The palette's own format."""

import gzip
import json
from datetime import UTC, datetime

from catalogue.document import Module, catalogue, entry, packed

AT = datetime(2026, 3, 1, 12, 0, 0, 5000, tzinfo=UTC)


def module(**fields):
    given = {
        "id": "@acme/pump", "version": "1.0.0", "description": "“Pumps” \u2028 </script>", "updated_at": AT,
        "url": "http://portal.localhost:8000/catalogue/@acme/pump/", "keywords": ["node-red"], "types": ["pump"],
    }  # fmt: skip
    return Module(**{**given, **fields})


def test_it_has_the_fields_that_the_editor_reads():
    told = json.loads(catalogue([entry(module())], AT))
    assert told == {
        "name": "Flowstead",
        "updated_at": "2026-03-01T12:00:00.005Z",
        "modules": [
            {
                "id": "@acme/pump",
                "version": "1.0.0",
                "description": "“Pumps” \u2028 </script>",
                "updated_at": "2026-03-01T12:00:00.005Z",
                "url": "http://portal.localhost:8000/catalogue/@acme/pump/",
                "keywords": ["node-red"],
                "types": ["pump"],
            }
        ],
    }


def test_it_may_be_empty():
    assert json.loads(catalogue([], AT))["modules"] == []


def test_a_deprecated_module_says_so():
    assert json.loads(entry(module(deprecated="Use @acme/pump2.")))["deprecated"] == "Use @acme/pump2."


def test_the_same_document_packs_to_the_same_bytes():
    whole = catalogue([entry(module())] * 3, AT)
    assert packed(whole) == packed(whole)
    assert gzip.decompress(packed(whole)) == whole
