"""Modules of the page in Node, where browsers' functions fail as they rarely do in a browser."""

from __future__ import annotations

import json
import shutil
import subprocess

import pytest

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
        console.log((await openStore()).isPersistent());
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
