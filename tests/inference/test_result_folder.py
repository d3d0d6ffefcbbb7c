from __future__ import annotations

import errno
import os
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

import pytest

import headrace
from headrace.inference._owner import Owner
from headrace.inference._result_folder import (
    ObjectFolder,
    ResultFolder,
    _store_errors,
    open_folder,
)
from tests.support.bucket import serve_bucket
from tests.support.models import all_kinds, expected_loudness, loudness, sorted_rows

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from headrace import Windows


@pytest.fixture(scope="module")
def bucket() -> Iterator[None]:
    """Serve a bucket called ``results``, and let obstore find it."""
    with serve_bucket("results") as environment, pytest.MonkeyPatch.context() as patch:
        for name, value in environment.items():
            patch.setenv(name, value)
        yield


@pytest.fixture(params=["folder", "bucket"])
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> ResultFolder:
    """Return a prepared folder, or a prefix of a bucket."""
    place = str(tmp_path / "results")
    if request.param == "bucket":
        request.getfixturevalue("bucket")
        place = f"s3://results/{tmp_path.name}"
    made = open_folder(place)
    made.prepare()
    return made


def test_a_name_is_created_once(folder: ResultFolder) -> None:
    """A second file of the same name is not created, and the first one stays."""
    assert folder.create("parts/a", b"first")
    assert not folder.create("parts/a", b"second")
    assert folder.read("parts/a") == b"first"
    assert folder.exists("parts/a")
    assert [*folder.list("parts")] == ["a"]


