"""Commands that look at a cloud or change it: status, models, replicas, keys, apply, check, explain, events, doctor."""

import json
import stat
from urllib.parse import quote

import pytest

from headrace.cli.local import running
from headrace.settings import Settings
from tests.sdk.server import Answer
from tests.specs.files import GOOD

MODEL = {
    "name": "m", "version": "v1", "task": "chat", "engine": "llama_cpp", "state": "asleep", "fault": "", "note": "",
    "weight": 1, "wake_us": 900_000, "ready": 0, "min": 0, "max": 2, "in_flight": 0, "queued": 0,
    "context_tokens": 2048, "memory_bytes": 600 << 20,
}  # fmt: skip
STATUS = {
    "version": "0.1.0", "listen": "127.0.0.1:1", "revision": "abc", "up_since_us": 1, "models": [MODEL], "in_flight": 0,
    "queued": 0, "requests": 7, "gateways": [{}, {}], "replicas": [], "holds": [], "problems": [],
}  # fmt: skip


def test_status_shows_models_gateways_and_requests(cli, cloud):
    """At a glance; --json is the API's answer."""
    cloud.answers["GET /headrace/v1/status"] = Answer(STATUS)
    out = cli("status").out
    assert "2 gateways" in out
    assert "7 so far" in out
    assert "m@v1" in out
    assert "asleep" in out
    assert cli("status", "--json").json == STATUS | {"storage": []}


def test_status_shows_what_tenants_keep(cli, cloud):
    """Of their limits, by kind; who keeps nothing is not shown."""
    cloud.answers["GET /headrace/v1/status"] = Answer(STATUS)
    kept = {"tenant": "a", "used_bytes": 3 << 30, "limit_bytes": 20 << 30, "by": {"file": 2 << 30, "run": 1 << 30}}
    none = {"tenant": "b", "used_bytes": 0, "limit_bytes": 1, "by": {}}
    cloud.answers["GET /headrace/v1/storage"] = Answer({"object": "list", "data": [kept, none]})
    out = cli("status").out
    assert "tenant a keeps 3.0 GiB of 20.0 GiB: files 2.0 GiB, results of runs 1.0 GiB" in out
    assert "tenant b" not in out
    assert cli("status", "--json").json["storage"] == [kept, none]


def test_models_shows_what_each_takes(cli, cloud):
    """Task, engine, state, memory and how long it takes to wake."""
    cloud.answers["GET /headrace/v1/models"] = Answer({"models": [MODEL]})
    row = cli("models").out.splitlines()[1].split()
    assert [word for word in row if word in ("m@v1", "chat", "llama_cpp", "asleep", "2048", "900")] == [
        "m@v1", "chat", "llama_cpp", "asleep", "2048", "900",
    ]  # fmt: skip


def test_nothing_is_coloured_without_a_terminal(cli, cloud):
    """A log file has no escape codes."""
    cloud.answers["GET /headrace/v1/status"] = Answer(STATUS)
    assert "\x1b" not in cli("status").out


def test_a_key_is_made_with_its_limits(cli, cloud):
    """`key create --json` has the id and the key."""
    made = {"id": "abc", "key": "hr-abc-secret", "tenant": "default", "role": "user"}
    cloud.answers["POST /headrace/v1/keys"] = Answer(made)
    words = ["key", "create", "--name", "app", "--requests-per-minute", "60", "--model", "m", "--json"]
    assert cli(*words).json == made
    sent = cloud.heard[0].json
    assert (sent["name"], sent["requests_per_minute"], sent["models"]) == ("app", 60, ["m"])
    assert "hr-abc-secret" in cli("key", "create").out


def test_a_key_is_revoked_by_its_id(cli, cloud):
    """An id that is no path segment reaches no other route."""
    cloud.answers["DELETE /headrace/v1/keys/abc"] = Answer({"id": "abc"})
    assert cli("key", "revoke", "abc").out == "abc is revoked\n"
    assert cli("key", "revoke", "../keys").status == 4
    assert cloud.heard[1].path == "/headrace/v1/keys/..%2Fkeys"


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "cloud.yaml"
    path.write_text(GOOD)
    return str(path)


@pytest.fixture
def changing(cloud):
    seen = {"revision": "new", "before": "old", "applied": False, "diff": [{"text": "~ model m@v1  slots: 4 -> 8"}]}
    cloud.answers["POST /headrace/v1/apply"] = Answer(seen)
    return cloud


def test_apply_shows_the_difference_and_guards_what_it_was_shown(cli, changing, file):
    """First a dry run, then the change on condition that nothing moved in between."""
    done = cli("apply", file, "--yes")
    assert done.out.splitlines() == ["~ model m@v1  slots: 4 -> 8", "applied: catalog new"]
    first, second = changing.heard
    assert first.path.endswith("dry_run=true")
    assert second.path.endswith("dry_run=false")
    assert (first.body.decode(), second.headers["if-match"]) == (GOOD, "old")


