"""Modules of the page in Node, with failures of browser functions that are rare in a browser."""

import json
import shutil
import subprocess

import pytest

from chalicelib import errors
from chalicelib.api import responses
from chalicelib.api.problems import describe_problem
from chalicelib.errors import CounterError
from ops.deployment.gateway_responses import GATEWAY_PROBLEMS
from ops.stages import PROJECT

WEB = PROJECT / "web"


@pytest.fixture
def evaluate():
    """Run a program in Node, in which `web` is the folder of the page's files. Return its output."""
    node = shutil.which("node")
    if node is None:
        pytest.skip("node is not on the PATH")

    def run(program):
        command = [node, "--input-type=module", "--eval", f"const web = {json.dumps(str(WEB))};\n{program}"]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout

    return run


def test_page_without_locks_keeps_clicks_in_memory(evaluate):
    """Chromium with all cookies blocked refuses locks as well as storage."""
    program = """
        const { readFileSync } = await import("node:fs");
        const locks = { request: async () => { throw new Error("refused"); } };
        Object.defineProperty(globalThis, "navigator", { value: { locks } });
        globalThis.indexedDB = { open: () => ({}) };
        const source = readFileSync(`${web}/client/store.js`, "utf8");
        const alone = source.replace(/^import.*/, 'const makeKey = () => "tab";');
        const { openStore } = await import(`data:text/javascript,${encodeURIComponent(alone)}`);
        const timer = setTimeout(() => console.log("never opened"), 100);
        const store = openStore(["https://api.example"]);
        await store.adopt();
        console.log(store.isPersistent());
        clearTimeout(timer);"""

    assert evaluate(program) == "false\n"


def test_worker_without_a_readable_cache_asks_the_network(evaluate):
    program = """
        const { readFileSync } = await import("node:fs");
        globalThis.caches = { match: async () => { throw new Error("damaged"); } };
        globalThis.fetch = async () => "response of the network";
        globalThis.location = "https://counter.example/service-worker.js";
        globalThis.addEventListener = (_, serve) => (globalThis.serve = serve);
        new Function(readFileSync(`${web}/service-worker.js`, "utf8"))();
        serve({
          request: { destination: "document", url: "https://counter.example/" },
          respondWith: (response) => response.then(console.log, () => console.log("none")),
        });"""

    assert evaluate(program) == "response of the network\n"


@pytest.mark.parametrize(("status", "body"), [(503, "null"), (200, "null"), (200, "{}"), (200, '"signed in"')])
def test_response_that_is_not_from_the_api_loses_no_click(evaluate, status, body):
    """A gateway or a captive portal may respond with any JSON."""
    program = f"""
        const {{ makeApi }} = await import(`${{web}}/client/api.js`);
        const {{ makeOutbox }} = await import(`${{web}}/client/outbox.js`);
        const event = {{ counter_id: "clicks", event_id: "e", recorded_at: "2026-01-31T12:00:00.000Z" }};
        const responses = [new Response({json.dumps(body)}, {{ status: {status} }}), Response.json(event)];
        const keys = [];
        globalThis.fetch = async (url, {{ headers }}) => {{
          keys.push(headers["Idempotency-Key"]);
          return responses.shift();
        }};
        const store = {{ save() {{}}, erase() {{}} }};
        const outcome = await new Promise((resolve) => {{
          const listener = {{
            onChange() {{}},
            onRecorded: (click) => resolve(click.event.id),
            onRefused: (click, error) => resolve(error.message),
          }};
          makeOutbox(makeApi("https://api.example"), store, listener).add("clicks", 1);
        }});
        console.log(outcome, keys.length, new Set(keys).size);"""

    assert evaluate(program) == "e 2 1\n"


#: The types of the problems that concern the click itself or its sender. The click would be refused again.
FINAL = {
    "body-too-large",
    "counter-closed",
    "counter-not-allowed",
    "counter-not-found",
    "forbidden",
    "invalid-request",
    "key-reused",
    "unauthorized",
    "version-mismatch",
}


