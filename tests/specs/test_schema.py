"""The JSON Schema that editors use says what the loader says."""

import json
from pathlib import Path

import jsonschema_rs
import pytest
from ruamel.yaml import YAML

from headrace.specs.schema import schema, schema_text
from tests.specs.files import GOOD, changed

ROOT = Path(__file__).parents[2]
SPECS = ROOT / "src" / "headrace" / "specs"
FILES = [SPECS / "default.yaml", *sorted((ROOT / "examples").glob("*.yaml"))]


def valid(text: str) -> bool:
    return jsonschema_rs.validator_for(schema()).is_valid(YAML(typ="safe", pure=True).load(text))


def test_the_shipped_schema_is_not_stale():
    """Make it again with: headrace config schema > src/headrace/specs/cloud.schema.json."""
    assert (SPECS / "cloud.schema.json").read_text() == schema_text()


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_our_own_files_hold_to_it(file: Path):
    """The default and the examples."""
    assert valid(file.read_text())


@pytest.mark.parametrize(
    ("old", "new"),
    [("slots: 4", "slot: 4"), ("slots: 4", "slots: 0"), ("600MiB", "lots"), ("task: chat", "task: sing"), ("version: 1", "version: 2")],
)  # fmt: skip
def test_it_refuses_what_the_loader_refuses(old: str, new: str):
    """Unknown keys, values out of bounds, words that are not literals."""
    assert valid(GOOD)
    assert not valid(changed(old, new))


def test_every_field_has_a_description():
    """An editor shows it."""
    found = json.loads(schema_text())["$defs"]
    bare = [
        f"{name}.{field}"
        for name, struct in found.items()
        for field, shape in struct.get("properties", {}).items()
        if "description" not in shape
    ]
    assert bare == []


@pytest.mark.parametrize("struct", json.loads(schema_text())["$defs"])
def test_every_field_is_in_the_docs(struct: str):
    """docs/cloud-yaml.md has one section a struct and one row a field."""
    docs = (ROOT / "docs" / "cloud-yaml.md").read_text()
    _, heading, rest = docs.partition(f"\n## {struct}\n")
    assert heading, f"docs/cloud-yaml.md has no section {struct}"
    section = rest.partition("\n## ")[0]
    fields = schema()["$defs"][struct]["properties"]
    assert [field for field in fields if f"\n| `{field}` |" not in section] == []
