"""Child processes beside a loader in the parent, and loaders in other libraries' workers."""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path

PRELUDE = """
import faulthandler, multiprocessing, os, sys, warnings
faulthandler.dump_traceback_later(50, exit=True)
warnings.simplefilter("ignore")  # Python warns of a fork in a process with threads
import headrace

def count(windows):
    return sum(len(batch) for batch in windows.loader(batch_size=4, workers=2))

def child(windows):
    assert count(windows) == len(windows)
"""

PARENT = """
if __name__ == "__main__":
    windows = headrace.scan(sys.argv[1]).windows(sample_rate=16_000, window_s=0.25)
    loader = windows.loader(batch_size=3, workers=2, prefetch=4)
    it = iter(loader)
    seen = len(next(it))
"""

FORK = """
    faulthandler.cancel_dump_traceback_later()  # a forked child would wait for its thread
    for how in ("os._exit", "sys.exit", "goes on", "drops"):
        pid = os.fork()
        if pid:
            assert os.waitpid(pid, 0)[1] == 0, how
            seen += len(next(it))
            continue
        if how == "os._exit":
            os._exit(0)
        if how == "sys.exit":
            sys.exit(0)
        if how == "drops":
            del it, loader
            os._exit(0)
        try:
            next(it)
        except headrace.ClosedError as error:
            assert "forked" in str(error)
        else:
            os._exit(3)
        assert sum(len(batch) for batch in loader) == len(windows)
        loader.close()
        os._exit(0)
    seen += sum(len(batch) for batch in it)
    assert seen == len(windows)
    print("done")
"""

START = """
    context = multiprocessing.get_context({method!r})
    process = context.Process(target=child, args=(windows,))
    process.start()
    seen += len(next(it))
    process.join()
    assert process.exitcode == 0
    if {use}:
        with context.Pool(1) as pool:
            assert pool.apply(count, (windows,)) == len(windows)
    seen += sum(len(batch) for batch in it)
    assert seen == len(windows)
    print("done")
"""


DATALOADER = """
    import torch

    class Stream(torch.utils.data.IterableDataset):
        def __iter__(self):
            info = torch.utils.data.get_worker_info()
            mine = windows[info.id :: info.num_workers]
            return (torch.from_numpy(batch.audio) for batch in mine.loader(batch_size=4, workers=2))

    loader = torch.utils.data.DataLoader(Stream(), batch_size=None, num_workers=2)
    assert sum(len(audio) for audio in loader) == len(windows)
    print("done")
"""


def run(folder: Path, body: str, pattern: str) -> None:
    """Run a script that prints a line at its end."""
    script = folder / "script.py"
    script.write_text(PRELUDE + PARENT + body)
    done = subprocess.run(
        [sys.executable, script, pattern], capture_output=True, text=True, check=False, timeout=100
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "done\n", "")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork")
def test_a_forked_child_ends_cleanly_and_may_load(archive: str, tmp_path: Path) -> None:
    """A forked copy of an iteration raises; the loader itself works, and so does exit."""
    run(tmp_path, FORK, archive)


@pytest.mark.slow
@pytest.mark.parametrize("method", multiprocessing.get_all_start_methods())
def test_children_of_every_kind_load_beside_a_loader(
    archive: str, tmp_path: Path, method: str
) -> None:
    """With a loader alive in the parent, a child loads for itself, and both finish."""
    run(tmp_path, START.format(method=method, use=True), archive)


@pytest.mark.slow
def test_a_loader_in_a_worker_of_a_torch_dataloader(archive: str, tmp_path: Path) -> None:
    """Each worker process has its own loader, and all windows are delivered."""
    pytest.importorskip("torch")
    run(tmp_path, DATALOADER, archive)