def test_of_many_threads_one_creates_a_name(folder: ResultFolder) -> None:
    """Exactly one of several callers is told that it created the file."""
    created: list[int] = []
    barrier = threading.Barrier(8)

    def create(number: int) -> None:
        barrier.wait()
        if folder.create("parts/a", str(number).encode()):
            created.append(number)

    threads = [threading.Thread(target=create, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(created) == 1
    assert folder.read("parts/a") == str(created[0]).encode()


def test_what_is_missing(folder: ResultFolder) -> None:
    """A missing file is a `FileNotFoundError`, an empty folder an empty list."""
    with pytest.raises(FileNotFoundError):
        folder.read("parts/none")
    assert not folder.exists("parts/none")
    folder.delete("parts/none")
    assert folder.list("leases") == {}


def test_a_replaced_file_has_another_version(folder: ResultFolder) -> None:
    """Other processes see that a lease was written anew."""
    folder.replace("leases/a", b"1")
    before = folder.list("leases")["a"]
    folder.replace("leases/a", b"2")

    assert folder.list("leases")["a"] != before
    assert folder.read_end("leases/a", 100) == b"2"


def test_results_in_a_bucket(windows: Windows, tmp_path: Path, bucket: None) -> None:
    """A run in a bucket has the same rows, and is found by its URL and by a store of obstore."""
    del bucket
    import obstore.store

    url = f"s3://results/{tmp_path.name}/run"
    run = windows.apply(loudness, url, batch_size=4, name="loudness", part_size=6)
    found = headrace.load_run(obstore.store.from_url(url, client_options={"allow_http": True}))

    assert sorted_rows(run.to_arrow()) == expected_loudness(windows)
    assert found.folder == url
    assert sorted_rows(found.to_arrow()) == sorted_rows(run.to_arrow())
    with pytest.raises(headrace.ResultsError, match="the model's name was 'loudness'"):
        windows.apply(all_kinds, url, batch_size=4, name="all")


def test_a_store_that_ignores_the_condition_is_refused(
    folder: ResultFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where a name can be created twice, no result is written."""
    monkeypatch.setattr(type(folder), "create", lambda *_: True)

    with pytest.raises(headrace.ResultsError, match=r"If-None-Match|created twice"):
        folder.prepare()


def test_a_large_part_over_a_slow_line_is_no_timeout(bucket: None) -> None:
    """A request may take minutes, not the 30 s after which obstore gives up by default."""
    del bucket
    folder = open_folder("s3://results/run")
    assert isinstance(folder, ObjectFolder)

    assert folder._store.client_options["timeout"] == "600 s"


def test_credentials_are_not_shown() -> None:
    """The name of a bucket has neither user and password nor a signed query."""
    try:
        shown = open_folder("s3://bucket/run?X-Amz-Signature=secret").name
    except OSError as error:  # obstore may refuse it
        shown = str(error)
    with pytest.raises(headrace.ResultsError, match="does not take") as refused:
        open_folder("s3://user:secret@bucket/run")

    assert "secret" not in shown + str(refused.value)


@pytest.mark.parametrize("place", ["bucket/birdnet@2.4/run", "bucket"])
def test_the_name_of_a_place_in_a_bucket_is_its_url(place: str) -> None:
    """So that what `Run.folder` says can be given to `load_run`."""
    assert open_folder(f"s3://{place}/").name == f"s3://{place}"


@pytest.mark.parametrize("scheme", ["file", "FILE"])
def test_the_url_of_a_folder_is_that_folder(tmp_path: Path, scheme: str) -> None:
    """Schemes of URLs may be written in capitals."""
    assert open_folder(f"{scheme}://{tmp_path}").name == str(tmp_path)


def test_a_url_without_a_bucket_is_refused() -> None:
    """The message says what to write."""
    with pytest.raises(headrace.ResultsError, match="names no bucket"):
        open_folder("s3:///run")


def test_what_is_secret_in_a_url_is_not_in_an_error() -> None:
    """What follows the question mark in an error of a store is left out, and a password."""
    error = type("GenericError", (Exception,), {"__module__": "obstore.exceptions"})
    text = "Error performing GET https://me:secret@host/a?sig=secret&x=1 in 3 ms - 403"

    with pytest.raises(OSError, match="403") as seen, _store_errors("az://a/b"):
        raise error(text)
    assert "secret" not in str(seen.value)


def test_errors_of_a_store_are_one_line(bucket: None) -> None:
    """An error of obstore, which is many lines long, becomes one sentence with the place."""
    del bucket
    place = open_folder("s3://no-such-bucket/run")
    assert isinstance(place, ObjectFolder)

    with pytest.raises(OSError, match=r"the store of s3://no-such-bucket/run reports") as seen:
        place.create("parts/a", b"")
    assert "\n" not in str(seen.value)
    assert "The specified bucket does not exist" in str(seen.value)
    assert "xml" not in str(seen.value)
    assert "version=" not in str(seen.value)


def test_what_killed_processes_left_is_removed(tmp_path: Path) -> None:
    """Temporary files of processes that have ended are deleted, those of others stay."""
    place = open_folder(tmp_path)
    place.prepare()
    code = "from headrace.inference._owner import Owner; print(Owner.current().text)"
    ended = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout.strip()
    dead = tmp_path / "parts" / f".{ended}.0.tmp"
    mine = tmp_path / "parts" / f".{Owner.current().text}.0.tmp"
    foreign = tmp_path / "parts" / ".elsewhere-1-1.0.tmp"
    for file in (dead, mine, foreign):
        file.write_bytes(b"")
    place.prepare()

    assert [file.exists() for file in (dead, mine, foreign)] == [False, True, True]
    assert place.list("parts") == {}


@pytest.mark.skipif(os.name != "posix", reason="processes are only recognised on POSIX")
def test_owners_are_recognised() -> None:
    """A process that runs, one that has ended, and one elsewhere."""
    me = Owner.current()
    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait()

    assert Owner.from_text(me.text) == me
    assert me.runs()
    assert not me.has_ended()
    assert Owner(me.host, child.pid, "").has_ended()
    assert Owner(me.host, me.pid, "1").has_ended() == bool(me.started)
    elsewhere: Any = Owner("elsewhere", me.pid, me.started)
    assert not elsewhere.runs()
    assert not elsewhere.has_ended()
    assert not Owner.from_text("nonsense").has_ended()


class _Blob(BaseHTTPRequestHandler):
    """Answers like Azure's Blob Storage that has one blob of the bytes 0 to 99."""

    data = bytes(range(100))

    def do_HEAD(self) -> None:
        """Answer a request for the size."""
        self._answer(200, self.data)

    def do_GET(self) -> None:
        """Answer a request for a range."""
        first, last = self.headers["Range"].removeprefix("bytes=").split("-")
        start, stop = int(first), int(last) + 1
        self._answer(206, self.data[start:stop], f"bytes {start}-{stop - 1}/{len(self.data)}")

    def _answer(self, status: int, body: bytes, content_range: str = "") -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Last-Modified", "Sun, 01 Nov 2026 00:00:00 GMT")
        self.send_header("ETag", '"1"')
        if content_range:
            self.send_header("Content-Range", content_range)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Print nothing."""


@pytest.mark.parametrize("count", [10, 1_000])
def test_the_end_of_an_object_is_read_where_a_store_knows_no_suffixes(count: int) -> None:
    """Azure has no ranges that count from the end: footers are read there all the same."""
    from obstore.store import AzureStore

    with ThreadingHTTPServer(("127.0.0.1", 0), _Blob) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            store = AzureStore(
                "results",
                account_name="account",
                account_key="a2V5",
                endpoint=f"http://127.0.0.1:{server.server_port}",
                client_options={"allow_http": True},
            )
            folder = open_folder(store)
            assert folder.read_end("parts/a", count) == _Blob.data[-count:]
        finally:
            server.shutdown()
            thread.join()


@pytest.mark.parametrize(
    ("number", "error", "message"),
    [
        (errno.EPERM, headrace.ResultsError, "has no hard links"),  # FAT and exFAT on Linux
        (errno.EOPNOTSUPP, headrace.ResultsError, "has no hard links"),
        (errno.ENOSPC, OSError, "No space left"),
        (errno.EACCES, PermissionError, "denied"),
    ],
)
def test_why_a_file_cannot_be_created(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    number: int,
    error: type[Exception],
    message: str,
) -> None:
    """Hard links are blamed only where the file system has none."""

    def link(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    folder = open_folder(tmp_path)
    monkeypatch.setattr(os, "link", link)

    with pytest.raises(error, match=message):
        folder.create("a", b"1")
    assert not [*tmp_path.iterdir()]
