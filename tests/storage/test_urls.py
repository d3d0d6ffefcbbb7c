import pytest

from headrace.errors import CatalogError
from headrace.storage import is_url, parse_url, redacted


def test_a_drive_is_no_url() -> None:
    """Paths of Windows and of POSIX are not taken for URLs."""
    assert is_url("s3://bucket/a.wav")
    assert is_url("https://host/a.wav")
    assert not is_url("C://folder/a.wav")
    assert not is_url("/data/a.wav")
    assert not is_url("data/s3:/a.wav")


def test_users_passwords_queries_and_fragments_are_not_in_the_text_of_a_url() -> None:
    """What may be secret is in no text and no representation of a URL."""
    url = parse_url("HTTPS://me:word@host:8080/a%20b/c.wav?X-Amz-Signature=abc#frag")
    assert url.text == "https://host:8080/a%20b/c.wav"
    assert url.query == "X-Amz-Signature=abc"
    assert "abc" not in repr(url)
    assert "word" not in repr(url)


def test_a_container_of_azure_is_no_user() -> None:
    """What stands before the @ of such a URL is needed to find the object; a password is not."""
    url = "abfss://shelf@account.dfs.core.windows.net/a@b/c.wav"
    assert parse_url(url).text == redacted(url) == url
    for secret in ("me:word", "me@home:word"):
        text = f"abfss://{secret}@account.dfs.core.windows.net/c.wav"
        assert "word" not in parse_url(text).text + redacted(text)


def test_a_password_may_have_an_at_sign() -> None:
    """All of it is left out, and the @ of a folder is not taken for its end."""
    url = "https://me:wo@rd@host/a@b.wav"
    assert parse_url(url).text == redacted(url) == "https://host/a@b.wav"


def test_question_marks_are_wildcards_in_buckets() -> None:
    """Only URLs of web servers have a query."""
    assert parse_url("s3://bucket/take?.wav").key == "take?.wav"


@pytest.mark.parametrize(
    "query",
    ["sv=2024-08-04&se=2026&sig=secret", "X-Goog-Signature=secret", "AWSAccessKeyId=secret&a=1"],
)
def test_a_signature_behind_the_url_of_a_bucket_is_refused(query: str) -> None:
    """It would be taken for a pattern, and shown. The message has the URL without it."""
    with pytest.raises(CatalogError, match=r"'az://shelf/a\.wav' was given with a query") as told:
        parse_url(f"az://shelf/a.wav?{query}")
    assert "secret" not in str(told.value)
    for pattern in ("?/monkey=1/x.wav", "day=?/x.wav", "??.wav"):
        assert parse_url(f"s3://bucket/{pattern}").key == pattern


def test_every_url_in_a_text_is_redacted() -> None:
    """A message that quotes URLs keeps their hosts and paths only."""
    text = "no https://u:p@h/x.wav?sig=1 and 'gs://b/y.wav#z', but s3://b/k"
    assert redacted(text) == "no https://h/x.wav and 'gs://b/y.wav', but s3://b/k"


@pytest.mark.parametrize("text", ["s3:///key", "https://?q"])
def test_a_url_without_a_bucket_is_refused(text: str) -> None:
    """The message says what to write."""
    with pytest.raises(CatalogError, match="names no bucket or server"):
        parse_url(text)
