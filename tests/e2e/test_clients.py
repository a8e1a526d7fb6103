"""The clients of docs/api.md count each increment once, although the server is busy or loses a response."""

import http.server
import json
import re
import shutil
import subprocess
import sys
import threading
import time
from email.utils import formatdate

import httpx
import pytest

from tests.doc_pages import section
from tests.e2e.conftest import eventually

pytestmark = pytest.mark.exhaustive

CLIENTS = dict(
    re.findall(
        r"```(python|js)\n(.*?)```",
        section("Clients that retry"),
        re.DOTALL,
    )[:2]
)
CALLS = {
    "python": "import json, sys; print(json.dumps(increment(*sys.argv[1:3], by=int(sys.argv[3]))))",
    "js": "const [counter, key, by] = process.argv.slice(1);"
    "console.log(JSON.stringify(await increment(counter, key, +by)));",
}


def run_client(language, *arguments):
    """Run the page's client in this language in a separate process, and return the finished process."""
    program = f"{CLIENTS[language]}\n{CALLS[language]}"
    if language == "python":
        command = [sys.executable, "-c", program]
    elif node := shutil.which("node"):
        command = [node, "--input-type=module", "--eval", program, "--"]
    else:
        pytest.skip("node is not on the PATH")
    return subprocess.run([*command, *map(str, arguments)], capture_output=True, text=True, check=False)


@pytest.fixture
def unreliable_url(api_url):
    """
    Return an API that first responds "wait" three times, twice in seconds and once with a date, then loses a response.

    No request may come before the time that the previous response named.
    """
    faults = iter(["busy", "limited", "dated", "lost"])
    not_before, early_s = [0.0], []

    class Proxy(http.server.BaseHTTPRequestHandler):
        def do_POST(self):
            body = self.rfile.read(int(self.headers["Content-Length"]))
            fault = next(faults, None)
            early_s.append(not_before[-1] - time.time())
            if fault == "busy":
                self._answer(503, {"Retry-After": "0"}, b"{}")
                return
            if fault == "limited":
                not_before.append(time.time() + 2)
                self._answer(429, {"Retry-After": "2"}, b"{}")
                return
            if fault == "dated":
                not_before.append(int(time.time()) + 2)
                self._answer(429, {"Retry-After": formatdate(not_before[-1], usegmt=True)}, b"{}")
                return
            names = ("Content-Type", "Idempotency-Key")
            headers = {name: self.headers[name] for name in names}
            answer = httpx.post(f"{api_url}{self.path}", content=body, headers=headers, timeout=60)
            if fault is None:
                replayed = answer.headers.get("Idempotency-Replayed", "false")
                self._answer(answer.status_code, {"Idempotency-Replayed": replayed}, answer.content)

        def _answer(self, status, headers, body):
            self.send_response(status)
            for name, value in {**headers, "Content-Length": str(len(body))}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format, *args):
            """Log nothing."""

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Proxy)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()
    assert list(faults) == []
    assert max(early_s) < 0.05


@pytest.mark.parametrize("language", CALLS)
def test_client_has_at_most_twelve_lines(language):
    assert len([line for line in CLIENTS[language].splitlines() if line.strip()]) <= 12


@pytest.mark.parametrize("language", CALLS)
def test_client_counts_once_despite_503_429_and_a_lost_response(language, client, unreliable_url, counter_id):
    done = run_client(language, f"{unreliable_url}/counters/{counter_id}", "one click", 5)

    assert done.returncode == 0, done.stderr
    event = json.loads(done.stdout)
    assert (event["counter_id"], event["by"]) == (counter_id, 5)
    eventually(lambda: client.counter(counter_id)["value"] == 5)
    assert client.counter(counter_id)["version"] == 1


@pytest.mark.parametrize("language", CALLS)
def test_client_reports_a_refusal_without_a_retry(language, api_url, counter_id):
    done = run_client(language, f"{api_url}/counters/{counter_id}", "one click", 0)

    assert done.returncode != 0
    assert "400" in done.stderr or "integer from 1 to 1000" in done.stderr
