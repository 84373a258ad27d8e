"""The only package that knows every adapter: each process of Headrace begins here.

`python -m headrace.assembly host|controller|gateway|pipelines|prepare|market|optimum` starts one process; the CLI calls
the functions below before anything runs. Imports stand inside the functions on purpose: a gateway must not carry the
controller's libraries, nor the host anybody's; an idle cloud is small because each process loads its own part alone.
"""

import argparse
import asyncio
import gc
import os
import sys
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from headrace import settings as process_settings
from headrace.assembly.clock import SystemClock
from headrace.assembly.home import private, stored_catalog
from headrace.errors import HeadraceError
from headrace.settings import Settings

if TYPE_CHECKING:
    from headrace.ports import Artifact, Engine, Objects
    from headrace.specs.catalog import Catalog, ModelSpec
    from headrace.state.fleet import Device


def engines() -> "Mapping[str, Engine]":
    """Every engine adapter by kind."""
    from headrace.engines.diffusers import Diffusers
    from headrace.engines.espeak import Espeak
    from headrace.engines.llama_cpp import LlamaCpp
    from headrace.engines.onnx import Onnx
    from headrace.engines.openai import OpenAIServer
    from headrace.engines.openvino import OpenVino
    from headrace.engines.painter import PainterEngine
    from headrace.engines.rapidocr import RapidOcr
    from headrace.engines.realesrgan import RealEsrgan
    from headrace.engines.sherpa import Sherpa
    from headrace.engines.vllm import Vllm
    from headrace.engines.whisper import Whisper

    texts: tuple[Engine, ...] = (LlamaCpp(), Onnx(), OpenAIServer(), OpenVino(), Vllm())
    media: tuple[Engine, ...] = (PainterEngine(), RealEsrgan(), RapidOcr(), Whisper(), Espeak(), Sherpa())
    return {engine.kind: engine for engine in (*texts, *media, Diffusers())}


def engine_problems(catalog: "Catalog") -> list[str]:
    """Why models of the catalog cannot run with their engines here; starts nothing."""
    known = engines()
    return [
        f"{model.key}: {problem}" for model in catalog.models for problem in known[model.engine.kind].problems(model)
    ]


def devices() -> "list[Device]":
    """The devices of this machine as the local substrate sees them."""
    from headrace.substrates.devices import devices as seen

    return seen()


def sandbox_level() -> str:
    """What holds a replica on this machine besides having no privileges, for people."""
    from headrace.substrates import sandbox

    return sandbox.level()


def run_host(settings: Settings, announce: Callable[[], None]) -> int:
    """The parent of all processes; returns the exit status of the program."""
    from headrace.substrates import host

    return asyncio.run(
        host.serve(
            settings,
            command(settings, "controller"),
            [command(settings, "gateway", str(index)) for index in range(settings.gateways)],
            on_ready=announce,
            others={"pipelines": command(settings, "pipelines")},
        )
    )


def run_controller(settings: Settings) -> int:
    """The slow brain's shell, the bookkeeper and the admin API."""
    import uvloop

    from headrace import telemetry
    from headrace.control import controller, keys
    from headrace.control.adapters import Adapters
    from headrace.control.admin import app
    from headrace.engines import artifact
    from headrace.stores import journal_reader
    from headrace.stores.repeats import FileRepeats
    from headrace.stores.sqlite import SqliteStore
    from headrace.substrates import sandbox
    from headrace.substrates.local import LocalSubstrate

    sandbox.keep_to_itself()
    telemetry.configure("controller", settings.log_level)

    def find_artifact(model: "ModelSpec") -> "Artifact | None":
        return artifact.find(model, settings.artifacts)

    store = SqliteStore(settings.database)
    clock = SystemClock()
    epoch = f"{clock.now_us():x}-control-{os.getpid()}"
    repeats = FileRepeats(settings.repeats, keys.pepper(settings), epoch, epoch.__eq__)
    try:
        parts = Adapters(
            store=store,
            substrate=LocalSubstrate(settings),
            engines=engines(),
            find_artifact=find_artifact,
            command=lambda role: command(settings, role),
            journal_reader=journal_reader,
            clock=clock,
        )
        uvloop.run(controller.run(settings, parts, serve_admin=lambda served: app.serve(served, repeats)))
    finally:
        store.close()
    return 0


def run_gateway(settings: Settings, index: int) -> int:
    """One worker of the data plane."""
    import uvloop

    from headrace import telemetry
    from headrace.gateway.serve import serve
    from headrace.stores.journal import FileJournal
    from headrace.stores.journal_reader import epoch_alive
    from headrace.stores.repeats import FileRepeats
    from headrace.substrates import sandbox

    sandbox.keep_to_itself()
    telemetry.configure(f"gateway-{index}", settings.log_level)
    clock = SystemClock()
    epoch = f"{clock.now_us():x}-{index}-{os.getpid()}"

    pepper = bytes.fromhex(settings.pepper.read_text().strip())
    repeats = FileRepeats(settings.repeats, pepper, epoch, lambda other: epoch_alive(settings.journals, other))

    # What was loaded stays: only what requests leave behind is worth a collector's look.
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 50, 100)

    async def work() -> None:
        await serve(settings, index, FileJournal(settings.journals, epoch), repeats, epoch, clock)

    uvloop.run(work())
    return 0


