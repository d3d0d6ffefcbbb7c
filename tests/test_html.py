import jinja2
import pytest

from headrace import _html


@pytest.fixture
def template(monkeypatch: pytest.MonkeyPatch) -> None:
    """Add a template named "greeting.html" to those of headrace."""
    loader = jinja2.DictLoader({"greeting.html": "<p>{{ name }}</p>"})
    monkeypatch.setattr(_html._environment(), "loader", loader)


@pytest.mark.usefixtures("template")
def test_values_are_escaped() -> None:
    """A value that looks like markup is shown as text."""
    assert _html.render("greeting.html", name="<b>&") == "<p>&lt;b&gt;&amp;</p>"


@pytest.mark.usefixtures("template")
def test_a_missing_variable_is_an_error() -> None:
    """A template never shows nothing in place of a forgotten variable."""
    with pytest.raises(jinja2.UndefinedError, match="'name' is undefined"):
        _html.render("greeting.html")


def test_every_template_can_be_parsed() -> None:
    """A syntax error is found without rendering the page that has it."""
    environment = _html._environment()
    names = environment.list_templates(extensions=["html", "svg"])

    assert {"preview/page.html", "sweep/page.html", "cards/card.html"} <= set(names)
    for name in names:
        environment.get_template(name)
