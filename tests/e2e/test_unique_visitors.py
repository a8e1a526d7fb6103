"""The recipe of docs/embed.md counts a browser once a day, in Node with a browser's storage and locks."""

import json
import re
import shutil
import subprocess

import pytest

from tests.doc_pages import section
from tests.e2e.conftest import eventually

pytestmark = pytest.mark.exhaustive

CLIENT = re.findall(r"```js\n(.*?)```", section("Clients that retry"), re.DOTALL)[0]
RECIPE = re.findall(r"```js\n(.*?)```", section("Unique visitors"), re.DOTALL)[0]

#: A browser's storage and locks, a clock that the test sets, and a record of the keys that are sent.
BROWSER = """
let now = "2026-11-29T12:00:00Z", lost = 0;
const RealDate = Date, send = fetch, keys = [];
globalThis.Date = class extends RealDate {
  constructor(...given) { super(...(given.length ? given : [now])); }
};
globalThis.fetch = async (url, options) => {
  keys.push(options.headers["Idempotency-Key"]);
  const response = await send(url, options);
  if (lost-- > 0) { now = "2026-11-30T00:00:01Z"; throw new TypeError("the response is lost"); }
  return response;
};
let held = Promise.resolve();
const locks = { request: (_name, run) => (held = held.then(run)) };
Object.defineProperty(globalThis, "navigator", { value: { locks }, configurable: true });
globalThis.localStorage = {};
const [visits, others] = process.argv.slice(1);
"""


@pytest.fixture
def browse(api_url, counter_id):
    """Run a script in a browser, with the recipe and two counters. Return the keys of its requests."""
    node = shutil.which("node")
    if node is None:
        pytest.skip("node is not on the PATH")

    def run(script):
        program = f"{BROWSER}\n{CLIENT}\n{RECIPE}\n{script}\nconsole.log(JSON.stringify(keys));"
        addresses = [f"{api_url}/counters/{counter_id}", f"{api_url}/counters/{counter_id}-others"]
        command = [node, "--input-type=module", "--eval", program, "--", *addresses]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    return run


def expect_visitors(client, counter_id, number):
    """Wait until all increments are counted. A swap counts those before it, and refuses another version."""
    eventually(lambda: client.counter(counter_id)["version"] >= number)
    assert client.counter(counter_id)["value"] == number
    assert client.increment(counter_id, 1, If_Match=f'"{number}"').status_code == 200


def test_visitor_is_counted_once_a_day_in_all_tabs(browse, client, counter_id):
    keys = browse(
        "await Promise.all([countVisitor(visits), countVisitor(visits), countVisitor(visits)]);"
        "await countVisitor(visits);"
    )

    assert len(keys) == 3
    assert len(set(keys)) == 1
    expect_visitors(client, counter_id, 1)


def test_visitor_is_counted_again_on_the_next_day(browse, client, counter_id):
    keys = browse(
        'now = "2026-11-29T23:59:59Z"; await countVisitor(visits);'
        'now = "2026-11-30T00:00:00Z"; await countVisitor(visits); await countVisitor(visits);'
    )

    assert len(keys) == len(set(keys)) == 2
    expect_visitors(client, counter_id, 2)


def test_retry_after_midnight_counts_the_same_visit_once(browse, client, counter_id):
    """The response of the first request gets lost; midnight passes before the retry."""
    first, again, next_day = browse("lost = 1; await countVisitor(visits); await countVisitor(visits);")

    assert first == again != next_day
    expect_visitors(client, counter_id, 2)


def test_visit_is_counted_once_if_only_the_mark_is_lost(browse, client, counter_id):
    first, again = browse(
        "await countVisitor(visits); delete localStorage[`counted ${visits}`]; await countVisitor(visits);"
    )

    assert first == again
    expect_visitors(client, counter_id, 1)


def test_cleared_storage_makes_a_new_visitor(browse, client, counter_id):
    first, again = browse("await countVisitor(visits); globalThis.localStorage = {}; await countVisitor(visits);")

    assert first != again
    expect_visitors(client, counter_id, 2)


def test_keys_are_hashes_that_differ_by_counter(browse, client, counter_id):
    keys = browse("await countVisitor(visits); await countVisitor(others); keys.push(localStorage.visitor);")

    *hashes, visitor = keys
    assert len(set(hashes)) == 2
    assert all(re.fullmatch("[0-9a-f]{64}", each) for each in hashes)
    assert not any(visitor.replace("-", "")[:8] in each for each in hashes)
    expect_visitors(client, counter_id, 1)
    expect_visitors(client, f"{counter_id}-others", 1)


def test_browser_without_storage_sends_nothing(browse):
    refusing = "globalThis.localStorage = new Proxy({}, { get() { throw new Error('refused'); } });"

    assert browse(f"{refusing} await countVisitor(visits).catch((error) => keys.push(error.message));") == ["refused"]
