"""Templates: strict, typed, bounded, and in a sandbox."""

import pytest

from headrace.errors import Invalid
from headrace.pipelines.templates import names, render


def test_one_expression_keeps_its_type():
    assert render("{{ a }}", {"a": [1, 2]}, "s") == [1, 2]
    assert render("n {{ a | length }}", {"a": [1, 2]}, "s") == "n 2"


@pytest.mark.parametrize(
    "text",
    [
        "x {{ missing }}",
        "{{ missing }}",
        "{{ 'a' * 1000000000 }}",
        "{{ 9 ** 9 ** 9 }}",
        "{{ range(100000000) }}",
        "{{ ''.__class__.__mro__ }}",
        "x {{ a.__init__.__globals__ }}",
        "{{ 1 / 0 }}",
        "x {% for i in range(1000) %}{% for j in range(1000) %}xxxxxxxxxxxx{% endfor %}{% endfor %}",
    ],
)
def test_what_is_not_there_or_too_much_is_refused_with_its_step(text: str):
    with pytest.raises(Invalid, match="step s"):
        render(text, {"a": 1}, "s")


def test_three_loops_one_in_another_are_refused():
    text = "{% for a in x %}" * 3 + "{% endfor %}" * 3
    with pytest.raises(Invalid, match="loops"):
        names(text, "s")
