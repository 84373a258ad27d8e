"""Kill -9 of any process at any step of a pipeline, again and again: `python bench/soak_pipelines.py [--times 50]`.

A real cloud with the default models. Each round starts a run, kills one process of one kind when a chosen number of
steps are done (kind and number go round, so that all pairs come), and waits for the end. A round is right when the run
finished with the steps it should have, no step that was finished was asked again, and its receipt lies within what the
gateways' records say. At the end the books must balance."""

import argparse
import os
import signal
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from tests.conftest import ARTIFACTS, make  # noqa: E402 - found by the path above
from tests.e2e.cloud import Cloud, running  # noqa: E402 - as above

ROLES = ("pipelines", "gateway", "engine", "controller")
TEXT = (ROOT / "bench" / "data" / "soak.yaml").read_text()
STEPS = 15  # finished steps of a whole run


def charged(cloud: Cloud, run: str) -> int:
    """What the gateways' records say of a run's calls."""
    return sum(row["charge_nanousd"] for row in cloud.get(f"/headrace/v1/usage?label={run}/&limit=1000")["usage"])


def one(cloud: Cloud, role: str, after: int, words: str) -> str:
    """One round; what was wrong, empty when nothing was."""
    run = cloud.post("/headrace/v1/runs", {"text": TEXT, "inputs": {"words": words}})["id"]
    at = f"/headrace/v1/runs/{run}"
    cloud.until(lambda: (s := cloud.get(at))["steps"] >= after or s["phase"] != "running", 240, "its steps")
    before = cloud.get(at)
    for pid in cloud.pids(role)[:1]:
        os.kill(pid, signal.SIGKILL)
    found = cloud.until(lambda: (s := cloud.get(at))["phase"] != "running" and s, 300, "the run to end")
    if found["phase"] != "finished":
        return f"{run} {found['phase']}: {found['error']}"
    if sorted(found["done"]) != sorted(set(found["done"])) or found["steps"] != STEPS:
        return f"{run} has {found['steps']} steps: {found['done']}"
    if not set(before["done"]) <= set(found["done"]):
        return f"{run} lost a finished step"
    cost, finished = found["cost"], Counter(span["step"] for span in found["spans"] if span["outcome"] == "finished")
    if again := [step for step, times in finished.items() if times > 1]:
        return f"{run} was charged twice for {again}"
    for _ in range(50):
        booked = cloud.until(
            lambda: charged(cloud, run) or 1, 60, "the controller to be there"
        )  # it may have been killed
        if cost["spent_nanousd"] <= booked <= cost["spent_nanousd"] + cost["lost_nanousd"]:
            return ""
        time.sleep(0.1)
    return (
        f"{run}: the receipt says {cost['spent_nanousd']} and at most {cost['lost_nanousd']} more, the books {booked}"
    )


def main() -> None:
    words = argparse.ArgumentParser(description=__doc__)
    words.add_argument("--times", type=int, default=50)
    times = words.parse_args().times
    for name in ("smollm2", "minilm", "minilm-rerank"):
        make(name)
    wrong, killed = [], Counter[str]()
    with tempfile.TemporaryDirectory() as folder, running(Path(folder) / "home", artifacts=ARTIFACTS) as cloud:
        cloud.until(lambda: cloud.get("/headrace/v1/runs"), what="the runner to be there")
        for number in range(times):
            role, after = ROLES[number % len(ROLES)], (number // len(ROLES)) % STEPS
            said = one(cloud, role, after, f"the {number}. fox jumps")
            killed[role] += 1
            print(f"{number + 1:3}/{times} {role:10} after {after:2} steps: {said or 'right'}", flush=True)
            if said:
                wrong.append(said)
        verified = cloud.run("cost", "verify", check=False)
        print(verified.stdout.strip())
    print(f"{times - len(wrong)} of {times} runs right; killed: {dict(killed)}")
    sys.exit(bool(wrong) or verified.returncode)


if __name__ == "__main__":
    main()
