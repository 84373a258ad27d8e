"""Kill -9 of any process at any step of a pipeline, again and again:
`python bench/soak_pipelines.py [--times 50] [--pipeline poster]`.

A real cloud with the default models. Each round starts a run, kills one process when a chosen number of steps are done
and a moment more has passed (kinds of process, steps and moments go round, so that all pairs come), and waits for the
end. A round is right when the run finished with the steps and the output it should have, no step that was finished was
asked again, and its receipt lies within what the gateways' records say. At the end each receipt must be what the
records say to the nano-dollar, and the books must balance.

`soak` has every kind of step; `poster` is examples/pipelines/poster.py, whose pictures must be those of a run that
nobody disturbed, byte for byte. With `host` all processes die at once, and the cloud is started again."""

import argparse
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from tests.conftest import ARTIFACTS, make  # noqa: E402 - found by the path above
from tests.e2e.cloud import Cloud, running  # noqa: E402 - as above

ROLES = ("pipelines", "gateway", "engine", "controller", "host")
MOMENT_S = 0.4  # the most that passes between the chosen step and the kill
POSTERS = [(colour, shape) for colour in ("red", "green", "blue") for shape in ("circle", "square", "triangle")]
RUNS: list[str] = []  # that were killed at work and ended
Run = dict[str, Any]


@dataclass(frozen=True)
class Soak:
    """A pipeline, how many steps a whole run of it has, and the pictures it should make, by its inputs."""

    asked: dict[str, Any]
    steps: int
    expected: dict[str, Any]

    def inputs(self, number: int) -> dict[str, str]:
        """Those of one round."""
        if "text" in self.asked:
            return {"words": f"the {number}. fox jumps"}
        colour, shape = POSTERS[number % len(POSTERS)]
        return {"colour": colour, "shape": shape}

    def wrong(self, cloud: Cloud, found: Run) -> str:
        """What is off with the output of a run."""
        expected = self.expected.get(str(found["inputs"]))
        if expected is not None and made(cloud, found) != expected:
            return f"made {made(cloud, found)}, not {expected}"
        return "" if found["output"] else "has no output"


def soak(_cloud: Cloud) -> Soak:
    """Every kind of step."""
    return Soak({"text": (ROOT / "bench" / "data" / "soak.yaml").read_text()}, 15, {})


def poster(cloud: Cloud) -> Soak:
    """The example; each poster is made once undisturbed."""
    shutil.copy(ROOT / "examples" / "pipelines" / "poster.py", cloud.home / "pipelines" / "code" / "poster.py")
    undisturbed, expected = Soak({"pipeline": "poster"}, 9, {}), {}
    for number in range(len(POSTERS)):
        inputs = undisturbed.inputs(number)
        run = cloud.post("/headrace/v1/runs", {"pipeline": "poster", "inputs": inputs})["id"]
        found = ended(cloud, run)
        assert found["phase"] == "finished", found
        expected[str(found["inputs"])] = made(cloud, found)
    return Soak(undisturbed.asked, undisturbed.steps, expected)


def made(cloud: Cloud, found: Run) -> tuple[Any, dict[str, str]]:
    """The output of a run, and its pictures by their digests."""
    pictures = cloud.until(lambda: cloud.get(f"/headrace/v1/runs/{found['id']}/artifacts"), 60, "its pictures")["data"]
    return found["output"], {one["name"]: one["digest"] for one in pictures}


def come_to(cloud: Cloud, run: str, steps: int) -> Run:
    """The run when it has done so many steps, or has ended."""
    at = f"/headrace/v1/runs/{run}"
    found: Run = cloud.until(lambda: (s := cloud.get(at)) and (s["steps"] >= steps or s["phase"] != "running") and s,
                             240, "its steps")  # fmt: skip
    return found


def ended(cloud: Cloud, run: str) -> Run:
    """The run at its end."""
    at = f"/headrace/v1/runs/{run}"
    found: Run = cloud.until(lambda: (s := cloud.get(at))["phase"] != "running" and s, 300, "the run to end")
    return found


def charged(cloud: Cloud, run: str) -> int:
    """What the gateways' records say of a run's calls."""
    return sum(row["charge_nanousd"] for row in cloud.get(f"/headrace/v1/usage?label={run}/&limit=1000")["usage"])


def kill(cloud: Cloud, role: str) -> bool:
    """Kill one process of a kind; whether there was one. A cloud without its host is started again."""
    found = cloud.pids(role)
    for pid in random.sample(found, min(1, len(found))):
        os.kill(pid, signal.SIGKILL)
    if role == "host":
        cloud.until(lambda: not cloud.pids("gateway"), 60, "all to be gone")
        cloud.run("up", "--detach", "--listen", f"127.0.0.1:{cloud.port}", "--gateways", "2")
    return bool(found)


