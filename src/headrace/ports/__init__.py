"""The sockets: everything that touches the world stands behind one of these.

`Clock` tells the time, `Engine` knows how a kind of model is run, `Substrate` runs processes, `Store` keeps records;
`Journal` is the store's fast end, beside each gateway; `Objects` and `Records` keep what the runner's parts must not
lose. Adapters live in engines/, substrates/ and stores/; one contract suite under tests/contracts/ runs against every
adapter of a port.
"""

from headrace.ports.clock import Clock
from headrace.ports.engine import Artifact, Command, Engine
from headrace.ports.gateway import IDEMPOTENCY_KEY_BYTES_MAX, SMALL_BYTES_MAX, Journal, Repeat, Repeats, repeat_name
from headrace.ports.objects import Objects
from headrace.ports.records import Page, Record, Records
from headrace.ports.store import KeyRecord, Rate, Statements, Store
from headrace.ports.substrate import Post, Rest, Substrate, WorkerSpec, WorkerStatus

__all__ = [
    "IDEMPOTENCY_KEY_BYTES_MAX",
    "SMALL_BYTES_MAX",
    "Artifact",
    "Clock",
    "Command",
    "Engine",
    "Journal",
    "KeyRecord",
    "Objects",
    "Page",
    "Post",
    "Rate",
    "Record",
    "Records",
    "Repeat",
    "Repeats",
    "Rest",
    "Statements",
    "Store",
    "Substrate",
    "WorkerSpec",
    "WorkerStatus",
    "repeat_name",
]