def test_problem_drops_a_click_only_if_it_is_final(evaluate):
    """Cover each problem of the API and its gateway. The service or the operator can solve the others."""
    own = [each.problem for each in vars(errors).values() if isinstance(each, type) and issubclass(each, CounterError)]
    problems = {problem.name: problem for problem in [*own, *(each.problem for each in GATEWAY_PROBLEMS.values())]}
    answers = {name: [each.status or 400, describe_problem(each, "Because.")] for name, each in problems.items()}
    program = f"""
        const {{ makeApi, RefusedError }} = await import(`${{web}}/client/api.js`);
        const api = makeApi("https://api.example");
        const dropped = [];
        for (const [name, [status, problem]] of Object.entries({json.dumps(answers)})) {{
          globalThis.fetch = async () => Response.json(problem, {{ status }});
          const error = await api.increment("clicks", "key", 1).catch((caught) => caught);
          if (error instanceof RefusedError) dropped.push(name);
        }}
        console.log(JSON.stringify(dropped));"""

    assert set(json.loads(evaluate(program))) == FINAL


@pytest.mark.parametrize(
    ("seconds", "expected_ms"),
    [("7", 7_000), ("0", 0), ("-60", 0), ("86400", 3_600_000), ("soon", 0), ("Sat, 31 Jan 2026 12:00:00 GMT", 0)],
)
def test_retry_waits_only_for_a_plausible_number_of_seconds(evaluate, seconds, expected_ms):
    """With a negative time, retries would follow each other without a pause."""
    program = f"""
        const {{ makeApi }} = await import(`${{web}}/client/api.js`);
        const headers = {{ "Retry-After": {json.dumps(seconds)} }};
        globalThis.fetch = async () => new Response("", {{ status: 503, headers }});
        const error = await makeApi("https://api.example").increment("clicks", "key", 1).catch((caught) => caught);
        console.log(error.retryAfterMs);"""

    assert evaluate(program) == f"{expected_ms}\n"


@pytest.mark.parametrize("body", ["null", "{}"])
def test_malformed_response_is_unavailable_and_sets_no_state(evaluate, body):
    program = f"""
        globalThis.fetch = async () => new Response({json.dumps(body)});
        const {{ makeApi, UnavailableError }} = await import(`${{web}}/client/api.js`);
        const {{ makeCounter }} = await import(`${{web}}/client/counter.js`);
        const counter = makeCounter("clicks", makeApi("https://api.example"), {{ getClicks: () => [] }});
        const error = await counter.refresh().catch((caught) => caught);
        console.log(error instanceof UnavailableError, counter.state);"""

    assert evaluate(program) == "true null\n"


def test_visitor_who_counts_once_ever_is_not_counted_again_today(evaluate):
    """A counter may have a button that counts once ever and a value that counts visits once a day."""
    program = """
        const items = {};
        globalThis.localStorage = { getItem: (name) => items[name], setItem: (name, text) => (items[name] = text) };
        const { chooseKey, confirmKey } = await import(`${web}/embed/once.js`);
        const outcomes = [];
        for (const once of ["day", "visitor", "day", "visitor"]) {
          const key = await chooseKey("a counter", once);
          outcomes.push(key === true);
          confirmKey("a counter", key);
        }
        console.log(outcomes.join());"""

    assert evaluate(program) == "false,false,true,true\n"


#: A CDN with one location, in front of an API with one counter. `now` is in seconds; `requests` reached the API.
CDN = f"""
    const {{ makeApi }} = await import(`${{web}}/client/api.js`);
    const {{ addEarlyRead, makeCounter }} = await import(`${{web}}/client/counter.js`);
    const shared = {json.dumps(responses.SHARED)};
    const state = {{ counter_id: "clicks", value: 0, version: 0, updated_at: null }};
    const stored = new Map();
    const requests = [];
    let now = 0;
    let faults = {{}};
    const respond = (url) => {{
      const path = url.replace("https://api.example/counters/clicks", "");
      requests.push(path);
      if (faults[path] === "offline") throw new TypeError("Failed to fetch");
      if (faults[path]) return new Response("{{}}", faults[path]);
      const headers = {{ "Cache-Control": path === "/cached" ? shared : "no-cache" }};
      return new Response(JSON.stringify(state), {{ headers }});
    }};
    globalThis.fetch = async (url) => {{
      if (!(stored.get(url)?.until > now)) {{
        const response = respond(url);
        const seconds = Number(response.headers.get("Cache-Control")?.match(/s-maxage=(\\d+)/)?.[1] ?? 0);
        stored.set(url, {{ response, until: now + seconds }});
      }}
      return stored.get(url).response.clone();
    }};
    let pending = [];
    const outbox = {{ getClicks: () => pending, forget: () => (pending = []) }};
    const makeViewer = () => makeCounter("clicks", makeApi("https://api.example"), outbox);
    const mayBeCached = true;
"""


