"""What the runner alone may say of a request: that it belongs to a run, and that it is the turn of an agent."""

from pathlib import Path

from headrace.economics.metering import quantities
from headrace.state import keys
from tests.gateway import stub
from tests.gateway.stub import StubUpstream
from tests.gateway.world import CHAT, HI, KEY_ID, PEPPER, post, replica, run, world

ACTING = keys.acting(PEPPER, KEY_ID)


def test_a_turn_of_an_agent_is_a_unit_of_its_record(tmp_path: Path):
    async def work() -> None:
        async with StubUpstream(tmp_path / "a.sock", stub.truthful) as up, world(tmp_path, [replica(1, up)]) as cloud:
            said = ["X-Headrace-Label: run_1/support@1", "X-Headrace-Agent-Step: 1"]
            assert (await cloud.raw(post(HI, CHAT, ACTING, *said))).status == 200
            found = await cloud.usage()
            assert (found.label, found.agent_steps, quantities(found)["agent_steps"]) == ("run_1/support@1", 1, 1)

    run(work)


def test_a_clients_label_cannot_be_that_of_a_run_nor_its_work_the_turn_of_an_agent(tmp_path: Path):
    async def work() -> None:
        async with StubUpstream(tmp_path / "a.sock", stub.truthful) as up, world(tmp_path, [replica(1, up)]) as cloud:
            for header in ("X-Headrace-Label: run_1/a", "X-Headrace-Agent-Step: 1"):
                refused = await cloud.ask(HI, CHAT, header)
                assert (refused.status, refused.json["error"]["param"]) == (400, header.partition(":")[0].lower())
            assert (await cloud.ask(HI, CHAT, "X-Headrace-Label: my-job/7")).status == 200
            assert (await cloud.usage()).label == "my-job/7"
            assert len(up.asked) == 1

    run(work)


def test_turns_that_name_one_conversation_have_one_prefix():
    from headrace.wire import chat

    first = {**HI, "prompt_cache_key": "run_1/support"}
    longer = {**first, "messages": [*HI["messages"], {"role": "assistant", "content": "x" * 100}]}
    import json

    assert chat.parse(json.dumps(first).encode()).prefix == chat.parse(json.dumps(longer).encode()).prefix
    assert chat.parse(json.dumps(HI).encode()).prefix != chat.parse(json.dumps(first).encode()).prefix
