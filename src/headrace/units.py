"""Integer units for time, money and memory, and the typed literals people write for them.

Everything that is counted here is an integer: microseconds, nano-dollars, bytes. A literal such as `5m`, `800ms`
or `4GiB` is parsed once, at the edge, with a message that names the value and the fix. No I/O, no clock.
"""

import re
from decimal import Decimal, InvalidOperation
from typing import Final, NewType

Us = NewType("Us", int)  # a moment or a duration, microseconds; which of the two, the name says
NanoUsd = NewType("NanoUsd", int)  # 10^-9 US dollars
Bytes = NewType("Bytes", int)

US_PER_MS: Final = 1_000
US_PER_S: Final = 1_000_000
US_PER_MINUTE: Final = 60 * US_PER_S
US_PER_HOUR: Final = 3_600 * US_PER_S
US_PER_DAY: Final = 24 * US_PER_HOUR
NANOUSD_PER_USD: Final = 1_000_000_000
MIB: Final = 1 << 20
GIB: Final = 1 << 30

_TIME_US: Final = {"us": 1, "ms": US_PER_MS, "s": US_PER_S, "m": US_PER_MINUTE, "h": US_PER_HOUR, "d": 24 * US_PER_HOUR}
_SIZE_BYTES: Final = {
    "B": 1,
    "kB": 10**3,
    "MB": 10**6,
    "GB": 10**9,
    "TB": 10**12,
    "KiB": 1 << 10,
    "MiB": MIB,
    "GiB": GIB,
    "TiB": 1 << 40,
}
_LITERAL: Final = re.compile(r"(\d+(?:\.\d+)?)\s*([A-Za-z]+)")


def duration_us(text: str) -> Us:
    """Microseconds in a duration literal.

    >>> duration_us("800ms"), duration_us("5m")
    (800000, 300000000)
    """
    return Us(_parse(text, _TIME_US, "duration", "like 800ms, 30s, 5m or 2h"))


def size_bytes(text: str) -> Bytes:
    """Bytes in a size literal; GiB is 2^30, GB is 10^9.

    >>> size_bytes("1.5GiB")
    1610612736
    """
    return Bytes(_parse(text, _SIZE_BYTES, "size", "like 512MiB, 4GiB or 80GB"))


def nanousd(text: str | int | float) -> NanoUsd:
    """Nano-dollars in an amount of dollars written in decimal; refuses what does not fit exactly.

    >>> nanousd("0.08")
    80000000
    """
    try:
        scaled = Decimal(str(text)) * NANOUSD_PER_USD
    except InvalidOperation:
        raise ValueError(f"{text!r} is not an amount of dollars; write it like 2.10") from None
    if not scaled.is_finite() or scaled != scaled.to_integral_value() or scaled < 0:
        raise ValueError(f"{text!r} is not a whole, non-negative number of nano-dollars; use at most 9 decimals")
    return NanoUsd(int(scaled))


def dollars(amount_nanousd: int) -> str:
    """Nano-dollars as exact dollars.

    >>> dollars(1_500)
    '0.000001500'
    """
    sign, amount = ("-", -amount_nanousd) if amount_nanousd < 0 else ("", amount_nanousd)
    return f"{sign}{amount // 10**9}.{amount % 10**9:09}"


def format_us(amount_us: int) -> str:
    """A duration for people.

    >>> format_us(1_234_000), format_us(45_000), format_us(120 * US_PER_S)
    ('1.23 s', '45 ms', '2 min')
    """
    if amount_us < US_PER_MS:
        return f"{amount_us} us"
    if amount_us < US_PER_S:
        return f"{amount_us / US_PER_MS:.0f} ms"
    if amount_us < US_PER_MINUTE:
        return f"{amount_us / US_PER_S:.2f} s"
    if amount_us < US_PER_HOUR:
        return f"{amount_us / US_PER_MINUTE:.3g} min"
    return f"{amount_us / US_PER_HOUR:.3g} h"


def format_bytes(amount_bytes: int) -> str:
    """A size for people.

    >>> format_bytes(3 * GIB), format_bytes(512 * MIB)
    ('3.0 GiB', '512 MiB')
    """
    if amount_bytes >= GIB:
        return f"{amount_bytes / GIB:.1f} GiB"
    if amount_bytes >= MIB:
        return f"{amount_bytes / MIB:.0f} MiB"
    return f"{amount_bytes} B"


def _parse(text: str, scale: dict[str, int], noun: str, examples: str) -> int:
    match = _LITERAL.fullmatch(text.strip())
    if match is None or match[2] not in scale:
        raise ValueError(f"{text!r} is not a {noun}; write it {examples}")
    return int(Decimal(match[1]) * scale[match[2]])
