import os
import random
import re
import select
import shutil
import signal
import subprocess
import sys
import threading
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from headrace import _kernel
from headrace._kernel import testing
from headrace.errors import StoreError
from headrace.storage import DiskCache, object_key
from tests.support.processes import no_file_beyond

SIZE = 700_001
DATA = random.Random(0).randbytes(SIZE)


def get(
    cache: DiskCache,
    offset: int,
    count: int,
    version: str = '"1"',
    url: str = "s3://b/x",
    *,
    announced: bool = True,
) -> tuple[bytes, int]:
    """Return a range as native readers get it, and how many of its bytes the cache had.

    The other ones are fetched.
    """
    key = object_key(url, SIZE, version)
    store = _kernel.FetchedStore(1 << 20, 1 << 18, cache.files)
    had = cache.files.bytes_read

    def fetch(at: int, some: int) -> None:
        data = DATA[at : at + some]
        assert len(data) == some
        cache.keep(key, at, data)
        store.give(key, at, some, data)

    if announced:
        for at, some in store.expect(key, offset, count, 1 << 17):
            fetch(at, some)
    ended, end = os.pipe()
    with ThreadPoolExecutor(1) as pool:
        reading = pool.submit(store.read, key, offset, count)
        reading.add_done_callback(lambda _: os.close(end))
        while select.select([store.fileno(), ended], [], [], 30)[0] != [ended]:
            for _, at, some, _ in store.take():
                fetch(at, some)
        data = reading.result()
    os.close(ended)
    if announced:
        store.release(key, offset, count)
    assert isinstance(data, bytes)
    return data, cache.files.bytes_read - had


def open_descriptors() -> int:
    """Return how many descriptors this process has."""
    return sum(1 for _ in Path("/dev/fd").iterdir())


def used(folder: Path) -> int:
    """Return the bytes that files take on the disk."""
    return sum(path.stat().st_blocks * 512 for path in folder.rglob("*") if path.is_file())


def test_the_checksum_is_that_of_zlib() -> None:
    """By special instructions or by tables, of any length, at any place, in parts or not."""
    chance = random.Random(2)
    for count in [*range(300), 4096, 32 << 10, 100_001]:
        data = DATA[chance.randrange(64) :][:count]
        cut = chance.randrange(count + 1)
        for portable in (False, True):
            assert testing.crc32(data, portable=portable) == zlib.crc32(data)
            first = testing.crc32(data[:cut], portable=portable)
            assert testing.crc32(data[cut:], first, portable=portable) == zlib.crc32(data)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=30)
@given(
    st.lists(
        st.tuples(st.integers(0, SIZE - 1), st.integers(1, 200_000), st.booleans()), max_size=8
    ),
    st.sampled_from([50_000, 300_000, 10_000_000]),
)
def test_ranges_are_the_bytes_of_the_object(
    tmp_path_factory: pytest.TempPathFactory, ranges: list[tuple[int, int, bool]], size: int
) -> None:
    """Whatever is there, whatever the bound, announced or not: a range has the right bytes."""
    folder = tmp_path_factory.mktemp("cache")
    for _ in range(2):
        cache = DiskCache(folder, size)
        for offset, count, announced in ranges:
            some = min(count, SIZE - offset)
            data, _ = get(cache, offset, some, announced=announced)
            assert data == DATA[offset : offset + some]
        cache.close()
    assert used(folder) <= size + (16 << 10)  # the files that name and count


def test_a_second_pass_takes_everything_from_the_disk(tmp_path: Path) -> None:
    """What was fetched once is not fetched again, also by another process's cache."""
    for expected in (0, SIZE):
        cache = DiskCache(tmp_path, 10_000_000)
        assert get(cache, 0, SIZE) == (DATA, expected)
        cache.close()


def test_blocks_that_others_have_written_since_are_found(tmp_path: Path) -> None:
    """Processes that fill a cache together see each other's blocks, and need not start again."""
    one, other = DiskCache(tmp_path, 10_000_000), DiskCache(tmp_path, 10_000_000)
    get(one, 0, 100_000)
    get(other, 0, 100_000)  # it has opened the files
    one.close()
    again = DiskCache(tmp_path, 10_000_000)
    get(again, 0, SIZE)
    again.close()
    assert get(other, 0, SIZE) == (DATA, SIZE)
    other.close()


