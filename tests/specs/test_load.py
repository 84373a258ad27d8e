"""The cloud file to the catalog: what it stands for, and what is told when it cannot."""

from pathlib import Path

import pytest

from headrace.errors import Invalid
from headrace.specs.load import load_text
from headrace.specs.problem import InvalidCloud
from tests.specs.files import GOOD, MACHINE, catalog, changed, only, problems

ROOT = Path(__file__).parents[2]
DEFAULT = ROOT / "src" / "headrace" / "specs" / "default.yaml"


def test_literals_become_integers():
    """Durations are microseconds, sizes bytes, dollars nano-dollars."""
    (model,), (pool,) = catalog().models, catalog().pools
    assert (model.memory_bytes, model.scaling.idle_to_zero_us) == (600 << 20, 300_000_000)
    assert (pool.memory_bytes, pool.price_nanousd_per_hour) == (8 << 30, 80_000_000)


def test_money_is_read_as_written():
    """0.1 is a tenth, not the binary fraction next to it."""
    assert catalog(changed("0.08", "0.100000001")).pools[0].price_nanousd_per_hour == 100_000_001


def test_a_price_left_out_is_unknown_and_not_zero():
    """None and 0 are different facts."""
    priced = changed("    memory: 600MiB\n", "    memory: 600MiB\n    price: {requests: 1}\n")
    assert catalog(priced.replace(", price_per_hour: 0.08", "")).pools[0].price_nanousd_per_hour is None
    assert catalog(priced.replace("0.08", "0")).pools[0].price_nanousd_per_hour == 0


def test_auto_stands_for_the_machine_given():
    """`auto` is resolved from the argument; without one it is a fault that says so."""
    text = changed("memory: 8GiB, cpus: 2", "memory: auto, cpus: auto")
    (pool,) = load_text(text, "c", (123 << 20, 7)).pools
    assert (pool.memory_bytes, pool.cpus) == (123 << 20, 7)
    with pytest.raises(InvalidCloud, match="auto stands for a machine, and none is known here; write the memory"):
        load_text(text, "c")


def test_without_versions_there_is_one_called_v1():
    """And without tenants one called default, who may use all."""
    wanted = catalog(GOOD[: GOOD.index("tenants:")])
    assert [model.key for model in wanted.models] == ["small@v1"]
    assert [(tenant.name, tenant.models) for tenant in wanted.tenants] == [("default", ("*",))]


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("small.gguf", "/srv/cloud/small.gguf"),
        ("./w/small.gguf", "/srv/cloud/w/small.gguf"),
        ("../w/small.gguf", "/srv/w/small.gguf"),
        ("../../../../small.gguf", "/small.gguf"),
        ("/w/small.gguf", "/w/small.gguf"),
        ("file:///w/small.gguf", "file:///w/small.gguf"),
        ("hf://org/name", "hf://org/name"),
    ],
)
def test_a_relative_source_is_of_the_files_folder(written: str, meant: str):
    """Of a version's own source as well."""
    text = changed("package://weights/small.gguf", written)
    assert load_text(text, "c", MACHINE, "/srv/cloud").models[0].source == meant
    text = changed("\ntenants:", f"\n    versions:\n      v1: {{source: {written}}}\ntenants:")
    assert load_text(text, "c", MACHINE, "/srv/cloud").models[0].source == meant


@pytest.mark.parametrize("source", ["~/small.gguf", "packages:weights/small.gguf", "file://small.gguf", "C:small"])
def test_what_looks_like_an_address_is_no_relative_path(source: str):
    """A slip of the pen is told, not looked for in the folder."""
    with pytest.raises(InvalidCloud, match=r"file:///PATH or PATH"):
        load_text(changed("package://weights/small.gguf", source), "c", MACHINE, "/srv/cloud")


def test_a_version_replaces_only_what_it_says():
    """The engine's other fields come from the model, unless the kind is another."""
    versions = """
    price: {input_tokens: 1, output_tokens: 2}
    versions:
      v1: {weight: 90}
      v2: {weight: 10, source: package://weights/next.gguf, engine: {threads: 3}}
      v3: {weight: 1, engine: {kind: openai, url: "http://127.0.0.1:1"}}
tenants:"""
    v1, v2, v3 = catalog(changed("\ntenants:", versions)).models
    assert (v1.source, v1.engine.slots, v1.engine.threads, v1.weight) == ("package://weights/small.gguf", 4, 1, 90)
    assert (v2.source, v2.engine.slots, v2.engine.threads, v2.weight) == ("package://weights/next.gguf", 4, 3, 10)
    assert (v3.engine.kind, v3.engine.slots) == ("openai", 8)
    assert not v3.owned


