"""The embeddable client: one small module that is built from its sources and also runs in Node."""

import gzip
import http.server
import json
import re
import shutil
import subprocess
from contextlib import closing
from typing import Any

import pytest

from ops.stages import PROJECT
from tests.loopback_server import LoopbackServer
from tests.programs import require_program

EMBED = PROJECT / "web" / "embed.js"
TOOLS = PROJECT / ".local" / "embed" / "node_modules"


@pytest.fixture(scope="module")
def tools():
    """Install the bundler, the minifiers and TypeScript, unless they are installed."""
    require_program("npm", "npm")
    subprocess.run([PROJECT / "scripts" / "setup-npm", "embed"], check=True)
    return TOOLS


def test_embed_is_one_small_module_without_imports():
    """Limit the size of the file itself, as the site stores it with gzip, and as a CDN compresses it with Brotli."""
    program = "process.stdout.write(`${zlib.brotliCompressSync(fs.readFileSync(process.argv[1])).length}`)"
    command = [require_program("node", "nodejs"), "--eval", program, "--", str(EMBED)]
    text = EMBED.read_text(encoding="utf-8")

    assert re.match(r"/\* counter embed \d+\.\d+\.\d+ \*/\n", text)
    assert not re.search(r"\bimport\b|\brequire\b|\beval\b", text)
    assert len(text.encode()) <= 9_130
    assert len(gzip.compress(text.encode(), 9)) <= 4_550
    assert int(subprocess.run(command, capture_output=True, text=True, check=True).stdout) <= 4_096


def test_embed_is_up_to_date_with_its_sources(tools, tmp_path):
    bundle = tmp_path / "embed.js"

    subprocess.run([require_program("node", "nodejs"), PROJECT / "scripts" / "embed" / "build.mjs", bundle], check=True)

    assert bundle.read_text() == EMBED.read_text(), "run make embed"


def test_types_accept_only_the_documented_uses(tools, tmp_path):
    """Compile also without skipping the declarations, and without the DOM's types, as in Node."""
    library = """
        import { counter, type WatchedState } from "./embed.js";
        const likes = counter("https://api.example/api", "likes");
        const event: { id: string } | null = await likes.increment(2, { once: "day" });
        const value: number = (await likes.read()).value;
        const unsubscribe: () => void = likes.subscribe(({ value, pending }: WatchedState) => [value ?? 0, pending]);
    """
    elements = """
        document.querySelector("counter-button")?.click();
        const element = document.createElement("counter-value");
        element.addEventListener("counter-change", ({ detail }) => detail.refusal.length);
        document.addEventListener("counter-change", ({ detail }) => detail.value?.toFixed());
    """
    uses = {
        "page": (library + elements, "es2022,dom"),
        "node": (library, "es2022"),
        "invalid call": (library + 'likes.increment("2");', "es2022"),
        "invalid detail": (elements.replace("value?.toFixed", "value.toFixed"), "es2022,dom"),
    }
    shutil.copy(PROJECT / "web" / "embed.d.ts", tmp_path)
    options = ["--strict", "--noEmit", "--target", "es2022", "--module", "nodenext", "--pretty", "false"]
    errors = {}
    (tmp_path / "package.json").write_text('{"type": "module"}')
    for name, (program, libraries) in uses.items():
        source = tmp_path / f"{name}.ts"
        source.write_text(f'import "./embed.js";{program}')
        command = [
            require_program("node", "nodejs"),
            tools / "typescript" / "bin" / "tsc",
            *options,
            "--lib",
            libraries,
            source,
        ]
        errors[name] = subprocess.run(command, capture_output=True, text=True, check=False).stdout

    assert (errors["page"], errors["node"]) == ("", "")
    assert "TS2345" in errors["invalid call"]
    assert "TS18049" in errors["invalid detail"]