@pytest.mark.parametrize("step", [777, 32 << 10, 50_001])
def test_reads_in_order_give_the_bytes(tmp_path: Path, step: int) -> None:
    """A decoder that reads on and on, by steps smaller than a block or larger, gets every byte."""
    cache = DiskCache(tmp_path, 10_000_000)
    get(cache, 0, SIZE)
    cache.close()
    cache = DiskCache(tmp_path, 10_000_000)
    key = object_key("s3://b/x", SIZE, '"1"')
    store = _kernel.FetchedStore(1 << 20, 1 << 18, cache.files)
    place = _kernel.PlaceBytes(_kernel.Place(path=key.encode(), store=store))
    assert b"".join(place.read(at, step) for at in range(0, SIZE, step)) == DATA
    assert cache.files.bytes_read == SIZE
    cache.close()


def test_many_objects_are_open_a_few_at_a_time(tmp_path: Path) -> None:
    """However many objects a cache has, the descriptors are bounded, and all bytes are found."""
    cache = DiskCache(tmp_path, 10_000_000)
    for number in range(200):
        get(cache, 0, 32 << 10, url=f"s3://b/{number}")
    cache.close()
    cache = DiskCache(tmp_path, 10_000_000)
    before = open_descriptors()
    for number in range(200):
        assert get(cache, 0, 32 << 10, url=f"s3://b/{number}")[1] == 32 << 10
    assert open_descriptors() <= before + 2 * 128
    cache.close()


def test_another_version_is_not_found_and_replaces_the_first(tmp_path: Path) -> None:
    """Bytes of an object that was replaced are never given, and their space is given back."""
    for version in ('"1"', '"2"', '"3"'):
        cache = DiskCache(tmp_path, 10_000_000)
        assert get(cache, 0, SIZE, version) == (DATA, 0)
        cache.close()
    assert used(tmp_path) < 2 * SIZE


@pytest.mark.parametrize("kind", ["data", "blocks"])
def test_damaged_blocks_are_fetched_again(tmp_path: Path, kind: str) -> None:
    """A flipped bit anywhere in the cache's files never reaches a reader."""
    cache = DiskCache(tmp_path, 10_000_000)
    get(cache, 0, SIZE)
    cache.close()
    (path,) = tmp_path.rglob(f"*.{kind}")
    content = bytearray(path.read_bytes())
    for position in random.Random(1).sample(range(len(content)), 20):
        content[position] ^= 1
    path.write_bytes(content)
    cache = DiskCache(tmp_path, 10_000_000)
    data, cached = get(cache, 0, SIZE)
    assert data == DATA
    assert cached < SIZE
    cache.close()


def test_a_torn_record_costs_only_itself(tmp_path: Path) -> None:
    """Records that are appended after a torn one are found."""
    cache = DiskCache(tmp_path, 10_000_000)
    get(cache, 0, 100_000)
    cache.close()
    (path,) = tmp_path.rglob("*.blocks")
    path.write_bytes(path.read_bytes()[:-5])
    for _ in range(2):
        cache = DiskCache(tmp_path, 10_000_000)
        assert get(cache, 0, SIZE)[0] == DATA
        cache.close()
    cache = DiskCache(tmp_path, 10_000_000)
    assert get(cache, 0, SIZE) == (DATA, SIZE)
    cache.close()


def test_a_full_disk_is_one_problem_and_no_more_writes(tmp_path: Path) -> None:
    """Reading goes on without the cache."""
    cache = DiskCache(tmp_path, 10_000_000)
    with no_file_beyond(4096):
        assert get(cache, 0, SIZE)[0] == DATA
        cache.close()
    assert cache.problem is not None
    assert re.search("No space left on device|File too large", cache.problem)
    assert not cache.admits


def test_a_folder_that_another_process_prepares_is_accepted(tmp_path: Path) -> None:
    """Processes that start at once share a cache: none takes the other's files for strange ones."""
    (tmp_path / "usage").touch()
    DiskCache(tmp_path, 1_000_000).close()
    (tmp_path / "CACHE").write_text("")  # created, and not written yet
    cache = DiskCache(tmp_path, 1_000_000)
    assert get(cache, 0, 1000) == (DATA[:1000], 0)
    cache.close()


def test_caches_that_are_opened_at_once_share_a_new_folder(tmp_path: Path) -> None:
    """However many are opened at the same moment, all can be used."""
    start = threading.Barrier(8)

    def opened(_: int) -> None:
        start.wait(30)
        DiskCache(tmp_path / "new", 1_000_000).close()

    with ThreadPoolExecutor(8) as executor:
        list(executor.map(opened, range(8)))