def test_an_existing_server_needs_an_address_and_a_price():
    """`engine.url` is its source; no memory, since it takes none of ours; what it costs nobody but you knows."""
    text = changed("    source: package://weights/small.gguf\n", "    price: {requests: 0.001}\n")
    text = text.replace("    memory: 600MiB\n", "")
    text = text.replace("{kind: llama_cpp, slots: 4}", "{kind: openai, url: 'http://127.0.0.1:8000', api_key: 'env:K'}")
    (model,) = catalog(text).models
    assert (model.source, model.engine.url, model.engine.api_key) == ("http://127.0.0.1:8000",) * 2 + ("env:K",)
    assert model.memory_bytes == 0


@pytest.mark.parametrize("weight", [0, 101, 1.5, "'3'"])
def test_a_tenants_weight_is_a_whole_number_of_1_to_100(weight: object):
    """1 when left out."""
    tenant = changed("{models: [small]}", f"{{weight: {weight}}}")
    assert "tenants.default.weight" in only(tenant)
    assert catalog(changed("{models: [small]}", "{weight: 100}")).tenants[0].weight == 100
    assert catalog().tenants[0].weight == 1


def test_the_order_in_the_file_does_not_change_the_revision():
    """Equal wishes have equal revisions, comments and aliases aside."""
    one = "  a: &m {task: embed, source: package://x/y, engine: {kind: onnx}, memory: 1GiB}\n"
    head = "version: 1\npools: {local: {accelerator: cpu, memory: 8GiB, cpus: 2, price_per_hour: 1}}\nmodels:\n"
    two = one.replace("a: &m", "b:")
    assert catalog(head + one + two).revision == catalog(head + "  # turned\n" + two + one).revision
    assert catalog(head + one + "  b: *m\n").revision == catalog(head + one + two).revision


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("version: 1", "version: 2", "cloud.yaml:1:10 version: is '2'; give 1"),
        (
            "slots: 4",
            "slot: 4",
            "cloud.yaml:8:31 models.small.engine.slot: unknown key 'slot'; did you mean slots?",
        ),
        ("slots: 4", "slots: 0", "cloud.yaml:8:38 models.small.engine.slots: is 0; give at least 1"),
        ("slots: 4", "slots: 4.5", "cloud.yaml:8:38 models.small.engine.slots: needs a whole number, got '4.5'"),
        ("slots: 4", "slots: true", "cloud.yaml:8:38 models.small.engine.slots: needs a whole number, got 'true'"),
        (
            "task: chat",
            "task: chta",
            "cloud.yaml:6:11 models.small.task: is 'chta'; give one of chat, embed, image, rerank, speak, transcribe, upscale, video; did you mean chat?",
        ),
        (
            "600MiB",
            "lots",
            "cloud.yaml:9:13 models.small.memory: 'lots' is not a size; write it like 512MiB, 4GiB or 80GB",
        ),
        (
            "max: 2",
            "max: 2, idle_to_zero: 5",
            "cloud.yaml:10:45 models.small.scaling.idle_to_zero: '5' is not a duration; "
            "write it like 800ms, 30s, 5m or 2h, or auto or never",
        ),
        (
            "0.08",
            "-1",
            "cloud.yaml:3:68 pools.local.price_per_hour: is '-1'; write dollars like 2.10, at most 9 decimals, "
            "at most 1000000",
        ),
        ("min: 0", "min: 3", "cloud.yaml:10:20 models.small.scaling.min: is 3, more than max 2; give at most that"),
        (
            "[small]",
            "[smal]",
            "cloud.yaml:12:22 tenants.default.models[0]: no model is called 'smal'; did you mean small?",
        ),
        (
            "memory: 600MiB",
            "memory: 600MiB\n    placement: [locl]",
            "cloud.yaml:10:17 models.small.placement[0]: no pool is called 'locl'; did you mean local?",
        ),
        (
            "task: chat",
            "task: embed",
            "cloud.yaml:8:20 models.small.engine.kind: llama_cpp does not do embed; give one of onnx, openai, vllm",
        ),
        ("    memory: 600MiB\n", "", "cloud.yaml:6:5 models.small: memory is missing; say what one replica takes, like 600MiB"),
        (
            "package://weights/small.gguf",
            "small.gguf",
            "cloud.yaml:7:13 models.small.source: is 'small.gguf', and from where is not known here; "
            "write package://..., or /PATH",
        ),
        (
            "package://weights/small.gguf",
            "package://weights/../../etc/passwd",
            "cloud.yaml:7:13 models.small.source: is 'package://weights/../../etc/passwd'; write "
            "package://PACKAGE/PATH, hf://ORG/NAME[@REVISION], file:///PATH or PATH",
        ),
        (
            "  small:",
            "  Small!:",
            "cloud.yaml:5:3 models.Small!: is 'Small!'; use small letters, digits, dot, dash and underscore, "
            "beginning with a letter or digit",
        ),
        ("slots: 4", "url: http://x", "cloud.yaml:8:36 models.small.engine.url: is for kind openai, and this is llama_cpp; remove it"),
        (
            "accelerator: cpu, memory: 8GiB",
            "accelerator: nvidia-l4, memory: auto",
            "cloud.yaml:3:43 pools.local.memory: auto is for cpu pools; write the memory of one nvidia-l4, like 80GB",
        ),
    ],
)  # fmt: skip
def test_a_fault_is_told_with_place_path_value_and_fix(old: str, new: str, told: str):
    """file:line:col, the path, the value, and what to write instead."""
    assert only(changed(old, new)) == told