def test_apply_says_where_the_file_lies(cli, changing, file, tmp_path, monkeypatch):
    """The controller stands elsewhere; relative sources are of the file's folder."""
    monkeypatch.chdir(tmp_path)
    cli("apply", "cloud.yaml", "--dry-run")
    assert f"?filename=cloud.yaml&folder={quote(str(tmp_path), safe='')}&" in changing.heard[0].path


def test_check_finds_relative_weights_beside_the_file(cli, tmp_path, monkeypatch):
    """Wherever the command is called."""
    (tmp_path / "here").mkdir()
    (tmp_path / "weights.gguf").write_bytes(b"GGUF")
    path = tmp_path / "here/cloud.yaml"
    path.write_text(GOOD.replace("package://weights/small.gguf", "../weights.gguf"))
    assert cli("check", str(path)).status == 0
    monkeypatch.chdir(tmp_path / "here")
    assert cli("check", "cloud.yaml").status == 0
    path.write_text(GOOD.replace("package://weights/small.gguf", "weights.gguf"))
    assert f"{tmp_path}/here/weights.gguf does not exist" in cli("check", "cloud.yaml").err


def test_apply_asks_nobody_who_is_not_there(cli, changing, file):
    """Without a terminal and without --yes nothing is changed."""
    done = cli("apply", file)
    assert done.status == 2
    assert "--yes" in done.err
    assert len(changing.heard) == 1


def test_apply_dry_changes_nothing(cli, changing, file):
    """One request, and its answer."""
    assert cli("apply", file, "--dry-run", "--json").json["applied"] is False
    assert len(changing.heard) == 1


def test_apply_of_a_file_that_is_not_there(cli, cloud):
    """Exit 4, and nobody is asked."""
    assert cli("apply", "nowhere.yaml").status == 4
    assert cloud.heard == []


def test_check_tells_every_fault_for_people_and_programs(cli, tmp_path):
    """Exit 3; file:line:col each."""
    path = tmp_path / "cloud.yaml"
    path.write_text(GOOD.replace("slots: 4", "slot: 4").replace("600MiB", "lots"))
    done = cli("check", str(path))
    assert done.status == 3
    assert f"{path}:8:31 models.small.engine.slot: unknown key 'slot'; did you mean slots?" in done.err
    found = cli("check", str(path), "--json").json
    assert [problem["path"] for problem in found["problems"]] == ["models.small.engine.slot", "models.small.memory"]


def test_check_warns_of_what_will_never_happen(cli, tmp_path):
    """No fault: exit 0. Told where the file does not fit this machine, too."""
    path = tmp_path / "cloud.yaml"
    (tmp_path / "weights.gguf").write_bytes(b"GGUF")
    single = GOOD.replace("package://weights/small.gguf", "weights.gguf").replace("min: 0, max: 2", "max: 1")
    path.write_text(single.replace("    memory:", "    hedge: true\n    memory:"))
    done = cli("check", str(path))
    assert (done.status, done.err) == (
        0, f"warning: {path}: small@v1: hedge is never done: it takes two replicas, and max is 1; raise scaling.max, or "
        "remove it\n",
    )  # fmt: skip
    (warning,) = cli("check", str(path), "--json").json["warnings"]
    path.write_text(path.read_text().replace("600MiB", "6000GiB").replace("8GiB", "9000GiB"))
    unfit = cli("check", str(path), "--json")
    assert (unfit.status, unfit.json["ok"], unfit.json["warnings"]) == (3, False, [warning])


def test_apply_warns_before_it_asks(cli, changing, file):
    """Of what the cloud says will never happen."""
    changing.answers["POST /headrace/v1/apply"].body["warnings"] = ["small@v1: never"]
    assert f"warning: {file}: small@v1: never" in cli("apply", file, "--dry-run").err


def test_check_of_what_is_no_text(cli, tmp_path):
    """Exit 3 for bytes that are not UTF-8; exit 1 for a folder."""
    path = tmp_path / "cloud.yaml"
    path.write_bytes(b"version: \xff")
    assert cli("check", str(path)).status == 3
    assert cli("check", str(tmp_path)).status == 1


def test_check_tells_what_does_not_fit_this_machine(cli, tmp_path):
    """Exit 3, with need and limit."""
    path = tmp_path / "cloud.yaml"
    path.write_text(GOOD.replace("memory: 8GiB", "memory: auto").replace("600MiB", "4096TiB"))
    done = cli("check", str(path))
    assert done.status == 3
    assert "small@v1: needs " in done.err


def test_explain_shows_the_apis_words(cli, cloud):
    """The same lines in every client."""
    cloud.answers["GET /headrace/v1/explain/last"] = Answer({"id": "req_1", "text": ["went to m-v1-1", "waited 0 ms"]})
    assert cli("explain").out.splitlines() == ["req_1", "  went to m-v1-1", "  waited 0 ms"]


def test_events_are_told_oldest_first(cli, cloud):
    """The API gives the newest first."""
    event = {"at_us": 1_000_000, "kind": "replica.start", "subject": "m-v1-1", "reason": "a request waits"}
    cloud.answers["GET /headrace/v1/events"] = Answer({"events": [{**event, "reason": "second"}, event]})
    lines = cli("events", "--subject", "m v1&x=1").out.splitlines()
    assert [line.rpartition("  ")[2] for line in lines] == ["a request waits", "second"]
    assert cloud.heard[0].path == "/headrace/v1/events?limit=20&subject=m%20v1%26x%3D1"


