"""What a worker looks up in its table: models a key may use, and the pools of replicas."""

import msgspec
import pytest

from headrace.errors import Invalid
from headrace.gateway.directory import Directory
from headrace.state.table import Ability, RouteKey, RouteModel, RouteReplica, Table


def model(name: str, task: str = "chat", version: str = "v1", weight: int = 100) -> RouteModel:
    return RouteModel(
        name=name,
        version=version,
        weight=weight,
        task=task,
        ability=Ability(),
        context_tokens=2048,
        output_tokens_default=512,
        queue_max=8,
        ttft_us=1,
        start_timeout_us=1,
        state="asleep",
        created_s=1,
    )


def replica(name: str, incarnation: str) -> RouteReplica:
    return RouteReplica(
        id=name,
        model="talker",
        version="v1",
        incarnation=incarnation,
        address="unix:/nowhere.sock",
        slots=4,
        phase="ready",
        upstream_model="talker",
    )


def key(*models: str) -> RouteKey:
    return RouteKey(id="k", digest="", tenant="t", role="user", models=models)


def directory(*replicas: RouteReplica) -> Directory:
    made = Directory()
    models = (model("talker", weight=90), model("talker", version="v2", weight=10), model("vectors", "embed"))
    made.update(Table(revision=1, models=models, replicas=replicas, keys=()))
    return made


def test_a_key_sees_what_it_may_use():
    """All with `*`, else those it names and no other."""
    assert directory().usable(key("*")) == ["talker", "vectors"]
    assert directory().usable(key("vectors", "unknown")) == ["vectors"]


@pytest.mark.parametrize("name", ["talkr", "talker"])
def test_a_model_that_is_not_there_and_one_that_is_not_allowed_look_alike(name: str):
    """404 that lists what the key may use, and does not tell which of the two it was."""
    with pytest.raises(Invalid) as refused:
        directory().find(name, key("vectors"), "chat")
    assert (refused.value.status, refused.value.code, refused.value.param) == (404, "model_not_found", "model")
    assert "vectors" in refused.value.message


def test_a_near_name_is_suggested():
    """A typing mistake is told."""
    with pytest.raises(Invalid, match="Did you mean 'talker'"):
        directory().find("talkr", key("*"), "chat")


def test_a_model_of_another_task_is_refused_with_one_that_fits():
    """400 that names the right model for the path."""
    with pytest.raises(Invalid) as refused:
        directory().find("vectors", key("*"), "chat")
    assert (refused.value.status, refused.value.code) == (400, "unsupported_endpoint")
    assert "talker" in refused.value.message


def test_an_entry_lists_its_versions():
    """One entry a name, with each version's weight."""
    entry = directory().entry("talker")
    assert (entry["id"], entry["object"]) == ("talker", "model")
    assert entry["versions"] == [{"name": "v1", "weight": 90}, {"name": "v2", "weight": 10}]


def test_pools_stay_with_their_incarnation():
    """A new table keeps the pool of a replica that stays, and makes another for one that was restarted."""
    made = directory(replica("a", "1"), replica("b", "1"))
    before = dict(made.pools)
    made.update(msgspec.structs.replace(made.table, revision=2, replicas=(replica("a", "1"), replica("b", "2"))))
    assert made.pools["a", "1"] is before["a", "1"]
    assert sorted(made.pools) == [("a", "1"), ("b", "2")]


def test_a_version_is_found_by_its_name():
    assert directory().find("talker@v2", key("*"), "chat").version == "v2"
    assert directory().find("talker", key("talker"), "chat").version == "v1"


def test_a_version_that_is_not_there_is_named_with_those_that_are():
    with pytest.raises(Invalid, match=r"no version 'v9'. It has: talker@v1, talker@v2"):
        directory().find("talker@v9", key("*"), "chat")


def test_a_version_needs_the_permission_for_its_model():
    with pytest.raises(Invalid, match="'talker@v2' does not exist or this key may not use it"):
        directory().find("talker@v2", key("vectors"), "chat")


def test_who_stands_in_is_a_model_by_its_weights_or_one_version():
    """Those the key may use, of the same task, that are there; nobody for who named a version."""
    made = directory()
    asked = msgspec.structs.replace(model("talker"), fallback=("talker@v2", "vectors", "gone", "talker@v9", "talker"))
    found = made.stand_ins(asked, key("*"), "talker")
    assert [(one.name, one.model.version, one.pinned) for one in found] == [
        ("talker@v2", "v2", True), ("talker", "v1", False),
    ]  # fmt: skip
    assert made.stand_ins(asked, key("vectors"), "talker") == []
    assert made.stand_ins(asked, key("*"), "talker@v1") == []