@pytest.mark.parametrize(
    ("wanted", "told"),
    [
        ("small", "is the model itself; name another one, or one of its versions"),
        ("small@v7", "there is no version 'v7' of small; there are small@v1"),
        ("big@v1", "no model is called 'big'"),
        ("Small@", "write NAME or NAME@VERSION"),
    ],
)
def test_who_cannot_stand_in_is_told(wanted: str, told: str):
    assert told in only(changed("    task: chat\n", f'    task: chat\n    fallback: ["{wanted}"]\n'))


def test_a_version_of_the_model_itself_may_stand_in():
    assert problems(changed("    task: chat\n", "    task: chat\n    fallback: [small@v1]\n")) == []


def test_all_faults_are_told_at_once_in_the_order_of_the_file():
    """One reading is enough."""
    text = GOOD.replace("slots: 4", "slots: 0").replace("600MiB", "lots").replace("accelerator", "acelerator")
    assert [problem.path for problem in problems(text)] == [
        "pools.local",
        "pools.local.acelerator",
        "models.small.engine.slots",
        "models.small.memory",
    ]


def test_what_may_be_a_secret_is_not_repeated():
    """A key written where a reference belongs appears in no message."""
    text = changed("models: [small]", "models: [small], keys: [hr-abc-secret]")
    with pytest.raises(InvalidCloud) as told:
        catalog(text)
    assert "secret" not in str(told.value).replace("where the secret is found", "").replace("never the secret", "")
    assert "env:NAME or file:/absolute/path" in str(told.value)


def test_golden_questions_fit_their_task():
    """A chat model expects a text; embeddings compare two."""
    chat = changed("memory: 600MiB", "memory: 600MiB\n    golden: {prompt: hi}")
    assert only(chat).endswith("expect is missing; say what a sound model's answer has, for chat: a text it contains")


def test_a_fault_is_an_error_of_the_house():
    """Callers see errors.Invalid with a code and a status."""
    with pytest.raises(Invalid) as told:
        catalog("version: 1")
    assert (told.value.code, told.value.status) == ("invalid_cloud_file", 422)


def test_the_default_cloud_is_good():
    """It has the models the README promises, all asleep, on one CPU pool."""
    wanted = load_text(DEFAULT.read_text(), "default.yaml", MACHINE)
    assert wanted.names() == (
        "espeak",
        "film",
        "minilm-rerank",
        "minilm",
        "ocr",
        "painter",
        "smollm2",
        "upscaler",
        "whisper",
    )
    assert {model.version for model in wanted.models} == {"v1"}
    assert {model.scaling.min_replicas for model in wanted.models} == {0}
    assert [pool.accelerator for pool in wanted.pools] == ["cpu"]
    assert all(model.golden for model in wanted.models)


@pytest.mark.parametrize("file", sorted((ROOT / "examples").glob("*.yaml")), ids=lambda file: file.name)
def test_an_example_is_good(file: Path):
    """What the docs show can be used."""
    assert load_text(file.read_text(), file.name, MACHINE).models


def test_an_adapter_is_for_engines_that_take_one():
    """Its source is read as any other; another engine refuses it by name."""
    (model,) = catalog(changed("slots: 4", "slots: 4, lora: /adapters/a.gguf, lora_scale: 0.5")).models
    assert (model.engine.lora, model.engine.lora_scale) == ("/adapters/a.gguf", 0.5)
    told = only(changed("{kind: llama_cpp, slots: 4}", "{kind: openvino, lora: /adapters/a.gguf}"))
    assert "is for kinds llama_cpp and vllm, and this is openvino" in told
