"""The parts of the runner that are jobs: files, batches and videos, over one set of ports."""

from collections.abc import Callable
from pathlib import Path

from headrace.jobs import batch_work, video_work
from headrace.jobs.batch_routes import BatchService
from headrace.jobs.file_routes import FileService
from headrace.jobs.files import Files
from headrace.jobs.storage_routes import StorageService
from headrace.jobs.video_routes import VideoService
from headrace.ports import Clock, Objects, Records, Repeats
from headrace.serving.caller import Door
from headrace.serving.loopback import Loopback
from headrace.serving.process import Part
from headrace.serving.storage import Storage


def parts(
    folder: Path,
    records: Records,
    objects: Callable[[str], Objects],
    loopback: Loopback,
    door: Door,
    clock: Clock,
    repeats: Repeats,
    storage: Storage,
) -> list[Part]:
    """`folder` is for what is at work. `objects` makes a store by name: what one keeps, no other lets go."""
    files = Files(records, objects("files"), clock, folder / "spool")
    made = Files(records, objects("videos"), clock, folder / "spool", kind="video.file")
    batches = batch_work.Desk(records, files, loopback, clock, folder / "batches", repeats, storage)
    videos = video_work.Desk(records, made, loopback, repeats, storage)
    every: list[Part] = [BatchService(batches, door), VideoService(videos, door), StorageService(storage, door)]
    return [FileService(files, door, storage), *every]
