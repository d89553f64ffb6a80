"""The ingest socket: a slice counts once it is read back, and a file that cannot be written is given up."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import xxhash

from contracts import ingest
from contracts.catalog import CatalogObject
from contracts.ingest import Refusal
from contracts.objectkey import SLICE_BYTES, digest
from fill.agent.storekeeper import Refused, Storekeeper
from oca.objectfile import complete_path
from oca.store.disks import Disk, mark
from oca.store.diskstate import State
from tests.component.fill.conftest import APPLIANCE, StorekeeperThread

SIZE = 2 * SLICE_BYTES + 3


def _object(data: bytes) -> CatalogObject:
    digests = b"".join(digest(data[at : at + SLICE_BYTES]) for at in range(0, len(data), SLICE_BYTES))
    etag = f'"{xxhash.xxh3_128_hexdigest(digests)}"'
    return CatalogObject("tt1/video.mp4", len(data), "video/mp4", etag, 0, digests)


@pytest.fixture
def client(storekeeper: StorekeeperThread) -> Iterator[Storekeeper]:
    with Storekeeper(str(storekeeper.socket)) as opened:
        yield opened


def _reserve(client: Storekeeper, item: CatalogObject) -> ingest.Reserved:
    reserved = client.reserve(ingest.Reserve(item))
    assert reserved is not None
    return reserved


def _write(path: str, data: bytes, index: int) -> None:
    with Path(path).open("r+b") as file:
        file.seek(index * SLICE_BYTES)
        file.write(data[index * SLICE_BYTES : (index + 1) * SLICE_BYTES])


def test_a_slice_that_was_told_of_is_verified_before_the_object_is_committed(
    client: Storekeeper, storekeeper: StorekeeperThread
) -> None:
    data = os.urandom(SIZE)
    item = _object(data)
    reserved = _reserve(client, item)
    for index in (2, 0):
        _write(reserved.path, data, index)
        assert client.wrote(item, index)
    assert client.holdings().incomplete == (ingest.Incomplete(item.key, SIZE, 2),)
    _write(reserved.path, data, 1)
    client.commit(item.key)
    assert complete_path(storekeeper.disk, item.key).read_bytes()[:SIZE] == data


def test_a_slice_that_was_not_written_is_not_believed(client: Storekeeper) -> None:
    item = _object(os.urandom(SIZE))
    _reserve(client, item)
    with pytest.raises(Refused) as refused:
        client.wrote(item, 1)
    assert (refused.value.why, refused.value.slices) == (Refusal.CORRUPT, (1,))


def test_slices_are_taken_at_their_word_only_where_something_was_written_to_the_reserved_file(
    client: Storekeeper, storekeeper: StorekeeperThread
) -> None:
    data = os.urandom(SIZE)
    item = _object(data)
    path = _reserve(client, item).path
    inode = os.stat(path).st_ino
    with pytest.raises(Refused) as nothing:
        client.wrote(item, 1, 1, inode)
    assert nothing.value.why is Refusal.CORRUPT
    _write(path, data, 1)
    assert client.wrote(item, 1, 1, inode)
    _write(path, bytes(SIZE), 0)
    with pytest.raises(Refused) as sampled:
        client.wrote(item, 0, 2, inode)
    assert sampled.value.slices == (0,), "the first of sixteen is read back"
    _write(path, bytes(SIZE), 2)
    with pytest.raises(Refused) as elsewhere:
        client.wrote(item, 2, 1, inode + 1)
    assert elsewhere.value.slices == (2,), "of another file none is taken at its word"


def test_a_slice_of_an_object_that_is_not_reserved_is_refused(client: Storekeeper) -> None:
    item, other = _object(os.urandom(SIZE)), _object(os.urandom(SIZE))
    for reserved in (False, True):
        if reserved:
            _reserve(client, other)
        with pytest.raises(Refused) as refused:
            client.wrote(item, 0)
        assert refused.value.why is Refusal.UNKNOWN
    with pytest.raises(Refused) as refused:
        client.wrote(other, 3)
    assert refused.value.why is Refusal.UNKNOWN


def test_a_slice_of_an_object_that_is_complete_needs_no_more(client: Storekeeper) -> None:
    data = os.urandom(5)
    item = _object(data)
    _write(_reserve(client, item).path, data, 0)
    client.commit(item.key)
    assert not client.wrote(item, 0)


def test_a_file_that_was_given_up_is_made_anew(client: Storekeeper, storekeeper: StorekeeperThread) -> None:
    data = os.urandom(SIZE)
    item = _object(data)
    _write(_reserve(client, item).path, data, 0)
    client.abort(item, errno.ENOSPC)
    assert _reserve(client, item).verified == ()
    assert storekeeper.store.disks[0].state is State.SERVING


def test_an_input_output_error_takes_the_disk_out_and_another_is_chosen(
    client: Storekeeper, storekeeper: StorekeeperThread, tmp_path: Path
) -> None:
    second = tmp_path / "second"
    second.mkdir()
    mark(second, APPLIANCE)
    disk = Disk(second, 100 << 20)
    disk.open(APPLIANCE)
    disk.state = State.SERVING
    storekeeper.store.disks = (*storekeeper.store.disks, disk)
    item = _object(os.urandom(SIZE))
    first = Path(_reserve(client, item).path)
    client.abort(item, errno.EIO)
    again = Path(_reserve(client, item).path)
    assert again.parent.parent != first.parent.parent
    assert sorted(disk.state.value for disk in storekeeper.store.disks) == ["failed", "serving"]
