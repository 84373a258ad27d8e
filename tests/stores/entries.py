"""Entries for the tests of the stores."""

from typing import Any

from hypothesis import strategies as st

from headrace.state.usage import Begun, Entry, Progress, Usage

PLACE = {"epoch": "e", "tenant": "t", "key": "k", "model": "m", "task": "chat"}


def begun(request: str, **more: Any) -> Begun:
    return Begun(request=request, arrived_us=1_000, **{**PLACE, **more})


def progress(request: str, tokens: int, **more: Any) -> Progress:
    return Progress(request=request, output_tokens=tokens, at_us=2_000, **more)


def usage(request: str, **more: Any) -> Usage:
    given = {"outcome": "finished", "status": 200, "arrived_us": 1_000, "ended_us": 3_000, **PLACE, **more}
    return Usage(request=request, **given)


_names = st.text("abcdefgh", min_size=1, max_size=6)
any_entry: st.SearchStrategy[Entry] = st.one_of(
    st.builds(begun, _names, stream=st.booleans(), tenant=st.text(max_size=20)),
    st.builds(progress, _names, st.integers(0, 1 << 40)),
    st.builds(usage, _names, output_tokens=st.integers(0, 1 << 40), why=st.text(max_size=50)),
)