def run_pipelines(settings: Settings) -> int:
    """The runner: pipelines, and the durable work of clients; what it was doing when it died, its successor goes on."""
    import uvloop

    from headrace import telemetry
    from headrace.jobs.parts import parts
    from headrace.jobs.response_routes import ResponseService
    from headrace.jobs.response_work import Shelf as Responses
    from headrace.mcp.service import Service as Mcp
    from headrace.pipelines.context import World
    from headrace.pipelines.gateway import Gateway
    from headrace.pipelines.service import Service
    from headrace.pipelines.shelf import Shelf
    from headrace.pipelines.web import OpenWeb
    from headrace.serving import process
    from headrace.serving.caller import Door
    from headrace.serving.loopback import Loopback
    from headrace.serving.storage import Storage, Terms
    from headrace.stores.records import SqliteRecords
    from headrace.stores.repeats import FileRepeats
    from headrace.stores.runs import SqliteRuns
    from headrace.substrates import sandbox

    sandbox.keep_to_itself()
    telemetry.configure("pipelines", settings.log_level)
    private(settings.pipelines)
    private(settings.jobs)
    pepper, clock = bytes.fromhex(settings.pepper.read_text().strip()), SystemClock()
    door, records = Door(pepper), SqliteRecords(settings.jobs / "jobs.db")
    runs = SqliteRuns(settings.pipelines / "runs.db")
    repeats = FileRepeats(settings.repeats, pepper, "runner", lambda _: True)  # it only lets go
    models = Gateway(settings.host, settings.port, pepper, repeats)
    storage = Storage(Terms(settings.table_file), (records.kept, runs.kept))
    large = Shelf(objects(settings, "pipelines"), runs, storage)
    world = World(models=models, runs=runs, objects=large, clock=clock, web=OpenWeb(settings.tool_hosts))
    loopback = Loopback(settings.host, settings.port, pepper, keep=64)
    jobs = parts(settings.jobs, records, lambda name: objects(settings, name), loopback, door, clock, repeats, storage)
    try:
        once = Loopback(settings.host, settings.port, pepper)
        responses, mcp = ResponseService(Responses(records, once, clock, storage), door), Mcp(once, door, clock)
        pipelines = Service(world, settings.pipelines / "code", door)
        served: list[process.Part] = [pipelines, *jobs, responses, mcp]
        uvloop.run(process.serve(settings.pipelines_socket, served))
    finally:
        runs.close()
        records.close()
    return 0


def objects(settings: Settings, name: str) -> "Objects":
    """The store of large bytes of one kind of work: a folder of the home, or the bucket that the settings name."""
    if settings.objects:
        from headrace.stores.s3_objects import S3Objects

        return S3Objects(settings.objects, name)
    from headrace.stores.objects import FileObjects

    return FileObjects((settings.pipelines if name == "pipelines" else settings.jobs / name) / "objects")


def run_prepare(settings: Settings, key: str) -> int:
    """Fetch, convert and prove the weights of one model; a process of its own, since it needs much memory."""
    from headrace import telemetry
    from headrace.substrates import sandbox

    sandbox.keep_to_itself()
    telemetry.configure("prepare", settings.log_level)
    catalog = stored_catalog(settings, in_force=True)
    model = catalog.model(key) if catalog else None
    if model is None:
        print(f"{key} is not in the catalog", file=sys.stderr)
        return 4
    try:
        engines()[model.engine.kind].prepare(model, settings.artifacts, lambda line: print(line, file=sys.stderr))
    except HeadraceError as error:
        print(error.message, file=sys.stderr)
        return 1
    return 0


def run_market(names: str) -> int:
    """Print what closed APIs charge; a process of its own, since the library that knows is large."""
    import json

    print(json.dumps(api_prices(names.split(","))))
    return 0


def api_prices(names: list[str]) -> dict[str, dict[str, Any]]:
    """What closed APIs charge; see `stores.market`."""
    from headrace.stores import market

    return market.prices(names)


def run_optimum() -> int:
    """Print the least that work could have cost, of questions on standard input; the solver is large."""
    import json

    from headrace.planner.optimum import Pool
    from headrace.planner.rolling import least

    found = []
    for asked in json.load(sys.stdin):
        pools = [Pool(name=str(at), boot_us=asked["boot_us"], **kind) for at, kind in enumerate(asked["kinds"])]
        one = least(asked["work_us"], pools, slot_us=asked["slot_us"], paid_nanousd=asked["paid_nanousd"])
        found.append((one.nanousd, one.whole))
    print(json.dumps(found))
    return 0


def command(settings: Settings, role: str, *words: str) -> list[str]:
    """The command line of one process of this cloud."""
    flags = ["--home", str(settings.home), "--listen", settings.listen, "--gateways", str(settings.gateways)]
    return [*process_settings.interpreter(), "-m", "headrace.assembly", role, *flags, *words]


def main() -> int:
    """Start the process that the command line names."""
    words = argparse.ArgumentParser(prog="headrace.assembly")
    words.add_argument("role", choices=["host", "controller", "gateway", "pipelines", "prepare", "market", "optimum"])
    words.add_argument("--home", required=True)
    words.add_argument("--listen", required=True)
    words.add_argument("--gateways", type=int, required=True)
    words.add_argument("--banner-fd", type=int)
    words.add_argument("subject", nargs="?", default="")
    given = words.parse_intermixed_args()
    settings = process_settings.load(home=given.home, listen=given.listen, gateways=given.gateways)
    roles: dict[str, Callable[[], int]] = {
        "host": lambda: run_host(settings, lambda: _announce(given.banner_fd)),
        "controller": lambda: run_controller(settings),
        "gateway": lambda: run_gateway(settings, int(given.subject)),
        "pipelines": lambda: run_pipelines(settings),
        "prepare": lambda: run_prepare(settings, given.subject),
        "market": lambda: run_market(given.subject),
        "optimum": run_optimum,
    }
    return roles[given.role]()


def _announce(banner_fd: int | None) -> None:
    if banner_fd is not None:
        with os.fdopen(banner_fd, encoding="utf8") as banner:
            print(banner.read(), end="", flush=True)
