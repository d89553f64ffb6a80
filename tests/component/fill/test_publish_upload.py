"""What reaches the bucket: unaltered or not at all, once, and beside what others publish at the same time."""

from __future__ import annotations

import http.client
import json
import secrets
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any

import boto3
import pytest
from botocore.config import Config

from contracts.catalog import CatalogIndex, TitleEntry
from daemon.cli import CommandError
from daemon.s3 import S3Error
from fill.catalog import Trust
from fill.publish.index import write_catalog
from fill.publish.put import PART_BYTES, is_there, put_file
from fill.publish.turn import only_publisher
from fill.publish.upload import (
    Finished,
    describe,
    keep_times,
    read_previous,
    upload_media,
)
from fill.s3documents import read_entry, read_latest
from tests.component.fill.conftest import Setup, fill, last_line, read_index
from tests.component.fill.test_publish import _picture, clip
from tests.waiting import PATIENCE_S

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

Meddle = Callable[[str, bytes], "bytes | int"]
"""What becomes of a PUT of this path and body: other bytes on their way, or an answer without S3."""

BIG = PART_BYTES + 1000
MEDIA_TYPE = "video/mp4"


@contextmanager
def relayed(port: int, meddle: Meddle) -> Iterator[str]:
    """The URL of a relay to the real S3 that passes everything on but what ``meddle`` does to a PUT."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def relay(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            path = self.path.partition("?")[0].split("/", 2)[-1]
            made = meddle(path, body) if self.command == "PUT" else body
            if isinstance(made, int):
                said = f"<Error><Code>{http.HTTPStatus(made).phrase.replace(' ', '')}</Code></Error>".encode()
                self.answer(made, {"Content-Type": "application/xml"}, said)
                return
            with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE_S)) as upstream:
                # The Host as the client signed it; Expect was answered already.
                headers = {name: value for name, value in self.headers.items() if name != "Expect"}
                upstream.request(self.command, self.path, made, headers)
                response = upstream.getresponse()
                self.answer(response.status, dict(response.getheaders()), response.read())

        def answer(self, status: int, headers: dict[str, str], body: bytes) -> None:
            self.send_response(status)
            for name, value in headers.items():
                if name not in {"Connection", "Content-Length", "Date", "Server", "Transfer-Encoding"}:
                    self.send_header(name, value)
            length = headers.get("Content-Length") if self.command == "HEAD" else None
            self.send_header("Content-Length", length or str(len(body)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

        def log_message(self, format: str, *arguments: Any) -> None:  # noqa: A002
            pass

    for method in ("GET", "HEAD", "PUT", "POST", "DELETE"):
        setattr(Handler, f"do_{method}", Handler.relay)
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
            thread.join()


def flipped(path: str, body: bytes) -> bytes:
    """The last byte of every medium altered."""
    return body[:-1] + bytes([body[-1] ^ 1]) if path.startswith("media/") else body


def unsigned(setup: Setup, url: str) -> S3Client:
    """A client that, as over HTTPS, does not sign the bytes themselves: only Content-MD5 guards them."""
    config = Config(
        s3={"addressing_style": "path", "payload_signing_enabled": False}, retries={"total_max_attempts": 1}
    )
    return boto3.client(
        "s3",
        endpoint_url=url,
        region_name="us-east-1",
        aws_access_key_id=setup.origin.access_key,
        aws_secret_access_key=setup.origin.secret_key,
        config=config,
    )


def put(client: S3Client, setup: Setup, path: Path) -> str:
    return put_file(client, setup.config.bucket, "media/tt1/video.mp4", path, MEDIA_TYPE, lambda _: None)


def there(setup: Setup, path: Path) -> bool:
    return is_there(setup.client, setup.config.bucket, "media/tt1/video.mp4", path, MEDIA_TYPE)


@pytest.mark.parametrize("size", [1, PART_BYTES, BIG])
def test_a_byte_altered_on_the_way_is_refused_by_s3_and_nothing_is_stored(setup: Setup, size: int) -> None:
    path = setup.folder / "video.mp4"
    path.write_bytes(secrets.token_bytes(size))
    with relayed(setup.origin.port, flipped) as url:
        client = unsigned(setup, url)
        with pytest.raises(S3Error, match=r"media/tt1/video\.mp4: was altered on its way"):
            put(client, setup, path)
        client.close()
    assert "Contents" not in setup.client.list_objects_v2(Bucket=setup.config.bucket)
    assert "Uploads" not in setup.client.list_multipart_uploads(Bucket=setup.config.bucket)


@pytest.mark.parametrize("size", [0, 1, PART_BYTES, BIG, 3 * PART_BYTES])
def test_what_is_uploaded_is_known_again_and_what_was_altered_since_is_not(setup: Setup, size: int) -> None:
    path = setup.folder / "video.mp4"
    path.write_bytes(data := secrets.token_bytes(size))
    assert not there(setup, path)
    put(setup.client, setup, path)
    found = setup.client.get_object(Bucket=setup.config.bucket, Key="media/tt1/video.mp4")
    assert found["ContentType"] == MEDIA_TYPE
    assert found["Body"].read() == data
    found["Body"].close()
    assert there(setup, path)
    if data:
        path.write_bytes(flipped("media/", data))
        assert not there(setup, path)
    path.write_bytes(data + b"x")
    assert not there(setup, path)


def made(setup: Setup, title: str, data: bytes, now: int = 1000) -> TitleEntry:
    """A title of one medium, uploaded, and not yet in the catalog."""
    folder = setup.folder / title
    folder.mkdir(exist_ok=True)
    (folder / "video.mp4").write_bytes(data)
    (folder / "master.m3u8").write_text("#EXTM3U\n")
    files = [Finished(folder / name, name) for name in ("video.mp4", "master.m3u8")]
    previous = read_previous(setup.client, setup.config.bucket, title, Trust())
    described = keep_times([describe(title, item, now) for item in files], previous)
    upload_media(setup.client, setup.config.bucket, list(zip(files, described, strict=True)), lambda _: None)
    return TitleEntry(title, now, 1.0, tuple(described), f"{title}/master.m3u8", f"{title}/master.m3u8")


def catalog(setup: Setup) -> CatalogIndex:
    latest = read_latest(setup.client, setup.config.bucket, "catalog/latest")
    assert latest is not None
    return read_index(setup.client, setup.config.bucket, latest.version)


def version(number: int) -> str:
    return f"20260101T000000Z-{number:06x}"


def test_only_what_changed_gets_a_new_time(setup: Setup) -> None:
    write_catalog(setup.client, setup.config.bucket, version(1), made(setup, "tt1", b"one", now=1000))
    entry = made(setup, "tt1", b"two", now=2000)
    times = {item.key: item.modified_at for item in entry.objects}
    assert times == {"tt1/video.mp4": 2000, "tt1/master.m3u8": 1000}


def test_publishers_at_the_same_time_all_find_their_title_in_the_catalog(setup: Setup) -> None:
    """On one machine they take turns: this S3 ignores If-Match."""
    entries = [made(setup, f"tt{number}", b"x") for number in range(8)]
    with ThreadPoolExecutor(8) as threads:
        list(
            threads.map(
                lambda item: write_catalog(setup.client, setup.config.bucket, version(item[0]), item[1]),
                enumerate(entries),
            )
        )
    assert [ref.title for ref in catalog(setup).titles] == [entry.title for entry in entries]


def test_a_catalog_replaced_from_another_machine_meanwhile_is_carried_over(setup: Setup) -> None:
    """The relay plays an S3 that knows If-Match, and another machine that comes between."""
    ours, theirs = made(setup, "ours", b"x"), made(setup, "theirs", b"y")
    write_catalog(setup.client, setup.config.bucket, version(1), made(setup, "old", b"z"))
    refused: list[str] = []

    def other_first(path: str, body: bytes) -> bytes | int:
        if path != "catalog/latest" or refused:
            return body
        refused.append(path)
        # Past the lock, as from another machine.
        index = CatalogIndex(version(2), (*catalog(setup).titles,))
        assert [ref.title for ref in index.titles] == ["old"]
        other = threading.Thread(target=_elsewhere, args=(setup, theirs))
        other.start()
        other.join(2 * PATIENCE_S)
        return 412

    with relayed(setup.origin.port, other_first) as url:
        client = unsigned(setup, url)
        index = write_catalog(client, setup.config.bucket, version(3), ours)
        client.close()
    assert refused
    assert [ref.title for ref in index.titles] == ["old", "ours", "theirs"]
    assert catalog(setup) == index


def _elsewhere(setup: Setup, entry: TitleEntry) -> None:
    # Another URL of the same S3 is another lock, as on another machine.
    with relayed(setup.origin.port, lambda _, body: body) as url:
        client = unsigned(setup, url)
        write_catalog(client, setup.config.bucket, version(2), entry)
        client.close()


def test_media_that_another_publisher_overwrites_are_not_described_in_the_catalog(setup: Setup) -> None:
    path = setup.folder / "video.mp4"
    path.write_bytes(b"ours")
    item = Finished(path, "video.mp4")

    def overwrite(_: int) -> None:
        setup.client.put_object(Bucket=setup.config.bucket, Key="media/tt1/video.mp4", Body=b"other")

    with pytest.raises(S3Error, match=r"tt1/video\.mp4: was overwritten meanwhile"):
        upload_media(setup.client, setup.config.bucket, [(item, describe("tt1", item, 1))], overwrite)


def test_a_second_publisher_of_a_title_is_turned_away_and_the_first_goes_on(setup: Setup) -> None:
    path = clip(setup.folder / "a.mp4", *_picture("320x180", length_s="1"))
    where = f"{setup.config.endpoint_url}/{setup.config.bucket}"
    with only_publisher(where, "tt1"):
        with pytest.raises(CommandError), only_publisher(where, "tt1"):
            raise AssertionError("two at once")
        done = fill("publish", path, "--title", "tt1", "--config", setup.write_config())
        assert done.returncode == 1
        assert "tt1: another `fill publish` is at work on this title" in last_line(done)
        other = fill("publish", path, "--title", "tt2", "--config", setup.write_config())
        assert other.returncode == 0, other.stderr
    assert [ref.title for ref in catalog(setup).titles] == ["tt2"]


def test_an_upload_that_is_altered_publishes_nothing(setup: Setup) -> None:
    path = clip(setup.folder / "a.mp4", *_picture("320x180", length_s="1"))
    with relayed(setup.origin.port, flipped) as url:
        done = fill("publish", path, "--title", "tt1", "--config", setup.write_config(endpoint_url=url))
    assert done.returncode == 1
    assert "was altered on its way to S3" in last_line(done)
    assert read_latest(setup.client, setup.config.bucket, "catalog/latest") is None


def test_published_again_nothing_is_sent_that_is_there_and_what_was_damaged_is_mended(setup: Setup) -> None:
    path = clip(setup.folder / "a.mp4", *_picture("320x180", length_s="3"))
    sent: list[str] = []

    def count(path: str, body: bytes) -> bytes:
        sent.append(path)
        return body

    def publish() -> TitleEntry:
        with relayed(setup.origin.port, count) as url:
            config = setup.write_config(endpoint_url=url)
            done = fill("publish", path, "--title", "tt1", "--json", "--config", config)
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout)["catalog"] == catalog(setup).version
        return read_entry(setup.client, setup.config.bucket, catalog(setup).titles[0])

    first = publish()
    assert {name for name in sent if name.startswith("media/")} == {
        f"media/{item.key}" for item in first.objects
    }
    sent.clear()
    assert publish() == first  # the times too
    assert [name for name in sent if name.startswith("media/")] == []
    damaged = max(first.objects, key=lambda item: item.size)
    setup.client.put_object(
        Bucket=setup.config.bucket,
        Key=f"media/{damaged.key}",
        Body=b"x" * damaged.size,
        ContentType="video/mp4",
    )
    assert publish() == first
    assert [name for name in sent if name.startswith("media/")] == [f"media/{damaged.key}"]
