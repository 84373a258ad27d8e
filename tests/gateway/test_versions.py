"""A request that names a version is answered by it and booked on it, whatever the weights say."""

from pathlib import Path

from tests.gateway.stub import StubUpstream, truthful
from tests.gateway.world import HI, get, model, replica, run, world

BOTH = (model(weight=100), model(version="v2", weight=0))


def test_a_named_version_answers_and_is_booked_and_the_name_alone_goes_by_weight(tmp_path: Path):
    async def work() -> None:
        async with StubUpstream(tmp_path / "a", truthful) as a, StubUpstream(tmp_path / "b", truthful) as b:
            replicas = [replica(0, a), replica(1, b, version="v2")]
            async with world(tmp_path, replicas, models=BOTH) as here:
                for asked, version in (("m@v2", "v2"), ("m@v1", "v1"), ("m", "v1")):
                    got = await here.ask({**HI, "model": asked})
                    assert (got.status, got.headers["x-headrace-model-version"]) == (200, version)
                    assert got.json["model"] == asked
                assert [usage.version for usage in here.usages()] == ["v2", "v1", "v1"]
                assert {usage.model for usage in here.usages()} == {"m"}
                got = await here.ask({**HI, "model": "m@v9"})
                assert (got.status, got.json["error"]["code"]) == (404, "model_not_found")
                assert "It has: m@v1, m@v2" in got.json["error"]["message"]
                listed = await here.raw(get("/v1/models/m@v2"))
                assert (listed.status, listed.json["id"]) == (200, "m")

    run(work)
