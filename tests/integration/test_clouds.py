"""Azure Blob Storage and Google Cloud Storage, through obstore's own clients of each."""

from __future__ import annotations

import json
import os
import sys
import tarfile
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import headrace
from headrace.cli import _commands as cli
from headrace.errors import NoRecordingsError, StoreError
from tests.support.azure_server import ACCOUNT, AzureServer
from tests.support.models import loudness
from tests.support.object_server import Fault, ObjectServer
from tests.support.sounds import speechlike, write

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from headrace import Catalog

KINDS = {
    "a.wav": ("WAV", "PCM_16"),
    "b ä+%.flac": ("FLAC", "PCM_16"),
    "c.mp3": ("MP3", "MPEG_LAYER_III"),
    "d.ogg": ("OGG", "VORBIS"),
}


@dataclass(frozen=True)
class Cloud:
    """A server, and how it is reached."""

    server: ObjectServer
    scheme: str
    options: dict[str, object]
    environment: dict[str, str]
    """Variables that say the same."""
    public: list[str]
    """Options on the command line that say all but what is secret."""

    @property
    def url(self) -> str:
        """Of the bucket."""
        return f"{self.scheme}://bucket"

    @property
    def urls(self) -> tuple[str, ...]:
        """Of the bucket, by all schemes."""
        if self.scheme == "gs":
            return ("gs://bucket", "gcs://bucket")
        host = f"bucket@{ACCOUNT}.dfs.core.windows.net"
        return ("az://bucket", "azure://bucket", "abfs://bucket", f"abfss://{host}")

    def store(self, prefix: str = "") -> Any:
        """Return a store of obstore."""
        import obstore.store

        make: Any = {"az": obstore.store.AzureStore, "gs": obstore.store.GCSStore}[self.scheme]
        more = {"prefix": prefix} if prefix else {}
        return make("bucket", **self.options, **more, client_options={"allow_http": True})


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with recordings of several formats."""
    top = tmp_path_factory.mktemp("clouds") / "archive"
    for number, (name, kind) in enumerate(KINDS.items()):
        for site in ("x", "y"):
            path = top / site / name
            path.parent.mkdir(parents=True, exist_ok=True)
            write(path, speechlike(60_000 + 7_001 * number, seed=number), 16_000, *kind)
    with tarfile.open(top.parent / "shard.tar", "w") as tar:
        tar.add(top, "archive")
    return top


@pytest.fixture(params=["az", "gs"])
def cloud(request: pytest.FixtureRequest, folder: Path) -> Iterator[Cloud]:
    """Serve the folder, and a tar of it."""
    with AzureServer() if request.param == "az" else ObjectServer() as server:
        server.add_folder(folder, "archive/")
        server.objects["shards/shard.tar"] = (folder.parent / "shard.tar").read_bytes()
        if request.param == "az":
            options = server.options
            endpoint = f"{server.endpoint}/{ACCOUNT}"
            environment = {
                "AZURE_STORAGE_ACCOUNT_NAME": ACCOUNT,
                "AZURE_STORAGE_ACCOUNT_KEY": str(options["account_key"]),
                "AZURE_STORAGE_ENDPOINT": endpoint,
            }
            public = [f"account_name={ACCOUNT}", f"endpoint={endpoint}", "skip_signature=true"]
        else:
            options = server.google_options
            environment = {"GOOGLE_SERVICE_ACCOUNT_KEY": str(options["service_account_key"])}
            public = [f"base_url={server.endpoint}", "skip_signature=true"]
        yield Cloud(server, request.param, options, environment, public)


def rows_of(catalog: Catalog, *, shuffled: bool, **options: Any) -> list[Any]:
    """Return the audio of all batches."""
    windows = catalog.windows(sample_rate=8_000, window_s=0.75, hop_s=0.5)
    windows = windows.shuffle(seed=4) if shuffled else windows
    return [batch.audio.copy() for batch in windows.loader(batch_size=7, workers=2, **options)]


def codes_of(catalog: Catalog) -> set[tuple[str, str]]:
    """Load all windows; return which recordings failed, and why."""
    loader = catalog.windows(8_000, 0.75).loader(batch_size=4, workers=2, on_error="mask")
    for _ in loader:
        pass
    return {(one.file_id, str(one.code)) for one in loader.failures}


@pytest.mark.parametrize("shuffled", [False, True])
def test_a_container_is_loaded_like_a_folder(
    cloud: Cloud, folder: Path, tmp_path: Path, *, shuffled: bool
) -> None:
    """Ids, bits and orders are those of the folder: by options, a store, a tar, a saved catalog."""
    local = headrace.scan(folder)
    wanted = rows_of(local, shuffled=shuffled)
    by_options = headrace.scan(f"{cloud.url}/archive/**/*.*", store=cloud.options)
    by_store = headrace.scan(f"{cloud.url}/archive/", store=cloud.store())
    in_tar = headrace.scan(f"{cloud.url}/shards/*.tar", store=cloud.options)
    by_options.save(tmp_path / "catalog.parquet")
    loaded = headrace.load_catalog(tmp_path / "catalog.parquet", store=cloud.options)

    for catalog in (by_options, by_store, loaded):
        assert [one.id for one in catalog] == [one.id for one in local]
        assert all(str(one.version).startswith('"') for one in catalog)
    for catalog in (by_options, by_store, in_tar, loaded):
        for one, other in zip(wanted, rows_of(catalog, shuffled=shuffled), strict=True):
            np.testing.assert_array_equal(one, other)


def test_only_what_a_pattern_can_match_is_listed_and_read(cloud: Cloud) -> None:
    """The listing begins at the pattern's folder, and no other object is asked for."""
    catalog = headrace.scan(f"{cloud.url}/archive/x/*.wav", store=cloud.options)

    assert [one.path for one in catalog] == [f"{cloud.url}/archive/x/a.wav"]
    assert {one.key for one in cloud.server.requests} == {"archive/x/a.wav"}
    assert cloud.server.counts["LIST"] == 1


