"""What is kept of a response, and what the gateway is asked when a conversation goes on."""

from headrace.jobs import response as of
from headrace.jobs.response import Kept
from tests.wire.bodies import RESPONSES, conforms

CALL = {"type": "function_call", "call_id": "c1", "name": "f", "arguments": "{}", "id": "fc_1", "status": "completed"}
OUTPUT = {"type": "function_call_output", "call_id": "c1", "output": "x"}


def kept(name: str, said: str, answered: str, **more: object) -> Kept:
    part = {"type": "output_text", "text": answered, "annotations": [], "logprobs": []}
    output = [{"type": "message", "id": f"msg_{name}", "role": "assistant", "status": "completed", "content": [part]}]
    response = {"id": "other", "status": "completed", "store": False, "output": output}
    facts = {"id": name, "tenant": "t", "key": "k", "created_s": 7, "body": {}, "items": of.items(said)}
    return Kept(**{**facts, "response": response, **more})


def test_items_have_ids_and_stand_in_their_long_form():
    """As they are shown; ids that clients gave stay."""
    given = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b", "id": "msg_b"}, CALL, OUTPUT]
    made = of.items(given)
    for item in made:
        conforms("ItemResource", item, RESPONSES)
    assert [item["type"] for item in made] == ["message", "message", "function_call", "function_call_output"]
    assert [item["content"][0]["type"] for item in made[:2]] == ["input_text", "output_text"]
    assert (made[1]["id"], made[2]["id"], made[3]["id"][:4]) == ("msg_b", "fc_1", "fco_")
    assert of.items("Hi")[0]["content"] == [{"type": "input_text", "text": "Hi"}]
    assert of.items(None) == []


def test_a_conversation_is_what_was_asked_and_answered_in_turn():
    """And what the gateway is asked says nothing of keeping."""
    turns, last = [kept("r1", "one", "1"), kept("r2", "two", "2")], of.items("three")
    said = of.conversation(turns, last)
    assert [item["content"][0]["text"] for item in said] == ["one", "1", "two", "2", "three"]
    body = {
        "model": "m",
        "input": "three",
        "store": True,
        "previous_response_id": "r2",
        "background": False,
        "top_p": 1,
    }
    assert of.stateless(body, said) == {"model": "m", "top_p": 1, "input": said}


def test_a_view_says_what_the_gateway_does_not_know():
    view = kept("r2", "x", "y", previous="r1", background=True).view()
    assert (view["id"], view["store"], view["previous_response_id"], view["background"]) == ("r2", True, "r1", True)
    view = of.shown({"id": "a"}, "a", "", store=False)
    assert (view["store"], view["previous_response_id"]) == (False, None)


def test_a_response_of_which_nothing_has_been_done():
    made = of.queued({"model": "m", "input": of.items("Hi"), "metadata": {"a": "b"}}, "resp_1", 7)
    conforms("Response", made, RESPONSES)
    assert (made["id"], made["status"], made["metadata"], made["output"]) == ("resp_1", "queued", {"a": "b"}, [])
    failed = of.failed(made, "overloaded", "too much")
    conforms("Response", failed, RESPONSES)
    assert failed["error"]["message"] == "overloaded: too much"


def test_the_charge_stands_in_the_usage_once():
    response = {"usage": {"input_tokens": 1}}
    assert of.priced(response, "0.1")["usage"]["headrace"] == {"cost": "0.1", "unit": "USD"}
    told = {"usage": {"headrace": {"cost": "0.2"}}}
    assert of.priced(told, "0.1") is told
    assert of.priced(response, None) is response
