"""What was asked of each model, minute by minute, summed by the database on a connection of its own.

A day of a busy cloud is millions of rows: whoever reads them must not hold up whoever writes, so this may run in a
thread beside everything else.
"""

from pathlib import Path
from typing import Final

import apsw

_QUERY: Final = (
    "SELECT model, (ended_us - ?1) / ?2, COUNT(*), SUM(input_tokens), SUM(output_tokens) FROM usage"
    " WHERE ended_us >= ?1 AND outcome IN ('finished', 'cancelled') AND tenant <> '~shadow' GROUP BY 1, 2"
)


def work_by_slot(database: Path, from_us: int, slot_us: int) -> dict[str, list[tuple[int, int, int, int]]]:
    """By model: slot, requests, input and output tokens. Raises apsw.Error."""
    db = apsw.Connection(str(database), flags=apsw.SQLITE_OPEN_READONLY)
    try:
        found: dict[str, list[tuple[int, int, int, int]]] = {}
        for model, slot, requests, input_tokens, output_tokens in db.execute(_QUERY, (from_us, slot_us)):
            found.setdefault(str(model), []).append((slot, requests, input_tokens, output_tokens))
        return found
    finally:
        db.close()
