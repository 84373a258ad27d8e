"""The one word for people that a model's state is."""

import pytest

from headrace.control import tables
from headrace.specs.catalog import TenantSpec
from headrace.state.fleet import Fleet, Replica
from tests.control.sim import GIB, model

FAR = model("m", "openai")


def fleet(*phases: str) -> Fleet:
    made = [
        Replica(
            id=f"m-{n}", model="m", version="v1", digest="d", pool="local", node="local", device="cpu",
            memory_bytes=GIB, slots=1, phase=phase,  # type: ignore[arg-type]
        )
        for n, phase in enumerate(phases)
    ]  # fmt: skip
    return Fleet(devices=(), replicas=tuple(made), at_us=0)


@pytest.mark.parametrize(
    ("phases", "facts", "expected"),
    [
        ((), {"prepared": True}, "asleep"),
        ((), {"preparing": True}, "preparing"),
        ((), {}, "unprepared"),
        ((), {"prepared": True, "fault": "why"}, "failed"),
        (("starting",), {"prepared": True}, "waking"),
        (("pending",), {"prepared": True}, "waking"),
        (("ready", "starting"), {"prepared": True}, "ready"),
        (("ready",), {"fault": "a sibling failed"}, "ready"),
        (("draining",), {"prepared": True}, "asleep"),
        (("failed",), {"prepared": True, "fault": "why"}, "failed"),
    ],
)
def test_the_state_of_a_model(phases, facts, expected):
    """Ready wins over everything; a fault over all that is not ready."""
    given = {"prepared": False, "preparing": False, "fault": ""} | facts
    assert tables.state_of(model(), fleet(*phases), **given) == expected


def test_a_foreign_server_sleeps_never():
    """It answers, or it cannot be reached."""
    assert tables.state_of(FAR, fleet("lost"), prepared=False, preparing=False, fault="") == "unreachable"
    assert tables.state_of(FAR, fleet("ready"), prepared=False, preparing=False, fault="") == "ready"


def test_gateways_are_told_what_a_tenant_weighs():
    """And the runner what it may keep."""
    made = tables.table({}, (), (), (), [TenantSpec(name="a", weight=3), TenantSpec(name="b", storage_bytes=5)])
    assert [(one.name, one.weight, one.storage_bytes) for one in made.tenants] == [("a", 3, 20 << 30), ("b", 1, 5)]
