"""Traces from files: each form by its heading, what is wrong with its line."""

import gzip
from pathlib import Path

import pytest

from headrace.errors import Invalid
from headrace.twin.load import load

AZURE_2023 = (
    "TIMESTAMP,ContextTokens,GeneratedTokens\n2023-11-16 18:17:03.9799600,4808,10\n2023-11-16 18:17:04.0319600,3180,8\n"
)
AZURE_2024 = (
    "TIMESTAMP,ContextTokens,GeneratedTokens\n2024-05-10 00:00:00.009930+00:00,2162,5\n2024-05-10 00:00:01+00:00,10,6\n"
)
BURSTGPT = (
    "Timestamp,Model,Request tokens,Response tokens,Total tokens,Log Type\n5,ChatGPT,472,18,490,Conversation log\n"
    "45,GPT-4,1087,0,1087,Conversation log\n118,GPT-4,417,276,693,Conversation log\n"
)
MOONCAKE = (
    '{"timestamp": 0, "input_length": 1500, "output_length": 500, "hash_ids": [0, 1, 2]}\n'
    '{"timestamp": 3000, "input_length": 1100, "output_length": 20, "hash_ids": [0, 1, 7]}\n'
    '{"timestamp": 3500, "input_length": 100, "output_length": 2, "hash_ids": [9]}\n'
)
OWN = "arrival_s,input_tokens,output_tokens,model,tenant,priority\n0.5,10,20,chat,a,batch\n0.25,30,40,draw,b,interactive\n"


def written(folder: Path, text: str, packed: bool = False) -> str:
    path = folder / "trace"
    path.write_bytes(gzip.compress(text.encode()) if packed else text.encode())
    return str(path)


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize(
    ("text", "arrival_us", "sizes"),
    [
        (AZURE_2023, [0, 52_000], [(4808, 10), (3180, 8)]),
        (AZURE_2024, [0, 990_070], [(2162, 5), (10, 6)]),
        (BURSTGPT, [0, 113_000_000], [(472, 18), (417, 276)]),
        (MOONCAKE, [0, 3_000_000, 3_500_000], [(1500, 500), (1100, 20), (100, 2)]),
        (OWN, [0, 250_000], [(30, 40), (10, 20)]),
    ],
)
def test_a_form_is_told_by_its_first_line(tmp_path, text, arrival_us, sizes, packed):
    trace = load(written(tmp_path, text, packed))
    assert trace.arrival_us.tolist() == arrival_us
    assert list(zip(trace.input_tokens.tolist(), trace.output_tokens.tolist(), strict=True)) == sizes


def test_names_and_classes_are_kept(tmp_path):
    """Sorted by arrival, which is told."""
    trace = load(written(tmp_path, OWN))
    assert [trace.models[place] for place in trace.model] == ["draw", "chat"]
    assert [trace.tenants[place] for place in trace.tenant] == ["b", "a"]
    assert trace.priority.tolist() == [0, 2]
    assert any("sorted" in note for note in trace.notes)
    assert any("without an answer" in note for note in load(written(tmp_path, BURSTGPT)).notes)


def test_a_shared_beginning_is_one_prefix(tmp_path):
    """Two requests share two blocks of 512 tokens, the third none."""
    trace = load(written(tmp_path, MOONCAKE))
    assert trace.prefix_tokens.tolist() == [1024, 1024, 0]
    assert trace.prefix[0] == trace.prefix[1] >= 0
    assert trace.prefix[2] == -1


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "no request"),
        ("a,b,c\n1,2,3\n", "no known trace"),
        (AZURE_2023 + "2023-11-16 18:17:05,-3,8\n", "ContextTokens is '-3'"),
        (AZURE_2023 + "2023-11-16 18:17:05,,8\n", "ContextTokens is missing"),
        (AZURE_2023 + "yesterday,3,8\n", "TIMESTAMP is 'yesterday'"),
        (AZURE_2023 + "2023-11-16 18:17:05,3\n", "2 fields"),
        (OWN + "1,1.5,2,a,b,batch\n", "input_tokens is '1.5'"),
        (OWN + "1,1,2,a,b,soon\n", "priority is 'soon'"),
        (MOONCAKE + '{"timestamp": 1}\n', "missing required field"),
        (MOONCAKE + '{"timestamp": -1, "input_length": 1, "output_length": 1}\n', "timestamp is -1, and must be"),
        (MOONCAKE + '{"timestamp": 1, "input_length": -7, "output_length": 1}\n', "input_length is -7, and must be"),
        (OWN.splitlines()[0] + ",model\n1,1,2,a,b,batch,c\n", "the column 'model' is there twice"),
        (OWN.replace(",", ";"), "but would be one with commas instead of semicolons"),
        (OWN.replace(",", "\t"), "but would be one with commas instead of tabs"),
        ('{"arrival_s": 1, "input_tokens": 2}\n', "mooncake: JSON lines"),
        (AZURE_2023.splitlines()[0] + "\n", "no request"),
    ],
)
def test_what_is_wrong_is_told_with_its_line(tmp_path, text, told):
    with pytest.raises(Invalid, match=told):
        load(written(tmp_path, text))


def test_text_that_is_no_utf_8_is_told(tmp_path):
    path = tmp_path / "trace"
    path.write_bytes("arrival_s,input_tokens,output_tokens\n1,2,3\n".encode("utf-16"))
    with pytest.raises(Invalid, match="or is no UTF-8"):
        load(str(path))


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(Invalid, match="no file") as error:
        load(str(tmp_path / "no"))
    assert error.value.status == 404
    with pytest.raises(Invalid, match="format is"):
        load(str(tmp_path / "no"), "excel")


def test_a_form_may_be_named(tmp_path):
    """Its columns are read then, and must be there."""
    both = "t_s,arrival_s,input_tokens,output_tokens\n0,5,1,1\n2,9,1,1\n"
    assert load(written(tmp_path, both)).arrival_us.tolist() == [0, 4_000_000]
    assert load(written(tmp_path, both), "plain").arrival_us.tolist() == [0, 2_000_000]
    with pytest.raises(Invalid, match="of no azure trace"):
        load(written(tmp_path, both), "azure")


def test_models_that_never_answered_are_not_named(tmp_path):
    assert load(written(tmp_path, BURSTGPT.replace("45,GPT-4", "45,GPT-5"))).models == ("ChatGPT", "GPT-4")


def test_absurd_sizes_are_refused_with_line_and_limit(tmp_path):
    with pytest.raises(
        Invalid, match="trace:4 ContextTokens is '16000001', and must be a whole number from 0 to 16000000"
    ):
        load(written(tmp_path, AZURE_2023 + "2023-11-16 18:17:05,16000001,8\n"))


@pytest.mark.parametrize("source", ["diurnal", "diurnal:hours=2", "diurnal,hours=2"])
def test_who_forgets_to_say_generate_is_told(source: str):
    """The words that would have done."""
    with pytest.raises(Invalid, match=r"did you mean generate:diurnal"):
        load(source)