def test_hundred_viewers_cause_one_read_a_second(evaluate):
    program = """
        const viewers = Array.from({ length: 100 }, makeViewer);
        await Promise.all(viewers.map((viewer) => viewer.refresh()));
        requests.length = 0;
        for (let half = 1; half <= 20; half++) {
          now = half / 2;
          state.version = half;
          await Promise.all(viewers.map((viewer) => viewer.refresh(undefined, mayBeCached)));
        }
        console.log(requests.length, new Set(requests), new Set(viewers.map((viewer) => viewer.state.version)));"""

    assert evaluate(CDN + program) == "10 Set(1) { '/cached' } Set(1) { 19 }\n"


def test_cached_state_older_than_the_shown_one_is_not_shown(evaluate):
    """The counter itself is read. It may be older after a purge."""
    program = """
        const viewer = makeViewer();
        await viewer.refresh();
        await viewer.refresh(undefined, mayBeCached);
        Object.assign(state, { value: 2, version: 2 });
        await viewer.refresh();
        const shown = [viewer.state.version];
        await viewer.refresh(undefined, mayBeCached);
        shown.push(viewer.state.version);
        Object.assign(state, { value: 1, version: 1 });
        now = 1;
        await viewer.refresh(undefined, mayBeCached);
        shown.push(viewer.state.version);
        console.log(shown, requests);"""

    assert evaluate(CDN + program) == "[ 2, 2, 1 ] [ '', '/cached', '', '', '/cached', '' ]\n"


def test_viewer_with_a_pending_click_reads_the_uncached_counter(evaluate):
    program = """
        const viewer = makeViewer();
        await viewer.refresh();
        pending = [{ key: "k" }];
        await viewer.refresh(undefined, mayBeCached);
        console.log(requests);"""

    assert evaluate(CDN + program) == "[ '', '' ]\n"


@pytest.mark.parametrize("fault", ["{ status: 404 }", "{ status: 403 }", '"offline"', "{ status: 502 }"])
def test_uncached_counter_is_read_if_only_cached_reads_fail(evaluate, fault):
    """The CDN may refuse the path."""
    program = f"""
        const viewer = makeViewer();
        await viewer.refresh();
        faults = {{ "/cached": {fault} }};
        state.version = 1;
        for (let poll = 0; poll < 2; poll++) await viewer.refresh(undefined, mayBeCached);
        console.log(viewer.state.version, requests);"""

    assert evaluate(CDN + program) == "1 [ '', '/cached', '', '/cached', '' ]\n"


def test_cached_reads_are_used_again_after_an_outage(evaluate):
    program = """
        const viewer = makeViewer();
        await viewer.refresh();
        const poll = () => viewer.refresh(undefined, mayBeCached).then(() => "read", (error) => error.retryAfterMs);
        const outcomes = [];
        const busy = { status: 503, headers: { "Retry-After": "7" } };
        for (faults of [{ "/cached": "offline", "": "offline" }, {}]) outcomes.push(await poll());
        now = 1;
        for (faults of [{ "/cached": busy }, {}]) outcomes.push(await poll());
        console.log(outcomes.join(), requests.join());"""

    assert evaluate(CDN + program) == "0,read,7000,read ,/cached,,/cached,/cached,/cached\n"


def test_early_read_is_used_once(evaluate):
    """A later refresh, such as that of a page that becomes visible again, may be faster."""
    program = """
        let arrive;
        const early = new Promise((resolve) => (arrive = resolve));
        const viewer = makeCounter("clicks", addEarlyRead(makeApi("https://api.example"), early), outbox);
        const stop = new AbortController();
        const stopped = viewer.refresh(stop.signal).catch((error) => error.name);
        stop.abort();
        state.version = 5;
        await viewer.refresh();
        arrive({ ...state, version: 4 });
        console.log(await stopped, viewer.state.version, requests);"""

    assert evaluate(CDN + program) == "AbortError 5 [ '' ]\n"
