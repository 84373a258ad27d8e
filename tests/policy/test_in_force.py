"""What is in force: the file, and over it what rollouts say, until the file says something else."""

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from headrace.policy import in_force
from headrace.policy import rollout as policy
from headrace.policy.in_force import stands
from headrace.specs.catalog import Catalog, EngineSpec, ModelSpec, Scaling
from headrace.state.rollout import Rollout


def version(name: str, weight: int = 100, least: int = 2, most: int = 4, slots: int = 8) -> ModelSpec:
    return ModelSpec(
        name="m", version=name, weight=weight, task="chat", source="/w", memory_bytes=1, pools=("cpu",),
        engine=EngineSpec(kind="llama_cpp", slots=slots), scaling=Scaling(min_replicas=least, max_replicas=most),
    )  # fmt: skip


def declared(*versions: ModelSpec) -> Catalog:
    return Catalog(pools=(), models=versions, tenants=())


ONE = declared(version("v1"))
NEW = Rollout(model="m", stable="v1", candidate="v2", spec=version("v2", 0), before={"v1": 100}, began_us=0)


def over(catalog: Catalog, rollout: Rollout) -> dict[str, ModelSpec]:
    return {model.version: model for model in in_force.catalog(catalog, {"m": rollout}).models}


def test_a_candidate_is_added_and_awake_before_it_has_traffic() -> None:
    found = over(ONE, NEW)
    assert (found["v1"].weight, found["v2"].weight) == (100, 0)
    assert found["v2"].scaling.min_replicas >= 1
    assert found["v1"].digest == ONE.models[0].digest


def test_what_is_promoted_has_all_and_the_one_before_may_sleep() -> None:
    found = over(ONE, policy.whole(NEW, "x", 1))
    assert (found["v1"].weight, found["v2"].weight) == (0, 100)
    assert (found["v1"].scaling.min_replicas, found["v2"].scaling.min_replicas) == (0, 2)


def test_what_goes_back_leaves_the_weights_of_before() -> None:
    found = over(declared(version("v1"), version("v2", 30)), msgspec.structs.replace(NEW, before={"v1": 70, "v2": 30}))
    assert {name: model.weight for name, model in found.items()} == {"v1": 100, "v2": 0}
    back = policy.back(msgspec.structs.replace(NEW, before={"v1": 70, "v2": 30}), "x", 1)
    assert {name: model.weight for name, model in over(ONE, back).items()} == {"v1": 70, "v2": 30}


def test_without_a_spare_device_one_of_several_gives_way_and_a_single_one_gives_its_place() -> None:
    several = policy.without_room(NEW, 3, policy.Tally(), "full", 1)
    assert over(ONE, several)["v1"].scaling.max_replicas == 2
    single = policy.without_room(NEW, 1, policy.Tally(requests=9), "full", 1)
    found = over(ONE, single)
    assert (found["v1"].weight, found["v2"].weight, found["v1"].scaling.min_replicas) == (0, 100, 0)
    assert single.old.requests == 9


def test_a_version_of_weight_zero_needs_no_minimum() -> None:
    found = {m.version: m for m in in_force.catalog(declared(version("v1"), version("v2", 0)), {}).models}
    assert (found["v1"].scaling.min_replicas, found["v2"].scaling.min_replicas) == (2, 0)


def test_a_shadow_is_copied_to_once_it_is_ready_and_never_weighs() -> None:
    shadow = msgspec.structs.replace(NEW, shadow=20, automatic=False)
    assert over(ONE, shadow)["v2"].shadow == 0
    ready = policy.look(shadow, policy.Seen(ready=True), 1)
    assert (over(ONE, ready)["v2"].shadow, over(ONE, ready)["v2"].weight, over(ONE, ready)["v1"].weight) == (20, 0, 100)
    worse = policy.Seen(ready=True, old=policy.Tally(requests=900), new=policy.Tally(requests=90, errors=90))
    assert policy.look(ready, worse, 2).phase == "shadow"


def test_a_rollout_stands_while_the_file_says_the_same_or_adds_just_its_candidate() -> None:
    assert stands(NEW, ONE, ONE)
    assert stands(NEW, ONE, declared(version("v1"), version("v2", 50)))
    assert not stands(NEW, ONE, declared(version("v1", slots=4)))
    assert not stands(NEW, ONE, declared(version("v1"), version("v2", 50, slots=2)))
    assert not stands(NEW, ONE, declared())
    done = policy.whole(NEW, "x", 1)
    assert stands(done, ONE, ONE)
    assert not stands(done, ONE, declared(version("v1", 99)))


@given(st.integers(0, 100), st.sampled_from(["warming", "canary", "promoted", "rolled_back"]))
def test_every_request_has_a_version_whatever_the_rollout(share: int, phase: str) -> None:
    rollout = msgspec.structs.replace(NEW, share=share, phase=phase)
    found = over(ONE, rollout)
    assert sum(model.weight for model in found.values()) > 0
    assert all(model.scaling.min_replicas <= model.scaling.max_replicas for model in found.values())
