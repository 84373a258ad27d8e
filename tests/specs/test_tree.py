"""YAML to values with places: YAML 1.2, strict and bounded."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.specs import tree
from headrace.specs.load import load_text
from headrace.specs.problem import InvalidCloud
from tests.specs.files import GOOD


def told(text: str) -> str:
    with pytest.raises(InvalidCloud) as error:
        tree.read(text, "c.yaml")
    return str(error.value)


def test_plain_scalars_are_of_yaml_1_2():
    """`no` and `12:30` are texts; 0o10 is eight; true is true."""
    text = "a: no\nb: 12:30\nc: 0o10\nd: true\ne: 1e3\nf: ~\ng: '1'\nh: 0x1F\ni: 1_000\nj: .5"
    assert tree.read(text, "c").plain == {
        "a": "no", "b": "12:30", "c": 8, "d": True, "e": 1000.0, "f": None, "g": "1", "h": 31, "i": "1_000", "j": 0.5,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "c.yaml:1:1 the file is empty; begin with `version: 1` (`headrace config schema` tells the rest)"),
        ("a: 1\na: 2", "c.yaml:2:1 'a' is there twice, first in line 1"),
        ("a: 1\n1: 2\n'1': 3", "c.yaml:3:1 '1' is there twice, first in line 2"),
        ("a: !!str 1", "c.yaml:1:4 the tag 'tag:yaml.org,2002:str' is not allowed; write the value without a tag"),
        ("a: !py x", "c.yaml:1:4 the tag '!py' is not allowed; write the value without a tag"),
        ("a: *b", "c.yaml:1:4 *b stands for nothing; define it before with &b"),
        ("a: &x [*x]", "c.yaml:1:8 *x stands for nothing; define it before with &x"),
        ("a: 1\n---\nb: 1", "c.yaml:2:1 a second document begins here; a cloud is one document"),
        ("[a]: 1", "c.yaml:1:1 a key is a text, not a list"),
        ("# nothing", "c.yaml:1:1 the file holds no mapping; begin with `version: 1`"),
    ],
)
def test_what_is_refused(text: str, message: str):
    """Each with its place."""
    assert told(text) == message


def test_broken_yaml_is_told_with_its_place():
    """The parser's own words, on one line."""
    assert told("a: [1,\nb: 2").startswith("c.yaml:2:5 not YAML: ")
    assert told("a: 'x").startswith("c.yaml:1:6 not YAML: ")
    assert told("a: \x00").startswith("c.yaml:1:1 not YAML: ")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: " + "[" * 200_000, "nested deeper than 24 levels"),
        ("{" * 200_000, "nested deeper than 24 levels"),
        ("- a\n" * 100_000, "more than 20000 values"),
        ("a" * ((1 << 20) + 1), "more than 1048576; split the cloud"),
        (
            "a: &a [x,x,x,x,x,x,x,x,x,x]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a,*a,*a]\n"
            "c: &c [*b,*b,*b,*b,*b,*b,*b,*b,*b,*b]\nd: &d [*c,*c,*c,*c,*c,*c,*c,*c,*c,*c]\n"
            "e: [*d,*d,*d,*d,*d,*d,*d,*d,*d,*d]",
            "more than 20000 values",
        ),
        ("a: &a 1\nb: [" + "*a," * 300 + "]", "more than 200 aliases"),
    ],
    ids=["flow", "maps", "wide", "long", "laughs", "aliases"],
)
@pytest.mark.timeout(20)
def test_no_file_costs_more_than_its_size(text: str, message: str):
    """Depth, width, length and aliases end early."""
    assert message in told(text)


def places(text: str) -> list[str]:
    """Where the faults of a text are; anything but InvalidCloud is a mistake of ours."""
    try:
        load_text(text, "c.yaml")
    except InvalidCloud as error:
        return [problem.where for problem in error.problems] or ["nowhere"]
    return []


@given(st.text(alphabet=st.sampled_from("abc:-[]{}&*!|>'\"%#\n\t ,?~01.\x00\u2028\ud800@`"), max_size=60))
def test_no_text_does_anything_but_load_or_be_refused(text: str):
    """Only InvalidCloud comes out of a reading, always with a place."""
    assert all(where.startswith("c.yaml:") for where in places(text))


@given(st.data())
def test_a_good_file_with_one_character_changed_is_good_or_told(data: st.DataObject):
    """As above, near the real thing."""
    at = data.draw(st.integers(0, len(GOOD) - 1))
    letter = data.draw(st.sampled_from("x0:[]{}&*!'\n ,-\x07é"))
    assert all(where.startswith("c.yaml:") for where in places(GOOD[:at] + letter + GOOD[at + 1 :]))
