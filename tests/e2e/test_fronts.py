"""Each front responds as the REST API does: the tests of HTTP, of clients and of histories again."""

from __future__ import annotations

import pytest

from tests.e2e.test_clients import *  # noqa: F403
from tests.e2e.test_history import *  # noqa: F403
from tests.e2e.test_http import *  # noqa: F403

pytestmark = pytest.mark.exhaustive


@pytest.fixture(scope="module", params=["http", "url"])
def api_url(fronts, request):
    return fronts[request.param]
