"""One suite for every store of objects: a folder, and S3 over HTTP against a server of moto's."""

import asyncio
import hashlib
import os
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any

import pytest

from headrace.errors import Invalid, Permanent, Transient
from headrace.ports import Objects
from headrace.stores.objects import FileObjects

MIB = 1 << 20
SECRET = "that-nobody-may-read"
LARGE = bytes(range(256)) * (11 * MIB // 256)  # more than one part of a multipart upload


@pytest.fixture(scope="module")
def bucket() -> Iterator[str]:
    """A real HTTP server that speaks S3, on a loopback port."""
    server_module = pytest.importorskip("moto.server")
    server = server_module.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    names = {"AWS_ENDPOINT_URL": f"http://{host}:{port}", "AWS_ACCESS_KEY_ID": "id", "AWS_SECRET_ACCESS_KEY": SECRET,
             "AWS_REGION": "us-east-1", "AWS_DEFAULT_REGION": "us-east-1"}  # fmt: skip
    before = {name: os.environ.get(name) for name in names}
    os.environ.update(names)
    try:
        import boto3

        boto3.client("s3", endpoint_url=names["AWS_ENDPOINT_URL"]).create_bucket(Bucket="things")
        yield "s3://things/cloud"
    finally:
        server.stop()
        for name, value in before.items():
            os.environ.pop(name) if value is None else os.environ.update({name: value})


@pytest.fixture(params=["folder", "s3"])
def made(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Objects, Callable[[str, bytes], None]]:
    """A store, and how to damage an object behind its back."""
    if request.param == "folder":
        folder = tmp_path / "objects"
        return FileObjects(folder), lambda digest, data: (folder / digest).write_bytes(data) and None
    address = request.getfixturevalue("bucket")
    pytest.importorskip("obstore")
    import boto3

    from headrace.stores.s3_objects import S3Objects

    s3 = boto3.client("s3", endpoint_url=os.environ["AWS_ENDPOINT_URL"])
    name = tmp_path.name
    return S3Objects(
        address, name
    ), lambda digest, data: s3.put_object(Bucket="things", Key=f"cloud/{name}/{digest}", Body=data) and None


def run(work: Coroutine[Any, Any, None]) -> None:
    asyncio.run(work)


async def whole(objects: Objects, digest: str) -> bytes:
    return b"".join([piece async for piece in objects.read(digest)])


def test_what_is_kept_comes_back_under_its_digest(made, tmp_path: Path):
    """From memory and from a file, whole, in pieces and as a file; the same bytes have one name."""
    objects, _ = made

    async def work() -> None:
        for data in (b"", b"much", LARGE):
            digest = await objects.put(data)
            assert digest == hashlib.sha256(data).hexdigest()
            file = tmp_path / "given"
            file.write_bytes(data)
            await objects.keep(file, digest)
            assert file.read_bytes() == data
            assert await objects.get(digest) == data
            assert await whole(objects, digest) == data
            into = tmp_path / f"fetched-{digest[:8]}"
            await objects.fetch(digest, into)
            assert into.read_bytes() == data

    run(work())


def test_a_file_goes_in_without_being_read_whole(made, tmp_path: Path):
    """By parts, and it is there only with its last one."""
    objects, _ = made
    file = tmp_path / "large"
    file.write_bytes(LARGE)

    async def work() -> None:
        digest = hashlib.sha256(LARGE).hexdigest()
        await objects.keep(file, digest)
        file.unlink()
        assert await whole(objects, digest) == LARGE

    run(work())


def test_what_is_gone_is_told_and_gone_twice_is_gone(made, tmp_path: Path):
    objects, _ = made

    async def work() -> None:
        digest = await objects.put(b"short-lived")
        await objects.delete(digest)
        await objects.delete(digest)
        for asked in (objects.get(digest), whole(objects, digest), objects.fetch(digest, tmp_path / "x")):
            with pytest.raises(Permanent, match=digest):
                await asked

    run(work())


def test_damage_is_never_passed_on(made, tmp_path: Path):
    objects, damage = made

    async def work() -> None:
        digest = await objects.put(b"truth")
        damage(digest, b"lies!")
        for asked in (objects.get(digest), objects.fetch(digest, tmp_path / "x")):
            with pytest.raises(Permanent, match="damaged"):
                await asked

    run(work())


def test_a_folder_that_cannot_be_written_says_so_and_leaves_nothing(tmp_path: Path):
    folder = tmp_path / "objects"
    objects = FileObjects(folder)
    (tmp_path / "data").write_bytes(b"x")
    folder.rmdir()

    async def work() -> None:
        for asked in (objects.put(b"x"), objects.keep(tmp_path / "data", "digest")):
            with pytest.raises(Transient, match="object store"):
                await asked

    run(work())


@pytest.mark.parametrize("address", ["gs://bucket", "s3://", "bucket"])
def test_an_address_that_is_none_is_refused_by_name(address: str):
    pytest.importorskip("obstore")
    from headrace.stores.s3_objects import S3Objects

    with pytest.raises(Invalid, match="HEADRACE_OBJECTS"):
        S3Objects(address, "files")


def test_an_s3_that_refuses_is_told_without_its_secrets(bucket: str):
    """A bucket that is not there: worth another try, no word of the key."""
    pytest.importorskip("obstore")
    from headrace.stores.s3_objects import S3Objects

    async def work() -> None:
        with pytest.raises(Transient) as told:
            await S3Objects("s3://nothing-here", "files").put(b"x")
        assert SECRET not in str(told.value)
        assert "HEADRACE_OBJECTS" in str(told.value)

    run(work())
