"""Stages that are still to come are announced by what the file says, and taken back when the run fails."""

import pytest

from headrace.errors import Invalid
from headrace.pipelines import graph
from headrace.pipelines.ahead import later
from headrace.specs import pipeline as spec
from tests.pipelines.test_runner import fresh, go
from tests.pipelines.world import Model

TEXT = """
name: stages
input: {topic: x}
limits: {width: 3}
steps:
  plan: {chat: writer, prompt: "{{ topic }}"}
  draft: {chat: writer, prompt: "{{ item }}", each: "{{ range(9) | list }}", when: "{{ plan }}"}
  rank: {rerank: judge, query: "{{ topic }}", documents: "{{ draft }}"}
  tell: {chat: "{{ topic }}", prompt: "{{ rank }}"}
output: "{{ tell }}"
"""


def test_what_waits_for_other_steps_is_announced():
    """As many calls as are made at once; the first stage is asked right away, a template names no model yet."""
    found = spec.read(TEXT)
    assert later(found, graph.needs(found)) == {"writer": 3, "judge": 1}


def test_a_run_that_fails_takes_its_announcements_back():
    """One that goes well has used them up."""
    text = 'name: two\nsteps:\n  a: {chat: m, prompt: hi}\n  b: {chat: n, prompt: "%s"}\noutput: "{{ b }}"\n'
    model = Model()
    go(fresh(text=text % "{{ a }}"), model)
    assert model.expected == [("n", 1)]
    model = Model()
    with pytest.raises(Invalid, match="step b"):
        go(fresh(text=text % "{{ a.nothing.there }}"), model)
    assert model.expected == [("n", 1), ("n", 0)]
