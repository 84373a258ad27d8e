"""Two real gateway workers before one server of four slots: tenants get the same of it, whatever they do for more."""

import asyncio
import concurrent.futures
import http.client
import json
import secrets
import threading
from collections import defaultdict
from collections.abc import Iterator
from contextlib import ExitStack, closing

import pytest

from headrace.state import keys
from tests.e2e import upstream
from tests.e2e.cloud import Cloud, running
from tests.gateway.stub import Question, truthful

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(120)]

TENANTS = """
  default: {}
  greedy: {keys: [env:GREEDY_KEY]}
  modest: {keys: [env:MODEST_KEY]}"""
BODY = json.dumps({"model": "theirs", "messages": [{"role": "user", "content": "Hi"}], "max_tokens": 4})
WORK_S, SERVED = 0.05, 300
GREEDY, MODEST = 20, 6  # clients; each more than there are slots


async def slowly(question: Question, writer: asyncio.StreamWriter) -> None:
    await asyncio.sleep(WORK_S)
    await truthful(question, writer)


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cloud]:
    folder = tmp_path_factory.mktemp("fairness")
    made = {f"{name}_KEY": keys.make_key(secrets.token_bytes(44))[2] for name in ("GREEDY", "MODEST")}
    with upstream.serving() as server:
        server.behave = slowly
        file = upstream.spec(folder, server.url, tenants=TENANTS)
        file.write_text(file.read_text().replace("slots: 64", "slots: 4"))
        with running(folder / "home", spec=file, gateways=2, **made) as cloud:
            cloud.chat(model="theirs")
            cloud.all_listen()
            yield cloud


def ask(line: http.client.HTTPConnection, key: str) -> str:
    """The request's id."""
    headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
    line.request("POST", "/v1/chat/completions", BODY, headers)
    answer = line.getresponse()
    answer.read()
    assert answer.status == 200
    return str(answer.headers["x-request-id"])


def by_worker(cloud: Cloud, stack: ExitStack, key: str, least: int) -> list[list[http.client.HTTPConnection]]:
    """Connections of each of the two workers, at least so many each."""
    sorted_out: dict[str, list[http.client.HTTPConnection]] = defaultdict(list)
    for _ in range(20 * least):
        line = stack.enter_context(closing(http.client.HTTPConnection("127.0.0.1", cloud.port, timeout=60)))
        epoch = cloud.get(f"/headrace/v1/explain/{ask(line, key)}")["request"]["epoch"]
        sorted_out[epoch].append(line)
        if len(sorted_out) == 2 and min(map(len, sorted_out.values())) >= least:
            return [sorted_out[epoch] for epoch in sorted(sorted_out)]
    raise AssertionError("all connections came to one worker")


@pytest.mark.parametrize("apart", [True, False], ids=["each at its own worker", "over both workers"])
def test_tenants_of_different_greed_get_the_same_slot_time(cloud: Cloud, apart: bool) -> None:
    """The greedy one begins first and holds every slot; the modest one comes, here or at the other worker."""
    greedy, modest = cloud.env["GREEDY_KEY"], cloud.env["MODEST_KEY"]
    over, ids = threading.Event(), defaultdict[str, list[str]](list)

    def client(line: http.client.HTTPConnection, key: str) -> None:
        while not over.is_set():
            ids[key].append(ask(line, key))

    with ExitStack() as stack, concurrent.futures.ThreadPoolExecutor(GREEDY + MODEST) as pool:
        one, other = by_worker(cloud, stack, greedy, GREEDY)
        mine, theirs = by_worker(cloud, stack, modest, MODEST)
        many = one[:GREEDY] if apart else one[: GREEDY // 2] + other[: GREEDY // 2]
        few = theirs[:MODEST] if apart else mine[: MODEST // 2] + theirs[: MODEST // 2]
        work = [pool.submit(client, line, greedy) for line in many]
        cloud.until(lambda: len(ids[greedy]) > 20, what="the greedy tenant to hold the slots")
        work += [pool.submit(client, line, modest) for line in few]
        cloud.until(lambda: ids[modest], what="the modest tenant's first answer")
        before = len(ids[greedy]), len(ids[modest])
        cloud.until(lambda: sum(map(len, ids.values())) - sum(before) > SERVED, 60, "enough to compare")
        after = len(ids[greedy]), len(ids[modest])
        over.set()
        for one_ in work:
            one_.result()
    busy = []
    for key, first, last in zip((greedy, modest), before, after, strict=True):
        rows = cloud.get(f"/headrace/v1/usage?limit=1000&tenant={'greedy' if key == greedy else 'modest'}")["usage"]
        wanted = set(ids[key][first:last])
        busy.append(sum(row["busy_us"] for row in rows if row["request"] in wanted))
    assert 0.8 <= busy[0] / busy[1] <= 1.25, busy
