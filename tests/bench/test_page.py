from tests.bench.page import TITLES, merged


def test_a_section_that_is_measured_anew_leaves_the_others_as_they_were() -> None:
    first = merged("", {"serving": "old serving\n\n| a |", "reconcile": "old reconcile"})
    second = merged(first, {"serving": "new serving"})
    assert "new serving" in second
    assert "old serving" not in second
    assert "old reconcile" in second


def test_sections_keep_their_order_whenever_they_were_measured() -> None:
    page = merged(merged("", {"waiting": "w", "reconcile": "r"}), {"swap": "s"})
    page = merged(page, {"serving": "p", "profile": "f", "log": "l", "replicas": "n", "beside": "b"})
    places = [page.index(f"## {title}") for title in TITLES.values()]
    assert places == sorted(places)


def test_measuring_the_same_again_changes_nothing() -> None:
    page = merged("", {"serving": "p", "swap": "s"})
    assert merged(page, {}) == page
