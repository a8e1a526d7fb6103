"""What visitors do, in Chromium, with an API at the URL of its function."""

from collections.abc import Callable

import pytest
from playwright.sync_api import BrowserContext

from tests.browser.test_flows import *  # noqa: F403

pytestmark = pytest.mark.exhaustive


@pytest.fixture(scope="module")
def api_url(fronts: dict[str, str]) -> str:
    return fronts["url"]


@pytest.fixture  # type: ignore[no-redef]
def context(new_context: Callable[..., BrowserContext]) -> BrowserContext:
    return new_context(service_workers="allow", color_scheme="dark")
