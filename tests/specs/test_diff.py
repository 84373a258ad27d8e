"""What changes between two catalogs, in words."""

from headrace.specs.diff import diff
from tests.specs.files import GOOD, catalog, changed


def lines(new: str) -> list[str]:
    return [change.text for change in diff(catalog(), catalog(new))]


def test_equal_catalogs_have_no_difference():
    """Also when the file looks different."""
    assert lines(GOOD + "# a comment\n") == []


def test_a_changed_field_is_told_as_people_write_it():
    """Names and units of the file; replicas are replaced only for what they depend on."""
    assert lines(changed("max: 2", "max: 3, idle_to_zero: never")) == [
        "~ model small@v1  scaling.max: 2 -> 3",
        "~ model small@v1  scaling.idle_to_zero: 5 min -> never",
    ]
    assert lines(changed("slots: 4", "slots: 8")) == [
        "~ model small@v1  engine.slots: 4 -> 8  (its replicas are replaced)"
    ]
    assert lines(changed("0.08", "0.1")) == ["~ pool local  price_per_hour: 0.08 -> 0.1"]


def test_a_changed_budget_is_told_in_words():
    """Of a model as of a tenant; replicas stay."""
    assert lines(changed("scaling:", "budget: {day: 2.50, total: 100, at_limit: notify}\n    scaling:")) == [
        "~ model small@v1  budget: none -> $2.5 a day, then notify, $100 in total, then notify"
    ]
    assert lines(changed("{models: [small]}", "{models: [small], budget: {month: 40}}")) == [
        "~ tenant default  budget: none -> $40 a month, then refuse"
    ]


def test_what_comes_and_goes_is_told_whole():
    """One line each, with what it is."""
    other = GOOD.replace("small", "large")
    assert lines(other) == [
        "+ model large@v1  chat on llama_cpp, 0..2 replicas, 600 MiB each",
        "- model small@v1  chat on llama_cpp, 0..2 replicas, 600 MiB each",
        "~ tenant default  models: small -> large",
    ]


def test_a_change_has_parts_for_programs():
    """Kind, thing, field, before, after."""
    (change,) = diff(catalog(), catalog(changed("max: 2", "max: 3")))
    assert (change.change, change.what, change.field) == ("change", "model small@v1", "scaling.max")
    assert (change.before, change.after) == ("2", "3")