def test_long_listings_are_read_to_their_end(cloud: Cloud, folder: Path) -> None:
    """A store lists a thousand objects at once, or five thousand."""
    for number in range(5_100):
        cloud.server.objects[f"many/{number:05}.txt"] = b"x"
    cloud.server.objects["many/z.wav"] = (folder / "x" / "a.wav").read_bytes()

    (found,) = headrace.scan(f"{cloud.url}/many/*.wav", store=cloud.options)

    assert found.id == "z.wav"
    assert cloud.server.counts["LIST"] >= 2


def test_the_environment_and_other_schemes_reach_it(
    cloud: Cloud, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Variables of the client's are enough, and a plain address needs no further leave."""
    for name, value in cloud.environment.items():
        monkeypatch.setenv(name, value)
    for url in cloud.urls:
        assert len(headrace.scan(f"{url}/archive/x/*.wav")) == 1
    if cloud.scheme == "gs":
        monkeypatch.delenv("GOOGLE_SERVICE_ACCOUNT_KEY")
        (tmp_path / "account.json").write_text(cloud.environment["GOOGLE_SERVICE_ACCOUNT_KEY"])
        store = {"service_account": str(tmp_path / "account.json")}
        assert len(headrace.scan(f"{cloud.url}/archive/x/*.wav", store=store)) == 1


def test_what_was_replaced_or_deleted_is_told_apart(cloud: Cloud, folder: Path) -> None:
    """The ETag of the listing is that of the reads, and its lack has its own code."""
    catalog = headrace.scan(f"{cloud.url}/archive/x", store=cloud.options)
    assert codes_of(catalog) == set()
    cloud.server.objects["archive/x/a.wav"] = (folder / "x" / "a.wav").read_bytes()[:-2] + b"ab"
    del cloud.server.objects["archive/x/c.mp3"]

    assert codes_of(catalog) == {("a.wav", "CHANGED"), ("c.mp3", "MISSING")}


@pytest.mark.parametrize(("status", "code"), [(401, "PERMISSION"), (403, "PERMISSION")])
def test_who_may_not_read_is_told_so(cloud: Cloud, status: int, code: str) -> None:
    """Of an object by its code, of the whole bucket by one sentence."""
    catalog = headrace.scan(f"{cloud.url}/archive/x/*.wav", store=cloud.options)
    cloud.server.fault = lambda _: Fault(status=status)
    assert codes_of(catalog) == {("a.wav", code)}
    with pytest.raises(NoRecordingsError, match="check the credentials"):
        headrace.scan(f"{cloud.url}/archive/x/*.wav", store=cloud.options)
    cloud.server.status_of_lists = status
    with pytest.raises(StoreError, match="does not permit it"):
        headrace.scan(f"{cloud.url}/archive/x/*.wav", store=cloud.options)
    cloud.server.status_of_lists = 404
    with pytest.raises(StoreError, match="no such bucket, container or folder"):
        headrace.scan(f"{cloud.url}/archive/x/*.wav", store=cloud.options)


def test_the_store_of_another_container_is_refused(cloud: Cloud) -> None:
    """Objects of the same name in another one would be read without a word."""
    with pytest.raises(StoreError, match="store= is the bucket 'bucket'"):
        headrace.scan(f"{cloud.scheme}://other/archive/x/*.wav", store=cloud.store())


def test_a_second_epoch_comes_from_the_disk_cache(cloud: Cloud, tmp_path: Path) -> None:
    """Blocks are kept under the version of the object."""
    catalog = headrace.scan(f"{cloud.url}/archive/", store=cloud.options)
    cache = {"cache": tmp_path / "cache", "cache_size": "1 GiB"}
    first = rows_of(catalog, shuffled=True, **cache)
    cloud.server.requests.clear()
    again = rows_of(
        headrace.scan(f"{cloud.url}/archive/*/*", store=cloud.store()), shuffled=True, **cache
    )

    assert {one.method for one in cloud.server.requests} <= {"GET"}
    loaded = [one for one in cloud.server.requests if one.start >= 64 << 10]
    assert not loaded
    for one, other in zip(first, again, strict=True):
        np.testing.assert_array_equal(one, other)


def test_results_are_written_once_into_it(
    cloud: Cloud, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run has the rows of one into a folder, and is found again by a store and by its URL."""
    windows = headrace.scan(f"{cloud.url}/archive/", store=cloud.options).windows(8_000, 0.75)
    local = headrace.scan(folder).windows(8_000, 0.75)
    shelf = cloud.store("results/run")
    run = windows.apply(loudness, shelf, batch_size=4, name="loudness", part_size=10)
    again = windows.apply(loudness, shelf, batch_size=4, name="loudness", part_size=10)
    other = local.apply(
        loudness, folder.parent / f"run-{cloud.scheme}", batch_size=4, name="loudness"
    )

    assert headrace.load_run(shelf).to_arrow().num_rows == len(windows)
    for name, value in cloud.environment.items():
        monkeypatch.setenv(name, value)
    by_url = [headrace.load_run(f"{url}/results/run") for url in cloud.urls]
    for one in (run, again, *by_url):
        assert sorted(map(str, one.to_arrow().to_pylist())) == sorted(
            map(str, other.to_arrow().to_pylist())
        )


def test_the_command_line_reaches_it(
    cloud: Cloud, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """`--store` takes what is public, and refuses what is secret."""

    def run(*options: str) -> int | str | None:
        arguments = [part for one in options for part in ("--store", one)]
        pattern = f"{cloud.url}/archive/x/*.wav"
        monkeypatch.setattr(sys, "argv", ["headrace", "scan", pattern, *arguments, "--json", "-"])
        with pytest.raises(SystemExit) as exited:
            cli.main()
        return exited.value.code

    assert run(*cloud.public) == 0
    assert json.loads(capsys.readouterr().out)
    for secret in ("account_key", "sas_token", "service_account_key", "bearer_token"):
        assert run(*cloud.public, f"{secret}=hidden") == 2
        assert "hidden" not in capsys.readouterr().err


def test_credentials_are_nowhere_in_what_is_kept_or_shown(
    cloud: Cloud, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Catalogs, states, representations, traces and logs hold no key and no signature."""
    caplog.set_level(0)
    secrets = [
        "dmVyeXNlY3JldHdvcmQ",
        "verysecretword",
        "AKIASECRETNAME",
        "sassecret",
        "tokensecret",
    ]
    server = cloud.server
    if cloud.scheme == "az":
        plain = {name: value for name, value in server.options.items() if name != "account_key"}
        ways = [
            server.options,
            plain | {"sas_token": "sv=2023&sig=sassecret"},
            plain | {"bearer_token": "tokensecret"},
        ]
    else:
        ways = [
            server.google_options,
            {"base_url": server.endpoint, "bearer_token": "tokensecret"},
        ]
    catalogs = [headrace.scan(f"{cloud.url}/archive/x", store=one) for one in ways]
    catalogs.append(headrace.scan(f"{cloud.url}/archive/x", store=cloud.store()))
    signed = [f"{server.url}/archive/x/{name}?sv=1&sig=sassecret" for name in ("a.wav", "c.mp3")]
    catalogs.append(headrace.scan(signed))
    queries = " ".join(one.query + one.authorization for one in server.requests)
    assert "sig=sassecret" in queries
    assert "tokensecret" in queries
    shown: list[str] = []
    for catalog in catalogs:
        catalog.save(tmp_path / "catalog.parquet")
        loader = catalog.windows(8_000, 0.1).loader(batch_size=2, on_error="skip")
        server.fault = lambda _: Fault(status=403, body=" ".join(secrets))
        with loader.trace(tmp_path / "trace.json"):
            list(loader)
        server.status_of_lists = 403
        with pytest.raises(StoreError) as told:
            headrace.scan(f"{cloud.url}/archive/x", store=ways[-1])
        server.fault, server.status_of_lists = lambda _: None, 200
        assert loader.failures
        shown += [
            (tmp_path / "catalog.parquet").read_bytes().decode("latin-1"),
            (tmp_path / "trace.json").read_text(),
            str(told.value),
            repr(catalog),
            repr(list(catalog)),
            str(catalog.to_arrow()),
            repr(loader),
            repr(loader.failures),
            str(loader.stats()),
            json.dumps(loader.state_dict()),
            repr(catalog.__reduce__()),
            repr(vars(catalog)),
        ]
    for text in [*shown, *caplog.messages]:
        assert not any(secret in text for secret in secrets)


def test_a_container_without_an_account_is_told_what_it_lacks(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Its URL has only the container's name."""
    for name in os.environ:
        if name.upper().startswith("AZURE"):
            monkeypatch.delenv(name)
    with pytest.raises(StoreError, match=r"needs the name of the account: account_name="):
        headrace.scan("az://container/*.wav")
