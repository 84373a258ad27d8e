"""A replica: llama.cpp's HTTP server on a unix socket, in this process. Started by `engines.llama_cpp.command`.

Imports the engine and little else, since every millisecond here is a millisecond of a cold start. Prints one JSON line
when it answers. SIGTERM takes the socket's name away, waits for running work and exits 0.
"""

import contextlib
import json
import os
import re
import signal
import time
from typing import TYPE_CHECKING

from headrace.engines.runners import words

if TYPE_CHECKING:
    import argparse

_DRAIN_MAX_S = 3600.0
_DRAIN_POLL_S = 0.05
_BUSY = re.compile(r"^llamacpp:requests_(?:processing|deferred) (\d+)", re.MULTILINE)


def main() -> None:
    """Serve until SIGTERM."""
    began = time.monotonic()
    given = words.told("weights", numbers=("context",), optional=("lora", "lora-scale"))
    if os.path.exists(given.listen):  # noqa: PTH110 - a start-up path; pathlib costs milliseconds
        os.unlink(given.listen)  # noqa: PTH108 - as above
    servers = [_server(given)]  # none while it sleeps
    wakened, waker = os.pipe()
    os.set_blocking(waker, False)
    signal.set_wakeup_fd(waker)
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1, signal.SIGUSR2):
        signal.signal(number, lambda *_: None)
    ready = {"ready": True, "address": f"unix:{given.listen}", "load_ms": round(1000 * (time.monotonic() - began))}
    print(json.dumps(ready), flush=True)
    _rest(servers, given, wakened, json.dumps(ready))
    if servers:
        _drain(servers[0], given.listen)
    os._exit(0)  # the server's destructor would wait for idle connections


def _rest(servers: "list[object]", given: "argparse.Namespace", wakened: int, ready: str) -> None:
    """Sleep and wake as the host asks, until it says that it is over."""
    while (number := os.read(wakened, 1)[0]) in (signal.SIGUSR1, signal.SIGUSR2):
        if number == signal.SIGUSR1:
            from headrace.engines.runners import resting

            servers.clear()  # with it go the weights and the cache
            with contextlib.suppress(FileNotFoundError):
                os.unlink(given.listen)  # noqa: PTH108 - pathlib costs start-up time here
            resting.give_back()
            resting.say_asleep()
        else:
            if not servers:
                servers.append(_server(given))
            print(ready, flush=True)


def _server(given: "argparse.Namespace") -> object:
    import xllamacpp

    params = xllamacpp.CommonParams()
    params.model.path = given.weights
    params.model_alias = {given.alias}
    params.hostnames = [given.listen]
    params.n_parallel, params.n_ctx = given.slots, given.context
    for share in (params.cpuparams, params.cpuparams_batch):
        share.n_threads = given.threads
        share.poll = 0
    if given.lora:
        params.lora_adapters = [xllamacpp.CommonAdapterLoraInfo(given.lora, float(given.lora_scale))]
    params.cache_ram_mib = 0  # by default it may grow to 8 GiB
    params.endpoint_metrics = True  # for /metrics and for the drain
    params.endpoint_slots = params.endpoint_props = params.ui = False
    params.fit_params = False  # the spec says what fits
    params.warmup = True
    params.verbosity = 0
    params.n_threads_http = given.slots + 8  # a stream holds a thread; probes and refusals need some too
    return xllamacpp.Server(params)


def _drain(server: object, path: str) -> None:
    """Let no one else in and wait until nothing runs, twice seen, since a request may be between two queues."""
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)  # noqa: PTH108 - pathlib costs start-up time here
    end, idle = time.monotonic() + _DRAIN_MAX_S, 0
    while idle < 2 and time.monotonic() < end:
        idle = 0 if _busy(server) else idle + 1
        time.sleep(_DRAIN_POLL_S)


def _busy(server: object) -> bool:
    answer = server.handle_metrics()  # type: ignore[attr-defined]  # the wheel has no types
    return any(int(count) for count in _BUSY.findall(str(answer)))


if __name__ == "__main__":
    main()
