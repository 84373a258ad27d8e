"""What an audit of the books looked at and found."""

import msgspec


class Audit(msgspec.Struct, frozen=True, kw_only=True):
    """What was looked at, and what was found; `ok` when that is nothing. `head` is the chain's last hash, hex."""

    ok: bool
    entries: int
    head: str
    found: tuple[str, ...]
    total_nanousd: int = 0
