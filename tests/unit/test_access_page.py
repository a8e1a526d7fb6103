"""docs/access-responses.md shows the verdicts that the tests of deployed stages assert."""

from chalicelib import settings
from tests.doc_pages import PAGES
from tests.e2e import access_table


def test_access_page_shows_the_asserted_verdicts():
    """`python -m tests.e2e.access_table` writes the verdicts."""
    assert PAGES["docs/access-responses.md"] == access_table.render()


def test_verdicts_cover_each_setting_of_writers_and_readers():
    assert access_table.WITHOUT_CREDENTIALS.keys() == access_table.UNKNOWN_PATH.keys() == {*settings.CALLERS}
    assert access_table.BY_CALLER.keys() == {*settings.CALLERS} - {"anyone"}


def test_only_requests_without_counter_data_are_open_to_all():
    opened = {
        (method, path)
        for method, path in access_table.list_routes()
        if access_table.expect_without_credentials("iam", method, path) == access_table.ALLOWED and method != "OPTIONS"
    }

    assert opened == {(method, path) for method in ("GET", "HEAD") for path in ("/", "/openapi.json")}
