"""The JSON Schema of the cloud file, made from the same structs that read it. Editors use it; docs are tested by it."""

from typing import Any, Final

import msgspec

from headrace.specs.document import Document

DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"


def schema() -> dict[str, Any]:
    """The schema as an object."""
    made = msgspec.json.schema(Document)
    return {"$schema": DIALECT, "title": "Headrace cloud file", **made}


def schema_text() -> str:
    """The schema as the file `cloud.schema.json` holds it."""
    return msgspec.json.format(msgspec.json.encode(schema()), indent=2).decode() + "\n"
