"""Which requests are copied to a version that is only watched, and when a copy is left out. Pure.

Whoever is answered comes first: a copy is batch work of the house's own tenant, it never causes a start, and it is left
out where it would have to wait for one or where many are under way. Asked by `gateway.shadow` and by the twin.
"""

import zlib
from typing import Final

TENANT: Final = "~shadow"  # no tenant of a cloud file can be called so
AT_ONCE_MAX: Final = 32  # copies under way in one gateway worker
NOT_READY: Final = "no replica ready"
FULL: Final = f"{AT_ONCE_MAX} under way"


def its_turn(request_id: str, percent: int) -> bool:
    """Whether a request is among those that are copied: by a hash of its id, so that a retry is judged alike.

    >>> sum(its_turn(str(number), 10) for number in range(1000))
    109
    """
    return zlib.crc32(request_id.encode(), 1) % 100 < percent


def left_out(*, ready: bool, under_way: int) -> str:
    """Why a request is not copied though it is its turn, empty when it is. `ready`: a replica of the version is.

    >>> left_out(ready=True, under_way=31), left_out(ready=False, under_way=0), left_out(ready=True, under_way=32)
    ('', 'no replica ready', '32 under way')
    """
    if not ready:
        return NOT_READY
    return FULL if under_way >= AT_ONCE_MAX else ""
