"""Names of requests, made by the gateway that takes them."""

import secrets
import time
from collections.abc import Iterator


def request_ids() -> Iterator[str]:
    """Request ids: `req_`, the moment, and 80 random bits; sortable, and not to be guessed."""
    while True:
        pool = secrets.token_hex(640)
        for at in range(0, len(pool), 20):
            yield f"req_{time.time_ns() // 1_000:x}{pool[at : at + 20]}"