def test_files_that_cannot_be_opened_are_one_problem_and_no_failure(tmp_path: Path) -> None:
    """Bytes are fetched from the store if the cache's files cannot be opened."""
    cache = DiskCache(tmp_path, 1_000_000)
    get(cache, 0, 200_000)
    cache.close()
    (data,) = tmp_path.glob("*/*.data")
    data.unlink()
    data.mkdir()
    cache = DiskCache(tmp_path, 1_000_000)
    assert get(cache, 0, 200_000) == (DATA[:200_000], 0)
    cache.close()
    assert cache.problem is not None
    assert "(Is a directory)" in cache.problem


def test_what_a_killed_process_had_reserved_is_free_again(tmp_path: Path) -> None:
    """The next process that opens the cache alone counts what is there, and fills it."""
    program = """
import os, sys
from tests.storage.test_cache import DiskCache, get
cache = DiskCache(sys.argv[1], 10_000_000)
get(cache, 0, 100_000)
while not cache.files.bytes_read:
    get(cache, 0, 100_000)
os._exit(9)
"""
    done = subprocess.run([sys.executable, "-c", program, tmp_path / "c"], check=False)
    assert done.returncode == 9
    assert int((tmp_path / "c" / "usage").read_text().split()[0]) > 8_000_000
    for expected in (0, 9 * SIZE):
        cache = DiskCache(tmp_path / "c", 10_000_000)
        had = sum(get(cache, 0, SIZE, url=f"s3://b/other{name}")[1] for name in range(9))
        cache.close()
        assert had == expected


def test_a_folder_with_other_files_is_refused(tmp_path: Path) -> None:
    """Nothing is written among files of the user."""
    (tmp_path / "thesis.txt").write_text("x")
    with pytest.raises(StoreError, match=r"^The disk cache '[^(]*' holds other files: give"):
        DiskCache(tmp_path, 1 << 20)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]
    with pytest.raises(StoreError, match=r"^The disk cache '.*thesis\.txt' cannot be used"):
        DiskCache(tmp_path / "thesis.txt", 1 << 20)
    with pytest.raises(StoreError, match=r"^The disk cache 's3.*: give a folder on a local disk"):
        DiskCache("s3://bucket/cache", 1 << 20)


WRITERS = """
import os, random, sys
from tests.storage.test_cache import DATA, SIZE, DiskCache, get
for line in sys.stdin:
    child = os.fork()
    if child:
        print(child, flush=True)
        continue
    cache = DiskCache(sys.argv[1], 10_000_000)
    chance = random.Random(int(line))
    while True:
        offset = chance.randrange(SIZE)
        count = min(SIZE - offset, chance.randrange(1, 200_000))
        url = f"s3://b/{chance.randrange(40)}"
        if get(cache, offset, count, url=url)[0] != DATA[offset : offset + count]:
            open(sys.argv[1] + ".wrong", "w").close()
"""
"""Starts a process that fills the cache for each line of its input, and prints its number."""


@pytest.mark.slow
def test_processes_that_are_killed_leave_no_wrong_byte(tmp_path: Path) -> None:
    """Killed a hundred times while two processes fill the cache: every byte is right."""
    chance = random.Random(5)
    with subprocess.Popen(
        [sys.executable, "-c", WRITERS, str(tmp_path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as parent:
        assert parent.stdin is not None
        assert parent.stdout is not None
        running: list[int] = []
        for number in range(102):
            parent.stdin.write(f"{number}\n")
            parent.stdin.flush()
            running.append(int(parent.stdout.readline()))
            threading.Event().wait(chance.random() * 0.05)
            if len(running) > 2:
                os.kill(running.pop(chance.randrange(3)), signal.SIGKILL)
        for child in running:
            os.kill(child, signal.SIGKILL)
    assert not tmp_path.with_name(tmp_path.name + ".wrong").exists()  # delivered to one of them
    cache = DiskCache(tmp_path, 10_000_000)
    cached = 0
    for name in range(40):
        data, had = get(cache, 0, SIZE, url=f"s3://b/{name}")
        assert data == DATA
        cached += had
    cache.close()
    assert cached
    assert used(tmp_path) <= 10_000_000 + (16 << 10)


def test_what_cannot_be_written_in_time_is_not_kept(tmp_path: Path) -> None:
    """Loading does not wait for the disk, and what waits to be written is bounded."""
    for unwritten, expected in ((SIZE - 1, 0), (SIZE, SIZE)):
        cache = DiskCache(tmp_path, 10_000_000, unwritten)
        cache.keep(object_key("s3://b/x", SIZE, '"1"'), 0, DATA)
        cache.close()
        cache = DiskCache(tmp_path, 10_000_000)
        assert get(cache, 0, SIZE)[1] == expected
        cache.close()
        shutil.rmtree(tmp_path)
