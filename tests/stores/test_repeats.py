"""Answers that are kept: for a day, sealed, and given up when their gateway died."""

from pathlib import Path

from headrace.stores.repeats import KEPT_US, FileRepeats

PEPPER = bytes(range(32))
NOW = 1_800_000_000_000_000


def made(folder: Path, epoch: str = "e", living: tuple[str, ...] = ("e",)) -> FileRepeats:
    return FileRepeats(folder, PEPPER, epoch, lambda other: other in living)


def test_the_first_does_the_work_and_the_others_learn_of_it(tmp_path: Path):
    """At work, then done with its answer; dropped, it is anybody's again."""
    one, two = made(tmp_path), made(tmp_path, "f")
    assert one.begin("n", "d", "r1", NOW) is None
    known = two.begin("n", "d", "r2", NOW)
    assert known is not None
    assert (known.request, known.done) == ("r1", False)
    one.done("n", "d", "r1", NOW, b"answer")
    known = two.begin("n", "d", "r2", NOW)
    assert known is not None
    assert (known.done, known.body) == (True, b"answer")
    one.drop("n")
    assert two.begin("n", "d", "r2", NOW) is None


def test_what_a_dead_gateway_began_is_anybodys(tmp_path: Path):
    """Its answer, had there been one, would have been kept."""
    assert made(tmp_path, "dead").begin("n", "d", "r1", NOW) is None
    assert made(tmp_path, "e").begin("n", "d", "r2", NOW) is None


def test_a_day_later_it_is_forgotten(tmp_path: Path):
    """By whoever asks."""
    one = made(tmp_path)
    one.begin("n", "d", "r1", NOW)
    one.done("n", "d", "r1", NOW, b"answer")
    assert one.begin("n", "d", "r2", NOW + KEPT_US) is not None
    assert one.begin("n", "d", "r2", NOW + KEPT_US + 1) is None


def test_the_folder_tells_nothing(tmp_path: Path):
    """Neither the name nor the answer is to be read in it; a large answer is not kept at all."""
    one = made(tmp_path)
    one.begin("secret-name", "d", "r1", NOW)
    one.done("secret-name", "d", "r1", NOW, b"secret answer")
    (file,) = tmp_path.iterdir()
    assert b"secret" not in file.read_bytes()
    assert "secret" not in file.name
    one.done("secret-name", "d", "r1", NOW, b"x" * (257 << 10))
    known = one.begin("secret-name", "d", "r2", NOW)
    assert known is not None
    assert (known.done, known.body) == (True, None)


def test_a_large_answer_is_kept_for_who_will_have_it_until_they_have(tmp_path: Path):
    """In a file of its own that tells nothing; released, it is known that it was done, and no more."""
    one, body = made(tmp_path), b"secret " * (100 << 10)
    one.begin("n", "d", "r1", NOW)
    one.done("n", "d", "r1", NOW, body, large=True)
    known = made(tmp_path, "f").begin("n", "d", "r2", NOW)
    assert known is not None
    assert (known.done, known.body) == (True, body)
    assert not any(b"secret" in file.read_bytes() for file in tmp_path.iterdir())
    one.release("n")
    known = one.begin("n", "d", "r2", NOW)
    assert known is not None
    assert (known.done, known.body, len(list(tmp_path.iterdir()))) == (True, None, 1)
    one.release("n")  # again, or of what was small, is nothing


def test_a_large_answer_goes_with_its_day(tmp_path: Path):
    """Of who never came for it."""
    one = made(tmp_path)
    one.begin("n", "d", "r1", NOW)
    one.done("n", "d", "r1", NOW, b"x" * (300 << 10), large=True)
    assert one.begin("n", "d", "r2", NOW + KEPT_US + 1) is None
    assert [file.suffix for file in tmp_path.iterdir()] == [""]


def test_a_file_that_was_changed_opens_nothing(tmp_path: Path):
    """A seal of another name, or a broken one, is no answer."""
    one = made(tmp_path)
    for name in ("a", "b"):
        one.begin(name, "d", "r", NOW)
        one.done(name, "d", "r", NOW, b"of " + name.encode())
    (tmp_path / one._path("a").name).write_bytes(one._path("b").read_bytes())
    known = one.begin("a", "d", "r2", NOW)
    assert known is not None
    assert known.body is None
