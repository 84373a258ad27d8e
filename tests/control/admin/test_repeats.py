"""Writes with an Idempotency-Key over a real controller object and real files: once, whoever asks again."""

import hashlib
import json
from typing import Any

import pytest
from starlette.testclient import TestClient

from headrace.control.admin import app
from tests.control.admin.test_app import Door, door, error

__all__ = ["door"]
KEY = {"Idempotency-Key": "one"}


def _keys(door: Door) -> int:
    return len(door.ask("GET", "keys").json()["keys"])


def test_a_key_is_made_once_and_shown_again(door):
    """The same secret, with a header that says when it was made; nothing of it is in the folder in clear."""
    before = _keys(door)
    first = door.ask("POST", "keys", json={"tenant": "team"}, headers=KEY)
    again = door.ask("POST", "keys", json={"tenant": "team"}, headers=KEY)
    assert (again.status_code, again.json()) == (first.status_code, first.json())
    assert "x-headrace-replayed" in again.headers
    assert "x-headrace-replayed" not in first.headers
    assert _keys(door) == before + 1
    secret = first.json()["key"].encode()
    assert all(secret not in path.read_bytes() for path in door.settings.repeats.iterdir())


def test_the_next_controller_remembers(door):
    first = door.ask("POST", "keys", json={"tenant": "team"}, headers=KEY).json()
    door.client = TestClient(app.build(door.control, door.repeats("second")), raise_server_exceptions=False)
    assert door.ask("POST", "keys", json={"tenant": "team"}, headers=KEY).json() == first


def test_what_a_controller_died_at_is_done_by_the_next(door):
    """A file that says "at work" of an epoch that is gone holds nobody up."""
    body = json.dumps({"tenant": "team"}).encode()
    digest = hashlib.sha256(body).hexdigest()
    name = "default\0POST /headrace/v1/keys?\0one"
    assert door.repeats("dead").begin(name, digest, "then", door.clock.now_us()) is None
    assert door.ask("POST", "keys", content=body, headers=KEY).status_code == 200


def test_what_is_at_work_is_not_begun_again(door):
    body = json.dumps({"tenant": "team"}).encode()
    digest = hashlib.sha256(body).hexdigest()
    door.repeats("first").begin("default\0POST /headrace/v1/keys?\0one", digest, "now", door.clock.now_us())
    assert error(door.ask("POST", "keys", content=body, headers=KEY)) == (409, "conflict")


def test_the_same_key_with_another_body_is_refused(door):
    door.ask("POST", "keys", json={"tenant": "team"}, headers=KEY)
    assert error(door.ask("POST", "keys", json={"tenant": "default"}, headers=KEY)) == (422, "unprocessable")


def test_what_was_refused_may_be_tried_again(door):
    """A refusal is not an answer worth keeping."""
    assert error(door.ask("POST", "keys", json={"tenant": "nobody"}, headers=KEY))[0] >= 400
    assert door.ask("POST", "keys", json={"tenant": "team"}, headers=KEY).status_code == 200


def test_a_deletion_is_told_again(door):
    made = door.ask("POST", "keys", json={"tenant": "team"}).json()["id"]
    first = door.ask("DELETE", f"keys/{made}", headers=KEY)
    again = door.ask("DELETE", f"keys/{made}", headers=KEY)
    assert (first.status_code, first.content) == (again.status_code, again.content) == (200, first.content)


@pytest.mark.parametrize("given", ["", "x" * 256, "a\tb"])
def test_a_key_that_is_none_is_refused(door, given: str):
    answer: Any = door.ask("POST", "keys", json={"tenant": "team"}, headers={"Idempotency-Key": given})
    assert error(answer) == (400, "invalid_value") or answer.status_code == 400


def test_keys_belong_to_their_tenant_and_path(door):
    """The same word at another path, or of another tenant, is another key."""
    door.ask("POST", "keys", json={"tenant": "team"}, headers=KEY)
    answer = door.ask("POST", "check", content="version: 1", headers=KEY)
    assert "x-headrace-replayed" not in answer.headers
