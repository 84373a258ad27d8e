"""What follows from the code of an error: how its request is recorded, whether another model may answer, or a retry."""

from typing import Final

HOPELESS: Final = frozenset({"engine_crash", "insufficient_quota", "schema_not_met"})  # to ask again is of no use
REFUSALS: Final = frozenset(  # nothing was done
    {
        "deadline_unreachable",
        "overloaded",
        "model_unavailable",
        "model_not_found",
        "insufficient_quota",
        "budget_unavailable",
        "context_length_exceeded",
    }
)
ELSEWHERE: Final = frozenset(  # a model that stands in may do better
    {"overloaded", "deadline_unreachable", "model_unavailable", "start_timeout", "upstream_failed", "engine_crash"}
)
