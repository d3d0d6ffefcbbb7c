import json
import math

import pytest

from headrace.failures import Code, Failure, failure_from_json, failure_to_json

WHOLE_FILE = Failure("a.wav", "/data/a.wav", Code.EMPTY, "the file has no frames")
SPAN = Failure("b.wav", "/data/b.wav", Code.NON_FINITE, "NaN", 1.0, 2.5, windows=3, index=7)


@pytest.mark.parametrize("failure", [WHOLE_FILE, SPAN], ids=["whole file", "span"])
def test_a_failure_comes_back_from_json(failure: Failure) -> None:
    """A failure that is saved without its defaults and loaded again is equal to itself."""
    text = json.dumps(failure_to_json(failure, omit_defaults=True), allow_nan=False)

    assert failure_from_json(json.loads(text)) == failure


def test_a_failure_as_json_has_every_attribute() -> None:
    """Infinity, which JSON lacks, becomes null, and the code is plain text."""
    values = failure_to_json(WHOLE_FILE)

    assert values == {
        "file_id": "a.wav",
        "path": "/data/a.wav",
        "code": "EMPTY",
        "message": "the file has no frames",
        "start_s": 0.0,
        "stop_s": None,
        "windows": 0,
        "index": -1,
    }
    assert type(values["code"]) is str
    assert WHOLE_FILE.stop_s == math.inf


def test_a_failure_as_json_can_be_reduced() -> None:
    """Callers choose the attributes, or leave out those that have their default."""
    assert failure_to_json(SPAN, ("file_id", "stop_s")) == {"file_id": "b.wav", "stop_s": 2.5}
    assert list(failure_to_json(WHOLE_FILE, omit_defaults=True)) == [
        "file_id",
        "path",
        "code",
        "message",
    ]
