"""Buckets on the command line: `--store`, `--output-store` and `--results-store`."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import numpy as np
import obstore.store
import pytest
import soundfile

from headrace.cli import _commands as cli
from tests.support.bucket import serve_bucket
from tests.support.object_server import Fault, ObjectServer

if TYPE_CHECKING:
    from pathlib import Path

Run = Callable[..., tuple[int | str | None, str, str]]

MODEL = """
import numpy as np
def model(batch):
    return np.abs(batch.audio).max(axis=1, keepdims=True)
"""


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Return a function that runs `headrace`: exit code, output, errors."""
    monkeypatch.setenv("COLUMNS", "400")

    def run(*arguments: str | Path) -> tuple[int | str | None, str, str]:
        monkeypatch.setattr(sys, "argv", ["headrace", *map(str, arguments)])
        with pytest.raises(SystemExit) as exited:
            cli.main()
        return (exited.value.code, *capsys.readouterr())

    return run


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """Return a WAV file of 2 s."""
    path = tmp_path_factory.mktemp("one") / "a.wav"
    soundfile.write(path, np.sin(np.arange(32_000) / 9) / 2, 16_000)
    return path.read_bytes()


@pytest.fixture
def server(recording: bytes) -> Iterator[ObjectServer]:
    """Serve a public bucket, which refuses whoever signs a request."""
    with ObjectServer({"2025/a.wav": recording, "2025/b.wav": recording}) as serving:
        serving.fault = lambda asked: Fault(status=403) if asked.authorization else None
        yield serving


@pytest.mark.parametrize(
    "command",
    [
        ["scan"],
        pytest.param(["pack", "--sample-rate", "8000", "-o", "pack"], marks=pytest.mark.slow),
        pytest.param(["preview", "--window-s", "0.5", "-o", "a.html"], marks=pytest.mark.slow),
        pytest.param(["bench", "--workers", "1", "--rounds", "1"], marks=pytest.mark.slow),
        pytest.param(["apply", "--model", "m.py:model", "-o", "results"], marks=pytest.mark.slow),
        pytest.param(["demo", "--rounds", "1", "--budget-s", "0"], marks=pytest.mark.slow),
    ],
    ids=lambda command: command[0],
)
def test_a_public_bucket_at_an_endpoint_is_read_by_every_command(
    run: Run,
    server: ObjectServer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    command: list[str],
) -> None:
    """`--store` says where a bucket is and that nothing is signed; `--root` may be a URL."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "m.py").write_text(MODEL)
    found = ["s3://bucket/2025/*.wav", "--root", "s3://bucket"]
    if command[0] == "demo":
        found = ["--data", "s3://bucket/2025/*.wav"]
    store = ("--store", f"endpoint={server.endpoint}", "--store", "skip_signature=true")
    code, printed, errors = run(*command, *found, *store, "--json", "-")
    assert code == 0, errors
    assert json.loads(printed)
    assert server.counts["GET"] >= 2


@pytest.mark.slow
def test_results_in_a_bucket_at_an_endpoint(
    run: Run, server: ObjectServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Recordings and results may be in stores of their own; `results` and `export` read them."""
    (tmp_path / "m.py").write_text(MODEL)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    with serve_bucket("shelf") as environment:
        place = ("--store", f"endpoint={environment['AWS_ENDPOINT_URL']}", "--store", "region=x")
        output = ("-o", "s3://shelf/run", *(one.replace("--", "--output-") for one in place))
        read = ("--store", f"endpoint={server.endpoint}", "--store", "skip_signature=true")
        model = ("--model", f"{tmp_path}/m.py:model", "--window-s", "0.5")
        code, printed, errors = run("apply", "s3://bucket/2025", *read, *model, *output)
        assert code == 0, errors
        assert "s3://shelf/run" in printed
        assert run("results", "s3://shelf/run", *place)[1] == printed
        (tmp_path / "names.txt").write_text("loud\n")
        export = ("--to", "csv", "--threshold", "0.1", "--classes", tmp_path / "names.txt")
        target = ("-o", tmp_path / "found.csv")
        code, _, errors = run("export", "s3://shelf/run", *place, *export, *target)
        assert code == 0, errors
        assert len((tmp_path / "found.csv").read_text().splitlines()) == 1 + 8
        shown = ("--results", "s3://shelf/run", *export[2:], "-o", tmp_path / "found.html")
        of_results = (one.replace("--", "--results-") for one in place)
        code, printed, errors = run("preview", "s3://bucket/2025", *read, *shown, *of_results)
        assert code == 0, errors
        assert "8 of 8 windows, highest score first" in printed
        shelf = obstore.store.S3Store(
            "shelf",
            endpoint=environment["AWS_ENDPOINT_URL"],
            access_key_id="key",
            secret_access_key="secret",
            client_options={"allow_http": True},
        )
        assert shelf.head("run/run.json")["size"] > 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("scan", "s3://b/*.wav", "--store", "endpoint"), "'endpoint' is not KEY=VALUE"),
        (("scan", "s3://b/*.wav", "--store", "secret_access_key=x"), "environment variable"),
        (("scan", "s3://b/*.wav", "--store", "aws_session_token=x"), "environment variable"),
        (("results", "folder", "--store", "region=x"), "'folder' is no URL of a bucket"),
        (
            ("preview", "x", "--results", "folder", "--results-store", "region=x"),
            "'folder' is no URL of a bucket: leave --results-store out",
        ),
        (("preview", "x", "--results-store", "region=y"), "it is about --results: give that"),
        (("demo", "--store", "region=y"), "recordings in a bucket: give --data"),
        (("results", "s3://b/x", "--store", "colour=red"), "the store of s3://b/x reports"),
        (("scan", "s3://b/*.wav", "--store", "client_options=y"), "must be a mapping"),
        (("scan", "s3://b/*.wav", "--store", "colour=red"), "its options are colour"),
    ],
)
def test_options_that_a_store_cannot_have_are_one_sentence(
    run: Run, arguments: tuple[str, ...], message: str
) -> None:
    """Secrets are refused, because a command line is not; so are words without a value."""
    code, _, errors = run(*arguments)
    assert code in (1, 2)
    assert message in re.sub(r"[│\s]+", " ", errors)
    assert "Traceback" not in errors
    assert "=x" not in errors


@pytest.mark.parametrize(
    "arguments",
    [
        ("scan", "x", "--disk-cache", "s3://b/kept", "--disk-cache-size", "1 GiB"),
        ("scan", "x", "--save", "s3://b/catalog.parquet"),
        ("scan", "x", "--cache", "https://me:hidden@host/catalog.parquet"),
        ("preview", "x", "-o", "s3://b/page.html"),
        ("export", "x", "--to", "raven", "-o", "s3://b/tables"),
    ],
)
def test_a_url_for_a_file_of_this_machine_is_one_sentence(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...]
) -> None:
    """No folder named ``s3:`` is made, and no password is shown."""
    monkeypatch.chdir(tmp_path)
    code, _, errors = run(*arguments)
    assert code == 2
    assert "is a URL, and this is read and written" in re.sub(r"[│\s]+", " ", errors)
    assert "hidden" not in errors
    assert list(tmp_path.iterdir()) == []
