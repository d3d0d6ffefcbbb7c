import base64
import io
import json
import re
import shutil
import signal
import subprocess
import tarfile
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet as pq
from typer.testing import CliRunner

import headrace
from headrace import CatalogError, NoRecordingsError
from headrace._formatting import format_bytes
from headrace.catalog import _object_headers, _scan, find
from headrace.cli import app
from headrace.errors import StoreError
from headrace.storage import index_text, read_tar
from tests.support.bucket import serve_bucket
from tests.support.ffmpeg_files import write as write_by_ffmpeg
from tests.support.object_server import Fault, ObjectServer, Request
from tests.support.processes import interruptible
from tests.support.sounds import noise, speechlike, write

NAMES = [
    "2024/a/x.wav",
    "2024/a/y.WAV",
    "2024/b/x.flac",
    "2024/b/deep/er/z.ogg",
    "2025/a/x.wav",
    "2025/.hidden/x.wav",
    "2025/a/.hidden.wav",
    "2025/notes.txt",
    "takes[2]/x.wav",
    "takes2/x.wav",
    "top.flac",
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with recordings of these names."""
    top = tmp_path_factory.mktemp("archive")
    for number, name in enumerate(NAMES):
        path = top / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix == ".txt":
            path.write_text("no audio")
            continue
        kind = {".wav": ("WAV", "PCM_16"), ".flac": ("FLAC", "PCM_16"), ".ogg": ("OGG", "VORBIS")}
        write(
            path, speechlike(3_000 + 500 * number, seed=number), 8_000, *kind[path.suffix.lower()]
        )
    return top


@pytest.fixture(scope="module")
def server(folder: Path) -> Iterator[ObjectServer]:
    """Serve the folder as the folder ``data`` of a bucket."""
    with ObjectServer() as serving:
        serving.add_folder(folder, "data/")
        yield serving


@pytest.mark.parametrize(
    "pattern",
    [
        "",
        "**",
        "**/*.wav",
        "*/*/*.wav",
        "*/a/*",
        "2024/**/x.*",
        "2025/.hidden/*.wav",
        "2025/**/.*.wav",
        "takes[2]/*.wav",
        "takes?/*.wav",
        "**/er/*.ogg",
        "top.flac",
        "2024/b",
        "**/*.TXT",
    ],
)
def test_patterns_match_in_a_bucket_what_they_match_in_a_folder(
    folder: Path, server: ObjectServer, pattern: str
) -> None:
    """Every pattern finds the same ids, lengths and failures as on a disk."""
    if "*.TXT" in pattern:
        with pytest.raises(NoRecordingsError, match="The only file that matches cannot be used"):
            headrace.scan(f"s3://bucket/data/{pattern}", store=server.options)
        return
    local = headrace.scan(str(folder / pattern))
    remote = headrace.scan(f"s3://bucket/data/{pattern}", store=server.options)
    if pattern == "takes[2]/*.wav":  # in a bucket, a name is not looked for before a pattern
        assert remote.ids.to_pylist() == ["takes2/x.wav"]
        return
    names = [one for one in local.columns if one not in ("path", "mtime_ns", "version")]
    assert remote.to_arrow().select(names).equals(local.to_arrow().select(names))
    assert remote.fingerprint == local.fingerprint


def test_only_what_a_pattern_begins_with_is_listed(server: ObjectServer) -> None:
    """Folders that cannot match are not listed, and nothing but heads is read."""
    server.counts.clear()
    server.requests.clear()
    headrace.scan("s3://bucket/data/2025/*/*.wav", store=server.options)
    assert server.counts["LIST"] == 2  # the folder, and the one folder in it that is not hidden
    assert [request.key for request in server.requests] == ["data/2025/a/x.wav"]


def test_urls_of_a_web_server_are_scanned(folder: Path, server: ObjectServer) -> None:
    """A list of URLs needs no listing; a query is used and not kept."""
    ids = find(str(folder / "2024/**")).ids
    urls = [f"{server.url}/data/2024/{one}?X-Sig=secretword" for one in ids]
    catalog = headrace.scan(urls)
    assert catalog.fingerprint == headrace.scan(str(folder / "2024/**")).fingerprint
    assert server.requests[-1].query == "X-Sig=secretword"
    assert "?" not in "".join(catalog.to_arrow()["path"].to_pylist())


def test_urls_of_a_web_server_may_be_encoded(tmp_path: Path) -> None:
    """A space and a percent sign in a name are found, whether a query follows or not."""
    write(tmp_path / "a.wav", speechlike(8_000), 8_000, "WAV", "PCM_16")
    data = (tmp_path / "a.wav").read_bytes()
    with ObjectServer({"my file.wav": data, "50%.wav": data}) as server:
        urls = [f"{server.url}/my%20file.wav", f"{server.url}/50%25.wav"]
        assert headrace.scan(urls).ids.to_pylist() == ["50%25.wav", "my%20file.wav"]
        assert len(headrace.scan(f"{server.url}/my%20file.wav?signature=1")) == 1
        assert len(headrace.scan(f"{server.url}/my file.wav")) == 1


@pytest.mark.parametrize("query", ["", "?signature=1%2B1"])
@pytest.mark.parametrize(
    "name",
    [
        "a%2Fb.wav",
        "d%2fe/f.wav",
        "20250503T031300%2B0100.wav",
        "20250503T031300+0100.wav",
        "take%281%29.wav",
        "take(1).wav",
        "a//b.wav",
        "%FC.wav",
        "%C3%BC.wav",
        "my%20file.wav",
        "50%25.wav",
        "tab%09.wav",
    ],
)
def test_urls_are_sent_as_they_are_written(tmp_path: Path, name: str, query: str) -> None:
    """An escape that stands for another object than the bare sign does is kept, and so are //."""
    write(tmp_path / "a.wav", speechlike(8_000), 8_000, "WAV", "PCM_16")
    with ObjectServer({unquote(name): (tmp_path / "a.wav").read_bytes()}) as server:
        catalog = headrace.scan(f"{server.url}/{name}{query}")
        catalog.windows(8_000, 1.0)[0]
        assert {one.path for one in server.requests} == {f"/bucket/{name}"}
        assert {one.query for one in server.requests} == {query[1:]}


def test_urls_that_differ_in_their_query_only_are_refused(server: ObjectServer) -> None:
    """They would have one id, and one of them would be lost."""
    url = f"{server.url}/data/top.flac"
    with pytest.raises(CatalogError, match="differ in their query only") as caught:
        headrace.scan([f"{url}?id=1", f"{url}?id=2"])
    assert "id=" not in str(caught.value)
    assert len(headrace.scan([f"{url}?id=1", f"{url}?id=1"])) == 1


@pytest.mark.parametrize("pattern", ["shelf", "shelf/**/*.wav", "shelf/2024/*/*.wav"])
def test_file_systems_of_fsspec_are_searched(folder: Path, pattern: str) -> None:
    """Names that begin with a slash, as in memory and over SFTP, are those of a folder."""
    import fsspec

    files = fsspec.filesystem("memory")
    files.put(f"{folder}/2024", "/shelf/2024", recursive=True)
    try:
        found = headrace.scan(f"memory://{pattern}", store=files)
        assert "2024/a/x.wav".endswith(next(one for one in found.ids.to_pylist() if "x.wav" in one))
        assert len(found.windows(8_000, 0.1)[0].audio) == 800
    finally:
        files.rm("/shelf", recursive=True)


def test_a_file_system_that_needs_arguments_is_one_sentence(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The one of FTP cannot be made without the name of a host; the user can make it."""

    def refuse(scheme: str) -> None:
        raise TypeError(f"{scheme} misses 'host', but has the password secretword")

    monkeypatch.setattr("fsspec.filesystem", refuse)
    with pytest.raises(CatalogError, match=r"ftp:// URLs .* give it as store=") as told:
        headrace.scan("ftp://host/a.wav")
    assert "secret" not in str(told.value)


def test_a_file_url_is_one_sentence() -> None:
    """Who writes file:// is told to give a path."""
    with pytest.raises(CatalogError, match="give the path, without file://"):
        headrace.scan("file:///data/*.wav")


def test_a_web_server_is_not_searched(server: ObjectServer) -> None:
    """A pattern on a web server is refused with the reason."""
    with pytest.raises(CatalogError, match="a web server lists no files"):
        headrace.scan(f"{server.url}/data/*.wav")


def test_files_and_urls_are_not_mixed(folder: Path, server: ObjectServer) -> None:
    """Ids need one common folder."""
    with pytest.raises(CatalogError, match="separately"):
        headrace.scan([str(folder), "s3://bucket/data"], store=server.options)
    with pytest.raises(CatalogError, match="each bucket"):
        headrace.scan([f"{server.url}/data/top.flac", "http://localhost:1/x.wav"])


def test_a_pattern_without_objects_says_what_there_is(server: ObjectServer) -> None:
    """The message names some of the objects below the folder."""
    with pytest.raises(NoRecordingsError, match=r"Below 's3://bucket/data/2025' there are 4"):
        headrace.scan("s3://bucket/data/2025/*.wav", store=server.options)
    with pytest.raises(NoRecordingsError, match="there are no objects below"):
        headrace.scan("s3://bucket/dat/*.wav", store=server.options)


def test_a_typo_does_not_list_a_whole_bucket() -> None:
    """To name some objects, a few pages of a bucket are listed, however many it has."""
    with ObjectServer({f"a/{number:05}.txt": b"x" for number in range(9_500)}) as server:
        with pytest.raises(NoRecordingsError, match=r"there are 1,000 objects or more: 'a/00000"):
            headrace.scan("s3://bucket/*.wav", store=server.options)
        assert server.counts["LIST"] <= 4


def test_unchanged_objects_are_not_read_again(server: ObjectServer, tmp_path: Path) -> None:
    """With `cache`, a second scan lists, and asks for nothing that has its size and version."""
    cache = tmp_path / "catalog.parquet"
    first = headrace.scan("s3://bucket/data/2024", store=server.options, cache=cache)
    server.requests.clear()
    again = headrace.scan("s3://bucket/data/2024", store=server.options, cache=cache)
    assert [request for request in server.requests if request.method == "GET"] == []
    assert again.to_arrow().equals(first.to_arrow())


def test_an_object_that_changed_is_read_again(tmp_path: Path) -> None:
    """Another version under the same name is scanned again; without a scan it is CHANGED."""
    sounds = []
    for seed in (1, 2):
        write(tmp_path / "x.wav", speechlike(8_000, seed=seed), 8_000, "WAV", "PCM_16")
        sounds.append((tmp_path / "x.wav").read_bytes())
    with ObjectServer({"x.wav": sounds[0]}) as server:
        cache = tmp_path / "catalog.parquet"
        first = headrace.scan("s3://bucket", store=server.options, cache=cache)
        server.add({"x.wav": sounds[1]})
        loader = first.windows(8_000, 0.25).loader(on_error="skip")
        assert list(loader) == []
        assert {failure.code for failure in loader.failures} == {"CHANGED"}
        second = headrace.scan("s3://bucket", store=server.options, cache=cache)
        assert second[0].version != first[0].version
        assert len(list(second.windows(8_000, 0.25).loader())) == 4


def test_objects_that_cannot_be_read_are_failures_with_their_reason(server: ObjectServer) -> None:
    """One object without permission does not cost its neighbours anything."""
    server.fault = lambda request: Fault(status=403) if request.key.endswith("y.WAV") else None
    try:
        with pytest.warns(headrace.HeadraceWarning, match="1 of 4"):
            catalog = headrace.scan("s3://bucket/data/2024", store=server.options)
    finally:
        server.fault = lambda _: None
    (failure,) = catalog.failures
    assert (failure.file_id, failure.code) == ("a/y.WAV", "PERMISSION")
    assert failure.path == "s3://bucket/data/2024/a/y.WAV"


def test_a_bucket_that_cannot_be_listed_is_one_sentence(server: ObjectServer) -> None:
    """No text of the store or the client is shown."""
    with pytest.raises(
        StoreError, match=r"^Cannot list 's3://bucket/x': the store's server"
    ) as told:
        headrace.scan("s3://bucket/x/*", store={**server.options, "endpoint": "http://127.0.0.1:1"})
    assert told.value.__cause__ is None
    with pytest.raises(StoreError, match="store= must be a store of obstore"):
        headrace.scan("s3://bucket/x/*", store=7)


@pytest.mark.parametrize(
    ("pattern", "stalls_at", "verify"),
    [
        ("s3://bucket/*.wav", 0, "headers"),
        ("{url}/a.wav", 0, "headers"),
        ("s3://bucket/*.wav", 64 << 10, "decode"),
        ("s3://bucket/*.tar", 0, "headers"),
        ("{url}/a.tar", 0, "headers"),
        ("s3://bucket/*.tar", 64 << 10, "headers"),
    ],
)
def test_ctrl_c_ends_a_scan_of_a_server_that_stalls(
    tmp_path: Path, pattern: str, stalls_at: int, verify: str
) -> None:
    """Whatever its threads wait for: heads of objects, of tars, or what stands behind them."""
    write(tmp_path / "a.wav", speechlike(40_000), 8_000, "WAV", "PCM_16")
    with tarfile.open(tmp_path / "a.tar", "w") as tar:
        tar.add(tmp_path / "a.wav", "1.wav")
        tar.add(tmp_path / "a.wav", "2.wav")
    with ObjectServer() as server:
        server.add_folder(tmp_path)
        server.fault = lambda one: (
            Fault(stall=True) if one.method == "GET" and one.stop > stalls_at else None
        )
        arguments = f"{pattern.format(url=server.url)!r}, verify={verify!r}"
        if pattern.startswith("s3"):
            arguments += f", store={server.options}"
        program = f"import headrace; headrace.scan({arguments})"
        with subprocess.Popen(
            interruptible(program), stderr=subprocess.PIPE, text=True, cwd=tmp_path
        ) as process:
            assert server.stalled.wait(60)
            process.send_signal(signal.SIGINT)
            _, errors = process.communicate(timeout=60)
    assert errors.rstrip().endswith("KeyboardInterrupt")


def test_a_redirect_takes_no_credentials_to_another_server(folder: Path) -> None:
    """The other server is asked without the user and the password; the same one, with them."""
    with ObjectServer() as one, ObjectServer() as other:
        for server in (one, other):
            server.add_folder(folder / "2024" / "a")
        to = {"x.wav": f"{other.url}/x.wav", "moved.wav": f"{one.url}/x.wav?moved"}
        one.objects["moved.wav"] = b""
        one.fault = lambda asked: (
            Fault(status=302, location=to[asked.key])
            if asked.key in to and asked.query != "moved"
            else None
        )
        begin = one.url.replace("//", "//user:word@")
        for name in to:
            headrace.scan(f"{begin}/{name}").windows(8_000, 0.2)[0]
        sent = "Basic " + base64.b64encode(b"user:word").decode()
        assert {asked.authorization for asked in one.requests} == {sent}
        assert {asked.authorization for asked in other.requests} == {""}
        assert "moved" in {asked.query for asked in one.requests}


@pytest.mark.parametrize("is_local", [True, False])
def test_a_catalog_sends_no_request_to_where_its_root_does_not_lead(
    folder: Path, server: ObjectServer, tmp_path: Path, *, is_local: bool
) -> None:
    """A row with the URL of another server is refused; with root=, it is a recording below that."""
    own = str(folder / "2024") if is_local else "s3://bucket/data/2024"
    headrace.scan(own, store=server.options).save(tmp_path / "catalog.parquet")
    table = pq.read_table(tmp_path / "catalog.parquet")
    paths = [f"{server.url}/data/2024/{table['id'][0]}", *table["path"].to_pylist()[1:]]
    at = table.column_names.index("path")
    table = table.set_column(at, table.schema.field(at), pa.array(paths, pa.string()))
    pq.write_table(table, tmp_path / "catalog.parquet")
    server.requests.clear()
    with pytest.raises(CatalogError, match=r"names 'http://.*wav', which is not below its root"):
        headrace.load_catalog(tmp_path / "catalog.parquet", store=server.options)
    moved = headrace.load_catalog(tmp_path / "catalog.parquet", root=folder / "2024")
    moved.windows(8_000, 0.1)[0]
    assert not server.requests


def test_a_bucket_that_does_not_exist_is_one_sentence(server: ObjectServer) -> None:
    """The message does not speak of an object that nobody has named."""
    with pytest.raises(StoreError, match="'s3://another': there is no such bucket"):
        headrace.scan("s3://another/**/*.wav", store=server.options)


@pytest.mark.parametrize("key", ["data//x.wav", "data/../x.wav", "./x.wav", "a\tb.wav"])
def test_a_name_that_the_client_cannot_read_is_one_sentence(folder: Path, key: str) -> None:
    """It is quoted with what to do, at once; folders without it are scanned."""
    with ObjectServer() as server:
        server.add_folder(folder / "2024", "good/")
        server.objects[key] = b""
        with pytest.raises(StoreError, match=f"object {re.escape(repr(key))} whose name") as told:
            headrace.scan("s3://bucket/**/*.wav", store=server.options)
        assert "rename it" in str(told.value)
        assert server.counts["LIST"] == 1
        good = headrace.scan("s3://bucket/good/**/*.wav", store=server.options)
        assert good.ids.to_pylist() == find(str(folder / "2024/**/*.wav")).ids
        with pytest.raises(StoreError, match="rename it"):
            headrace.scan(f"s3://bucket/{key}", store=server.options)


@pytest.mark.parametrize(
    ("pattern", "words"),
    [("data/top.flac", "and this machine's clock"), ("data/*.flac", "clock is off: set the clock")],
)
def test_a_clock_that_is_off_is_one_sentence(
    server: ObjectServer, pattern: str, words: str
) -> None:
    """Signed requests are refused; a HEAD request is not told why, so its message names both."""
    server.fault = lambda _: Fault(status=403, body="<Code>RequestTimeTooSkewed</Code>")
    try:
        with pytest.raises((StoreError, NoRecordingsError), match=words):
            headrace.scan(f"s3://bucket/{pattern}", store=server.options)
    finally:
        server.fault = lambda _: None


def test_credentials_are_nowhere_in_what_is_kept_or_shown(
    server: ObjectServer, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Catalogs, states, representations, errors, statistics, traces and logs hold no secret."""
    caplog.set_level(0)
    secrets = ["AKIASECRETNAME", "verysecretword", "querysecret", "secretuser", "sign@secret"]
    shown = []
    bucket = headrace.scan("s3://bucket/data/2025", store=server.options)
    web = headrace.scan(
        [
            f"{server.url}/data/2025/a/x.wav?sig=querysecret",
            f"{server.url}/data/top.flac?sig=querysecret",
        ]
    )
    with_password = server.url.replace("://", "://secretuser:sign%40secret@")
    private = headrace.scan([f"{with_password}/data/top.flac"])
    authorization = b"Basic " + base64.b64encode(b"secretuser:sign@secret")
    assert server.requests[-1].authorization == authorization.decode()
    said = authorization.decode().removeprefix("Basic ")
    secrets += [said, "sign%40secret"]
    refused = Fault(status=403, body=" ".join(secrets))
    for catalog in (bucket, web, private):
        catalog.save(tmp_path / "catalog.parquet")
        loader = catalog.windows(8_000, 0.1).loader(batch_size=2, on_error="skip")
        server.fault = lambda _: refused
        try:
            with loader.trace(tmp_path / "trace.json"):
                list(loader)
        finally:
            server.fault = lambda _: None
        assert loader.failures
        shown += [
            (tmp_path / "catalog.parquet").read_bytes().decode("latin-1"),
            (tmp_path / "trace.json").read_text(),
            repr(catalog),
            repr(list(catalog)),
            catalog._repr_html_(),
            str(catalog.to_arrow()),
            repr(loader),
            repr(loader.failures),
            str(loader.stats()),
            json.dumps(loader.state_dict()),
            repr(catalog.__reduce__()),
            repr(catalog.store),
            repr(vars(catalog)),
            *caplog.messages,
        ]
    for text in shown:
        assert not any(secret in text for secret in secrets)


def test_a_password_in_a_url_is_used_or_refused(server: ObjectServer, tmp_path: Path) -> None:
    """A web server gets it; where it would be dropped or kept, one sentence says so without it."""
    address = server.url.removeprefix("http://")
    server.fault = lambda asked: None if asked.authorization else Fault(status=401)
    private = [f"http://me:hidden@{address}/data/top.flac"]
    with pytest.raises(NoRecordingsError, match="check the credentials"):
        headrace.scan([f"{server.url}/data/top.flac"])
    catalog = headrace.scan(private)
    assert catalog.windows(8_000, 0.1)[0].audio.any()
    catalog.save(tmp_path / "c.parquet")
    header = {"authorization": b"Basic " + base64.b64encode(b"me:hidden")}
    store = {"client_options": {"default_headers": header}}
    again = headrace.load_catalog(tmp_path / "c.parquet", store=store)
    assert again.windows(8_000, 0.1)[0].audio.any()
    server.fault = lambda _: None
    table = catalog.to_pandas().drop(columns="id")
    table["path"] = private
    refused: list[tuple[Callable[[], object], str]] = [
        (lambda: headrace.scan("s3://me:hidden@bucket/**/*.wav"), "does not take"),
        (lambda: headrace.scan(private, store=object()), "does not take"),
        (lambda: headrace.scan([*private, f"http://you:hidden@{address}/b.wav"]), "Two users"),
        (lambda: headrace.scan("https://me:hid/den@host/b.wav"), "write / [?] # in these as"),
        (lambda: headrace.scan(server.url + "/a.wav", root="http://me:hidden@host"), "not keep"),
        (lambda: headrace.load_catalog(tmp_path / "c.parquet", "http://me:hidden@h"), "not keep"),
        (lambda: headrace.Catalog.from_table(table), "not keep"),
        (lambda: headrace.from_table("http://me:hidden@host/a.parquet"), "is a URL, and such"),
        (lambda: headrace.load_catalog("http://me:hidden@host/a.parquet"), "is a URL, and such"),
        (lambda: catalog.save("http://me:hidden@host/a.parquet"), "is a URL, and such"),
    ]
    for call, words in refused:
        with pytest.raises(headrace.CatalogError, match=words) as told:
            call()
        assert "hid" not in str(told.value)


def test_moto_is_scanned_and_loaded(folder: Path) -> None:
    """A second implementation of S3, with signatures, gives the same catalog and audio."""
    import obstore.store

    with serve_bucket("shelf") as environment:
        options: dict[str, Any] = {
            "endpoint": environment["AWS_ENDPOINT_URL"],
            "access_key_id": "key",
            "secret_access_key": "secret",
            "region": "us-east-1",
        }
        shelf = obstore.store.from_url("s3://shelf", client_options={"allow_http": True}, **options)
        for path in filter(Path.is_file, folder.rglob("*")):
            shelf.put("data/" + path.relative_to(folder).as_posix(), path.read_bytes())
        catalog = headrace.scan("s3://shelf/data/**/*.wav", store=options)
        local = headrace.scan(str(folder / "**/*.wav"))
        assert catalog.fingerprint == local.fingerprint
        pairs = zip(
            catalog.windows(8_000, 0.25).loader(),
            local.windows(8_000, 0.25).loader(),
            strict=True,
        )
        assert all((one.audio == other.audio).all() for one, other in pairs)


@pytest.mark.parametrize("with_index", [False, True])
def test_tars_in_a_bucket_are_scanned_and_loaded_like_tars_in_a_folder(
    folder: Path, tmp_path: Path, *, with_index: bool
) -> None:
    """Members, sidecars, ids, lengths and audio are the same, with and without an index."""
    with tarfile.open(tmp_path / "shard-0.tar", "w") as tar:
        for name in NAMES[:3]:
            tar.add(folder / name, name)
        for name, content in (("2024/a/x.txt", b"a bird"), ("2024/b/x.json", b'{"site": 3}')):
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    shutil.copy(folder / "top.flac", tmp_path / "top.flac")
    if with_index:
        with (tmp_path / "shard-0.tar").open("rb") as file:
            size = (tmp_path / "shard-0.tar").stat().st_size
            text = index_text(read_tar(file, size), size)
        (tmp_path / "shard-0.tar.idx").write_text(text)
    with ObjectServer() as server:
        server.add_folder(tmp_path, "shards/")
        patterns = ("shard-*.tar", "*.flac")
        local = headrace.scan([str(tmp_path / one) for one in patterns])
        remote = headrace.scan(
            [f"s3://bucket/shards/{one}" for one in patterns], store=server.options
        )
        names = [one for one in local.columns if one not in ("path", "mtime_ns", "version")]
        assert remote.to_arrow().select(names).equals(local.to_arrow().select(names))
        assert remote[0].path == "s3://bucket/shards/shard-0.tar"
        loaders = [one.windows(8_000, 0.2).shuffle(seed=1).loader() for one in (local, remote)]
        for ours, theirs in zip(*loaders, strict=True):
            assert ours.file_id == theirs.file_id
            assert (ours.audio == theirs.audio).all()
        cache = tmp_path / "catalog.parquet"
        again = [
            headrace.scan("s3://bucket/shards/*.tar", store=server.options, cache=cache)
            for _ in range(2)
        ]
        assert again[0].to_arrow().equals(again[1].to_arrow())


def test_a_scan_that_is_killed_goes_on_where_it_was(tmp_path: Path) -> None:
    """With `cache`, what was saved before the process was killed is not read again."""
    write(tmp_path / "x_20240101_120000.wav", speechlike(4_000), 8_000, "WAV", "PCM_16")
    sound = (tmp_path / "x_20240101_120000.wav").read_bytes()
    names = [f"{number:02}_20240101_1200{number:02}.wav" for number in range(40)]
    options = {"cache": "catalog.parquet", "metadata": True, "tz": "UTC"}
    with ObjectServer(dict.fromkeys(names, sound)) as server:
        program = f"""
import headrace
from headrace.catalog import _scan
_scan._KEEP_INTERVAL_S, save = 0, _scan._save_part
def save_and_say(new, *args, **kwargs):
    save(new, *args, **kwargs)
    print(len(new), flush=True)
_scan._save_part = save_and_say
headrace.scan("s3://bucket", store={server.options}, **{options})
"""
        server.fault = lambda one: Fault(stall=True) if one.key == names[-1] else None
        with subprocess.Popen(
            interruptible(program), stdout=subprocess.PIPE, text=True, cwd=tmp_path
        ) as process:
            assert process.stdout is not None
            while int(process.stdout.readline()) < 30:
                pass
            process.kill()
        server.fault = lambda _: None
        server.requests.clear()
        options["cache"] = str(tmp_path / "catalog.parquet")
        catalog = headrace.scan("s3://bucket", store=server.options, **options)  # type: ignore[arg-type]
        assert 0 < len([one for one in server.requests if one.method == "GET"]) <= 10
        assert catalog.ids.to_pylist() == names
        assert catalog.to_arrow()["recorded_at"].to_pylist() == [
            datetime(2024, 1, 1, 12, 0, number, tzinfo=UTC) for number in range(40)
        ]


def test_a_scan_that_is_interrupted_goes_on_where_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With `cache`, what was read before Ctrl-C is not read again; columns of the user are kept."""
    write(tmp_path / "x.wav", speechlike(4_000, seed=1), 8_000, "WAV", "PCM_16")
    sound = (tmp_path / "x.wav").read_bytes()
    cache = tmp_path / "catalog.parquet"
    read: list[object] = []
    original = _object_headers.read_object_headers

    def interrupted(*args: Any, **kwargs: Any) -> Iterator[object]:
        with closing(original(*args, **kwargs)) as headers:
            for header in headers:
                if len(read) == 50:
                    raise KeyboardInterrupt
                read.append(header)
                yield header

    with ObjectServer({f"{number:03}.wav": sound for number in range(80)}) as server:
        old = headrace.scan("s3://bucket/00*.wav", store=server.options)
        old.with_columns(site=["A"] * 10).save(cache)
        with monkeypatch.context() as patched:
            patched.setattr(_scan, "read_object_headers", interrupted)
            with pytest.raises(KeyboardInterrupt):
                headrace.scan("s3://bucket", store=server.options, cache=cache)
        server.requests.clear()
        catalog = headrace.scan("s3://bucket", store=server.options, cache=cache)
        assert len([one for one in server.requests if one.method == "GET"]) == 30
        assert len(catalog) == 80
        assert catalog.column("site").tolist() == ["A"] * 10 + [None] * 70


@pytest.fixture(scope="module")
def medleys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder of recordings that a scan reads in three ways."""
    top = tmp_path_factory.mktemp("medleys")
    write(top / "a.wav", speechlike(100_000), 8_000, "WAV", "PCM_16")
    write(top / "b.mp3", speechlike(300_000, seed=1), 16_000, "MP3", "MPEG_LAYER_III")
    write(top / "c.ogg", speechlike(480_000, seed=2), 16_000, "OGG", "VORBIS")
    write(top / "d.flac", speechlike(4_000, seed=3), 8_000, "FLAC", "PCM_16")
    assert (top / "b.mp3").stat().st_size > 64 << 10
    assert (top / "c.ogg").stat().st_size > 96 << 10
    return top


def test_a_scan_says_what_it_will_read(
    medleys: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Before the first request for an object, with the bytes; what is known is not read."""
    sizes = {path.name: path.stat().st_size for path in medleys.iterdir()}
    nbytes = format_bytes((16 << 10) + sizes["b.mp3"] + (96 << 10) + sizes["d.flac"])
    reads = "1 by their first bytes, 1 by their first and last bytes, 2 whole"
    said: list[int] = []
    cache = tmp_path / "catalog.parquet"
    with ObjectServer() as server, caplog.at_level("INFO", "headrace"):
        server.add_folder(medleys)

        def listen(_: Request) -> None:
            said.append(len(caplog.records))

        server.fault = listen
        headrace.scan("s3://bucket", store=server.options, cache=cache)
        headrace.scan("s3://bucket", store=server.options, cache=cache)
    assert set(said) == {1}
    assert [record.getMessage() for record in caplog.records] == [
        f"Reading 4 objects: {reads}; about {nbytes}.",
        "Nothing is read; 4 are known.",
    ]


def test_a_scan_of_urls_says_what_it_will_read(
    medleys: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A web server says no size beforehand; which files are read whole is known all the same."""
    with ObjectServer() as server, caplog.at_level("INFO", "headrace"):
        server.add_folder(medleys)
        headrace.scan([f"{server.url}/{path.name}" for path in medleys.iterdir()])
        for name in ("a.wav", "c.ogg"):
            headrace.scan(f"{server.url}/{name}")
    first, last = 64 << 10, 48 << 10
    reads = "2 by their first bytes, 1 by their first and last bytes, 1 whole"
    assert [record.getMessage() for record in caplog.records] == [
        f"Reading 4 objects: {reads}; more than {format_bytes(4 * first + last)}.",
        f"Reading 1 object: 1 by their first bytes; about {format_bytes(first)}.",
        f"Reading 1 object: 1 by their first and last bytes; about {format_bytes(first + last)}.",
    ]


def test_a_scan_that_decodes_says_that_it_reads_everything(
    medleys: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Of what has not been decoded before; nothing is said of the rest, or of files."""
    sizes = {path.name: path.stat().st_size for path in medleys.iterdir()}
    cache = tmp_path / "catalog.parquet"
    with ObjectServer() as server, caplog.at_level("INFO", "headrace"):
        server.add_folder(medleys)
        for pattern in ("s3://bucket/*.wav", "s3://bucket", "s3://bucket"):
            headrace.scan(pattern, store=server.options, cache=cache, verify="decode")
    headrace.scan(medleys, verify="decode")
    said = [record.getMessage() for record in caplog.records]
    others = sum(size for name, size in sizes.items() if not name.endswith(".wav"))
    assert [one for one in said if one.startswith("Decoding")] == [
        f"Decoding 1 recording: reading {format_bytes(sizes['a.wav'])}.",
        f"Decoding 3 recordings: reading {format_bytes(others)}.",
    ]


def test_a_scan_of_m4a_says_that_it_reads_the_tables(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """It is not said to be read whole, and it is not; the tables behind the audio are read."""
    audio = noise(20 * 48_000).astype(np.float32)
    write_by_ffmpeg(tmp_path / "a.m4a", audio, "ipod", "aac", 128_000)
    size = (tmp_path / "a.m4a").stat().st_size
    assert size > 256 << 10
    with ObjectServer() as server, caplog.at_level("INFO", "headrace"):
        server.add_folder(tmp_path)
        headrace.scan("s3://bucket", store=server.options)
    said = [record.getMessage() for record in caplog.records]
    assert said == [f"Reading 1 object: 1 by their first bytes; about {format_bytes(16 << 10)}."]
    read = [one.stop - one.start for one in server.requests if one.method == "GET"]
    assert len(read) == 2
    assert sum(read) < size / 4


def test_the_command_line_says_what_a_scan_will_read(
    medleys: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On standard error, whether that is a terminal or not; a disk cache is filled."""
    with ObjectServer() as server:
        server.add_folder(medleys)
        monkeypatch.setenv("AWS_ENDPOINT_URL", server.endpoint)
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "x")
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "y")
        given = ["--disk-cache", str(tmp_path / "kept"), "--disk-cache-size", "1 GiB"]
        result = CliRunner().invoke(app, ["scan", "s3://bucket", *given])
    assert result.exit_code == 0
    assert "headrace: Reading 4 objects: 1 by their first bytes" in result.stderr
    assert (tmp_path / "kept" / "CACHE").exists()


def test_a_scan_feeds_the_disk_cache_of_loaders(medleys: Path, tmp_path: Path) -> None:
    """What was read whole is not fetched again, neither by a loader nor by the next scan."""
    cache: dict[str, Any] = {"disk_cache": tmp_path / "kept", "disk_cache_size": "100 MB"}
    with ObjectServer() as server:
        server.add_folder(medleys)
        catalog = headrace.scan("s3://bucket", store=server.options, **cache)
        server.requests.clear()
        windows = catalog.filter(lambda row: row.format == "MP3").windows(8_000, 1.0)
        loader = windows.loader(cache=tmp_path / "kept", cache_size="100 MB")
        ours = [window.audio for window in loader]
        headrace.scan("s3://bucket/b.mp3", store=server.options, **cache)
        assert [one for one in server.requests if one.method == "GET"] == []
        url = f"{server.url}/d.flac"
        headrace.scan(url, **cache)
        server.requests.clear()
        headrace.scan(url, **cache, verify="decode")
        assert len(server.requests) == 1  # its size and version are asked for
    local = headrace.scan(str(medleys / "*.mp3"))
    for one, other in zip(ours, local.windows(8_000, 1.0).loader(), strict=True):
        assert (one == other.audio).all()
    with pytest.raises(ValueError, match="disk_cache= and disk_cache_size= belong together"):
        headrace.scan("s3://bucket", disk_cache=tmp_path)