def test_logs_shows_the_last_lines(cli, cloud):
    """As many as asked."""
    cloud.answers["GET /headrace/v1/replicas/m-1/logs"] = Answer({"id": "m-1", "lines": ["a", "b"]})
    assert cli("logs", "m-1", "--tail", "2").out == "a\nb\n"
    assert cloud.heard[0].path.endswith("?tail=2")


def test_doctor_finds_a_home_others_can_read(cli, home):
    """Exit 1, with the command that mends it."""
    home.mkdir(mode=0o755)
    home.chmod(0o755)
    done = cli("doctor", "--json")
    (finding,) = [found for found in done.json["findings"] if found["what"] == "home"]
    assert (done.status, finding["ok"]) == (1, False)
    assert f"chmod 700 {home}" in finding["says"]


def test_doctor_looks_at_everything(cli):
    """A name a finding."""
    found = {finding["what"] for finding in cli("doctor", "--json").json["findings"]}
    assert {"python", "sqlite", "disk", "home", "port", "sandbox", "models"} <= found


def doctor_on(cli, what: str):
    return [(one["ok"], one["says"]) for one in cli("doctor", "--json").json["findings"] if one["what"] == what]


def test_doctor_says_how_far_replicas_are_confined(cli, monkeypatch):
    """An old kernel is told of, and is no fault."""
    monkeypatch.setattr("headrace.substrates.landlock.abi", lambda: 7)
    assert doctor_on(cli, "sandbox") == [(True, "replicas are kept from: files, TCP, signals")]
    monkeypatch.setattr("headrace.substrates.landlock.abi", lambda: 0)
    ((good, says),) = doctor_on(cli, "sandbox")
    assert good
    assert says.startswith("replicas are kept from: none; a kernel with Landlock")


def test_doctor_looks_into_the_database(cli, home):
    """None yet, a good one, one whose totals are not the sum of its rows, one that is none; it goes on to the rest."""
    import apsw

    from headrace.stores.sqlite import SqliteStore

    here = Settings(home=home)
    assert doctor_on(cli, "database") == []
    home.mkdir(mode=0o700)
    SqliteStore(here.database).close()
    assert doctor_on(cli, "database") == [(True, f"{here.database} is whole")]
    db = apsw.Connection(str(here.database))
    db.execute("INSERT INTO usage_total VALUES ('t', 'm', 'finished', 7, 1, 0, 1)")
    db.close()
    ((good, says),) = doctor_on(cli, "database")
    assert not good
    assert "is not the sum of its rows; fix: headrace down" in says
    here.database.write_bytes(b"nothing of SQLite's" * 400)
    done = cli("doctor", "--json")
    says = {one["what"]: one["says"] for one in done.json["findings"]}
    assert done.status == 1
    assert "is damaged" in says["database"]
    assert says["models"].startswith("prepared: ")


def test_config_prints_the_schema_and_the_default(cli):
    """Both can be used as files."""
    assert json.loads(cli("config", "schema").out)["$defs"]["Model"]
    assert cli("config", "default").out.startswith("# The cloud that runs when none is given")


def test_down_without_a_cloud(cli):
    """Exit 6."""
    assert cli("down").status == 6


def test_up_checks_the_file_before_it_makes_anything(cli, home, tmp_path):
    """A broken file leaves no home behind."""
    path = tmp_path / "cloud.yaml"
    path.write_text("version: 2")
    assert cli("up", str(path), "--listen", "127.0.0.1:0").status == 1
    assert cli("up", str(path), "--listen", "127.0.0.1:18123").status == 3
    assert not home.exists()


def test_up_refuses_an_address_that_is_taken(cli, home, cloud):
    """Exit 1, with the option that helps; nothing is made."""
    done = cli("up", "--listen", cloud.url.removeprefix("http://"))
    assert done.status == 1
    assert "--listen HOST:PORT" in done.err
    assert not home.exists()


def test_a_pid_file_of_something_else_is_not_a_cloud(tmp_path):
    """A number that was used again by another program is never taken for ours."""
    import os

    here = Settings(home=tmp_path)
    here.run.mkdir(mode=stat.S_IRWXU)
    for text in (str(os.getpid()), "1", "x", "", "99999999"):
        (here.run / "host.pid").write_text(text)
        assert running(here) is None


def test_a_model_is_woken_for_what_will_come(cli, cloud):
    """So many requests, by when."""
    cloud.answers["POST /headrace/v1/expect"] = Answer({"model": "m", "requests": 4, "within_s": 90})
    done = cli("model", "warm", "m", "--requests", "4", "--within", "90s")
    assert (done.status, done.out) == (0, "m is kept awake for 4 requests within 90s\n")
    assert cloud.heard[0].json == {"model": "m", "requests": 4, "within_s": 90}
    assert "like 800ms" in cli("model", "warm", "m", "--within", "soon").err
