"""How requests that share a replica share its time: the closed-form Shapley rule, integrated over time.

A step of an engine takes a fixed time F (weights read, kernels launched) and a variable time v_r for each request r in
it. For the game C(S) = F + sum of v_r the Shapley value is F / |S| + v_r: everybody pays for the own work, and the
fixed part is split evenly over those present. Over a stretch of time in which the same requests are present, own work
is what the work model says of each, the rest of the stretch is fixed part, and the shares add up to the stretch by
construction: measured time is what is split, the model only says how.

`VERSION` names the rule; it is kept with every entry made by it.
"""

from collections.abc import Mapping, Sequence
from typing import Final

import msgspec

from headrace.economics.work import WorkModel

VERSION: Final = "shapley-span/1"
SCALE: Final = 1 << 20  # own-work rates are integers in 2^-20 of the replica's time


class Member(msgspec.Struct, frozen=True, kw_only=True):
    """One request's stay at one incarnation of a replica.

    `start_us` to `first_us` it read its prompt, `first_us` to `end_us` it wrote its answer (`first_us` is `end_us` for
    work without tokens). `failed`: the attempt came to nothing, so its time is an overhead. The engine
    was at its prompt for `read_us` before `first_us`; 0 is not known.
    """

    request: str
    start_us: int
    first_us: int
    end_us: int
    prefill_tokens: int = 0
    decode_tokens: int = 0
    items: int = 0
    failed: bool = False
    read_us: int = 0


def rates(member: Member, model: WorkModel) -> tuple[int, int]:
    """How much of the replica's time a member's own work takes while it reads, and while it writes; in 2^-20.

    >>> model = WorkModel(prefill_ns=1_000_000, decode_ns=5_000_000)
    >>> rates(Member(request="r", start_us=0, first_us=10_000, end_us=110_000, prefill_tokens=5, decode_tokens=10),
    ...       model)
    (524288, 524288)
    """
    reading_us, writing_us = member.first_us - member.start_us, member.end_us - member.first_us
    read, wrote = member.prefill_tokens, member.decode_tokens
    prefill_ns = read * model.prefill_ns + read * read * model.look_ps // 2000 + member.items * model.item_ns
    decode_ns = wrote * model.decode_ns + wrote * (2 * read + wrote) * model.context_ps // 2000
    if not writing_us:
        prefill_ns, decode_ns = prefill_ns + decode_ns, 0
    elif not reading_us:
        prefill_ns, decode_ns = 0, prefill_ns + decode_ns
    return _rate(prefill_ns, reading_us), _rate(decode_ns, writing_us)


def _rate(work_ns: int, time_us: int) -> int:
    return min(SCALE, work_ns * SCALE // (time_us * 1000)) if time_us > 0 else 0


def weights(own: Sequence[int]) -> list[tuple[int, int]]:
    """Shares of one stretch for members whose own-work rates are given: (own, fixed) each, integers to split by.

    When the model says there was more own work than time, the fixed part is 0 and own work is split in proportion.

    >>> weights([SCALE // 2, SCALE // 4])
    [(1048576, 262144), (524288, 262144)]
    """
    count, total = len(own), sum(own)
    fixed = max(0, SCALE - total)  # of the stretch, split evenly; all is multiplied by the count to stay whole
    return [(rate * count, fixed) for rate in own]


def split(amount: int, parts: Sequence[int], turn: int = 0) -> list[int]:
    """Split a whole amount by integer weights: parts are never negative and add up to it.

    Cumulative floors, over an order that begins at `turn`, so that nobody always gets the remainder. Equal parts when
    all weights are 0.

    >>> split(10, [1, 1, 1]), split(10, [1, 1, 1], turn=1), split(7, [0, 0])
    ([3, 3, 4], [4, 3, 3], [3, 4])
    """
    count = len(parts)
    if count == 1:
        return [amount]
    total = sum(parts)
    if not total:
        parts, total = [1] * count, count
    shares, running, before = [0] * count, 0, 0
    for step in range(count):
        place = (turn + step) % count
        running += parts[place]
        now = amount * running // total
        shares[place] = now - before
        before = now
    return shares


def busy_us(members: Mapping[str, Member] | Sequence[Member]) -> int:
    """How long at least one of them was there: what shares must add up to.

    >>> busy_us([Member(request="a", start_us=0, first_us=1, end_us=10),
    ...          Member(request="b", start_us=5, first_us=6, end_us=12)])
    12
    """
    every = members.values() if isinstance(members, Mapping) else members
    total, reached = 0, 0
    for start, end in sorted((member.start_us, member.end_us) for member in every):
        begin = max(start, reached)
        if end > begin:
            total += end - begin
            reached = end
    return total
