"""Addresses of pages elsewhere come from the settings, and are http or https without credentials."""

import pytest

from receiver.core.links import Links, repository_page, web_page


@pytest.mark.parametrize(
    ("url", "page"),
    [
        ("https://github.com/owner/models.git", "https://github.com/owner/models"),
        ("https://me:token@github.example:8443/owner/models/", "https://github.example:8443/owner/models"),
        ("git@github.com:owner/models.git", "https://github.com/owner/models"),
        ("ssh://git@github.com:22/owner/models.git", "https://github.com/owner/models"),
        ("file:///srv/owner/models.git", None),
        ("/srv/owner/models.git", None),
        ("https://host/deeper/owner/models", None),
        ("https://host/o/r\"onclick='x", None),
    ],
)
def test_a_git_url_becomes_the_page_of_its_repository(url: str, page: str | None) -> None:
    assert repository_page(url) == page


@pytest.mark.parametrize(
    ("url", "page"),
    [
        ("http://127.0.0.1:5000/", "http://127.0.0.1:5000"),
        ("https://me:secret@mlflow.example/base/?x=1#y", "https://mlflow.example/base"),
        ("databricks://profile", None),
        ("javascript:alert(1)", None),
        ("https://host:port/", None),
        ("sqlite:///x.db", None),
    ],
)
def test_a_registry_is_linked_if_it_is_a_web_address_and_without_its_credentials(url: str, page: str | None) -> None:
    assert web_page(url) == page


def test_what_a_stranger_wrote_cannot_leave_its_place_in_an_address() -> None:
    links = Links("https://github.com/o/r", "http://mlflow")
    assert links.version("a/../b?c#d", 3) == "http://mlflow/#/models/a%2F..%2Fb%3Fc%23d/versions/3"
    assert links.commit("../x") == "https://github.com/o/r/commit/..%2Fx"
    assert links.pull_request(12) == "https://github.com/o/r/pull/12"
    assert Links().commit("ab") is None