class Api(LoopbackServer):
    """An API that loses the first response to each increment, and counts each key once."""

    def __init__(self) -> None:
        outer = self
        self.keys: list[str] = []

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                outer.keys.append(self.headers["Idempotency-Key"])
                self.rfile.read(int(self.headers["Content-Length"]))
                event = {"counter_id": "likes", "event_id": "e", "recorded_at": "2026-01-31T12:00:00.000Z"}
                self.answer(503 if outer.keys.count(outer.keys[-1]) == 1 else 202, event)

            def do_GET(self) -> None:
                value = len(set(outer.keys))
                self.answer(200, {"counter_id": "likes", "value": value, "version": value, "updated_at": None})

            def answer(self, status: int, body: dict[str, Any]) -> None:
                content = json.dumps(body).encode()
                self.send_response(status)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

        super().__init__(Handler)


def test_library_in_node_retries_and_lets_the_process_end():
    program = f"""
        const {{ counter }} = await import({json.dumps(str(EMBED))});
        const likes = counter(process.argv[1], "likes");
        const event = await likes.increment();
        const values = [];
        await new Promise((resolve) => {{
            const unsubscribe = likes.subscribe(({{ value }}) => {{
                values.push(value);
                if (value === 1) resolve(unsubscribe());
            }});
        }});
        const once = await likes.increment(1, {{ once: "day" }}).catch((error) => error.message);
        console.log(JSON.stringify([event.id, values.at(-1), (await likes.read()).value, once]));"""
    with closing(Api()) as api:
        command = [require_program("node", "nodejs"), "--input-type=module", "--eval", program, "--", api.url]
        done = subprocess.run(command, capture_output=True, text=True, check=True)

    assert json.loads(done.stdout) == ["e", 1, 1, "This browser has no storage."]
    assert len(api.keys) == 2
    assert len(set(api.keys)) == 1


def test_subscriber_that_throws_does_not_stop_others():
    """The subscriber's error is reported, and the increment is neither lost nor rejected."""
    program = f"""
        const {{ counter }} = await import({json.dumps(str(EMBED))});
        const reported = new Set();
        process.on("unhandledRejection", (error) => reported.add(error.message));
        const likes = counter(process.argv[1], "likes");
        const stop = likes.subscribe(() => {{ throw new Error("broken"); }});
        const event = await likes.increment();
        let unsubscribe;
        const value = await new Promise((resolve) => {{
            // Called at once if the value is known.
            unsubscribe = likes.subscribe(({{ value }}) => value === 1 && resolve(value));
        }});
        unsubscribe();
        stop();
        console.log(JSON.stringify([event.id, value, [...reported]]));"""
    with closing(Api()) as api:
        command = [require_program("node", "nodejs"), "--input-type=module", "--eval", program, "--", api.url]
        done = subprocess.run(command, capture_output=True, text=True, check=True)

    assert json.loads(done.stdout) == ["e", 1, ["broken"]]


def test_subscriber_that_unsubscribes_itself_leaves_no_timer():
    program = f"""
        const {{ counter }} = await import({json.dumps(str(EMBED))});
        const likes = counter(process.argv[1], "likes");
        await new Promise((resolve) => {{
            const unsubscribe = likes.subscribe(({{ isFresh }}) => isFresh && resolve(unsubscribe()));
        }});
        await new Promise(setImmediate);
        console.log(process.getActiveResourcesInfo().filter((name) => name === "Timeout").length);"""
    with closing(Api()) as api:
        command = [require_program("node", "nodejs"), "--input-type=module", "--eval", program, "--", api.url]
        done = subprocess.run(command, capture_output=True, text=True, check=True)

    assert done.stdout == "0\n"


def test_library_refuses_invalid_arguments():
    program = f"""
        const {{ counter }} = await import({json.dumps(str(EMBED))});
        const refuse = (...given) => {{ try {{ counter(...given); }} catch (error) {{ return error.name; }} }};
        const api = "https://api.example/api";
        const refused = [[], [api], [api, null], [api, "a b"], ["api", "likes"]].map((given) => refuse(...given));
        console.log([...refused, refuse(api, "constructor") ?? "valid"].join());"""

    done = subprocess.run(
        [require_program("node", "nodejs"), "--input-type=module", "--eval", program],
        capture_output=True,
        text=True,
        check=True,
    )

    assert done.stdout == "TypeError,TypeError,TypeError,TypeError,TypeError,valid\n"
