"""Budgets over the admin API: those of the cloud file and those set here."""

from pathlib import Path

import pytest

from tests.control.admin.test_app import CLOUD, Door


@pytest.fixture
def door(tmp_path: Path):
    made = Door(tmp_path)
    yield made
    made.store.close()


def budgets(door: Door) -> list[tuple[str, str, int]]:
    found = door.ask("GET", "budgets").json()["budgets"]
    return [(one["scope"], one["period"], one["limit_nanousd"]) for one in found]


def test_the_budget_of_a_model_in_the_file_is_in_force_when_it_is_applied(door: Door):
    """Applied twice it changes nothing; without it there is none."""
    for changes in (1, 0):
        answer = door.ask("POST", "apply", content=CLOUD + "    budget: {day: 5}\n").json()
        assert len([one for one in answer["diff"] if one["field"] == "budget"]) == changes
        assert budgets(door) == [("model:m", "day", 5 * 10**9)]
    door.ask("POST", "apply", content=CLOUD)
    assert budgets(door) == []


def test_a_model_answers_whole_or_not_at_all(door: Door):
    """Its budget shortens nobody's answers."""
    wanted = {"scope": "model:m", "limit_nanousd": 5, "at_limit": "degrade"}
    refused = door.ask("POST", "budgets", json=wanted)
    assert refused.status_code == 400
    assert "give refuse or notify" in refused.json()["error"]["message"]
    assert door.ask("POST", "budgets", json={**wanted, "at_limit": "notify"}).status_code == 200
