"""
Each front responds like the REST API.

The tests of HTTP, clients, histories, exactly-once counting and the OpenAPI document run again for each front.
"""

import re
import shutil
import subprocess

import httpx
import pytest

from tests.doc_pages import section
from tests.e2e.conftest import eventually
from tests.e2e.test_clients import *  # noqa: F403
from tests.e2e.test_exactly_once import *  # noqa: F403
from tests.e2e.test_history import *  # noqa: F403
from tests.e2e.test_http import *  # noqa: F403
from tests.e2e.test_openapi import document, run_schemathesis, test_service_conforms_to_the_document  # noqa: F401

pytestmark = pytest.mark.exhaustive


@pytest.fixture(scope="module", params=["http", "url"])
def api_url(fronts, request):
    return fronts[request.param]


#: Send these requests to the Worker as Cloudflare does, and print the statuses of its responses.
CALL_WORKER = """
const [path, API, SECRET] = process.argv.slice(1);
const { default: worker } = await import(path);
const page = "https://page.example/api/counters/";
const ask = (path, options) => worker.fetch(new Request(page + path, options), { API, SECRET });
const headers = { "Content-Type": "application/json", "Idempotency-Key": "k", "X-Origin-Secret": "forged" };
const increment = (name) => ask(`${name}/increments`, { method: "POST", headers, body: '{"by": 3}', duplex: "half" });
const answers = [await increment("NAME"), await increment("NAME"), await ask("NAME?at=never"), await ask("a%20b")];
console.log(answers.map(({ status }) => status).join());
"""


def test_documented_worker_forwards_requests(fronts, tmp_path, counter_id):
    node = shutil.which("node")
    if node is None:
        pytest.skip("node is not on the PATH")
    (worker,) = re.findall(r"```js\n(.*?)```", section("Cloudflare Worker"), re.DOTALL)
    module = tmp_path / "worker.mjs"
    module.write_text(worker, encoding="utf-8")
    program = CALL_WORKER.replace("NAME", counter_id)

    command = [node, "--input-type=module", "--eval", program, "--", str(module), fronts["url"], "secret"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)

    assert (done.stdout, done.stderr) == ("202,202,400,400\n", "")
    eventually(
        lambda: httpx.get(f"{fronts['url']}/counters/{counter_id}", timeout=60).raise_for_status().json()["value"] == 3
    )


def test_each_front_answers_for_the_same_counter(fronts, counter_id):
    """A stage that changes its front has both for a while: no increment is lost or doubled."""
    for url in [*fronts.values()] * 2:
        accepted = httpx.post(f"{url}/counters/{counter_id}/increments", headers={"Idempotency-Key": "k"}, timeout=60)
        assert accepted.status_code == 202
        assert httpx.post(f"{url}/counters/{counter_id}/increments", timeout=60).status_code == 202

    eventually(
        lambda: (
            httpx.get(f"{fronts['rest']}/counters/{counter_id}", timeout=60).raise_for_status().json()["version"] >= 7
        )
    )
    counters = [httpx.get(f"{url}/counters/{counter_id}", timeout=60).json() for url in fronts.values()]
    assert [counter["value"] for counter in counters] == [7, 7, 7]