def one(cloud: Cloud, work: Soak, number: int, role: str, after: int) -> str:
    """One round; what was wrong, empty when nothing was."""
    asked, moment_s = {**work.asked, "inputs": work.inputs(number)}, MOMENT_S
    while True:  # until one is killed at work; what ends sooner does not count
        run = cloud.until(lambda: cloud.post("/headrace/v1/runs", asked), 60, "the run to begin")["id"]
        come_to(cloud, run, after)
        time.sleep(random.uniform(0, moment_s))
        before = come_to(cloud, run, after)
        if before["phase"] == "running" and kill(cloud, role):
            break
        moment_s *= 0.7
    found = ended(cloud, run)
    if found["phase"] != "finished":
        return f"{run} {found['phase']}: {found['error']}"
    if sorted(found["done"]) != sorted(set(found["done"])) or found["steps"] != work.steps:
        return f"{run} has {found['steps']} steps: {found['done']}"
    if not set(before["done"]) <= set(found["done"]):
        return f"{run} lost a finished step"
    if off := work.wrong(cloud, found):
        return f"{run} {off}"
    finished = Counter(span["step"] for span in found["spans"] if span["outcome"] == "finished")
    if again := [step for step, times in finished.items() if times > 1]:
        return f"{run} was charged twice for {again}"
    RUNS.append(run)
    return unbalanced(cloud, run)


def unsettled(cloud: Cloud) -> list[str]:
    """Receipts that do not come to what the records say, or still have what may have been lost."""
    found = []
    for run in RUNS:
        end = time.monotonic() + 60
        while True:
            booked, cost = charged(cloud, run), cloud.get(f"/headrace/v1/runs/{run}")["cost"]
            if (cost["spent_nanousd"], cost["lost_nanousd"]) == (booked, 0):
                break
            if time.monotonic() > end:
                found.append(f"{run}: spent {cost['spent_nanousd']}, lost {cost['lost_nanousd']}, booked {booked}")
                break
            time.sleep(0.2)
    return found


def unbalanced(cloud: Cloud, run: str) -> str:
    """Why a run's receipt does not fit the records; both may be a moment behind."""
    end = time.monotonic() + 60
    while True:
        booked, cost = cloud.until(
            lambda: (charged(cloud, run), cloud.get(f"/headrace/v1/runs/{run}")["cost"]), 60, "the controller"
        )
        if cost["spent_nanousd"] <= booked <= cost["spent_nanousd"] + cost["lost_nanousd"]:
            return ""
        if time.monotonic() > end:
            spent, lost = cost["spent_nanousd"], cost["lost_nanousd"]
            return f"{run}: the receipt says {spent} and at most {lost} more, the books {booked}"
        time.sleep(0.1)


def main() -> None:
    words = argparse.ArgumentParser(description=__doc__)
    words.add_argument("--times", type=int, default=50)
    words.add_argument("--pipeline", choices=["soak", "poster"], default="soak")
    words.add_argument("--seed", type=int, default=1)
    given = words.parse_args()
    random.seed(given.seed)
    for name in ("smollm2", "minilm", "minilm-rerank", "painter"):
        make(name)
    wrong, killed, spans = [], Counter[str](), []
    with tempfile.TemporaryDirectory() as folder, running(Path(folder) / "home", artifacts=ARTIFACTS) as cloud:
        cloud.until(lambda: cloud.get("/headrace/v1/runs"), what="the runner to be there")
        work = {"soak": soak, "poster": poster}[given.pipeline](cloud)
        for number in range(given.times):
            role, after = ROLES[number % len(ROLES)], (number // len(ROLES)) % work.steps
            began_s = time.monotonic()
            said = one(cloud, work, number, role, after)
            spans.append(time.monotonic() - began_s)
            killed[role] += 1
            shown = f"{number + 1:3}/{given.times} {role:10} after {after:2} steps, {spans[-1]:5.1f} s"
            print(f"{shown}: {said or 'right'}", flush=True)
            if said:
                wrong.append(said)
        late = unsettled(cloud)
        print(f"{len(RUNS) - len(late)} of {len(RUNS)} receipts are exact", *late, sep="\n")
        verified = cloud.run("cost", "verify", check=False)
        print(verified.stdout.strip())
    print(f"{given.times - len(wrong)} of {given.times} runs right; killed: {dict(killed)}")
    sys.exit(bool(wrong or late) or verified.returncode)


if __name__ == "__main__":
    main()
