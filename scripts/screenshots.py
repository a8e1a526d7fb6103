"""Take the screenshots in docs/images, with made-up data on a system that is started for it: `make screenshots`."""

import io
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
import uuid
from pathlib import Path
from typing import Literal

import boto3
import httpx
from playwright.sync_api import Browser, expect, sync_playwright
from rich.console import Console
from rich.text import Text

sys.path.insert(0, str(Path(__file__).parent.parent))

from ops import stages
from ops.local import stack

Scheme = Literal["light", "dark"]

IMAGES = stages.PROJECT / "docs" / "images"
SCHEMES: tuple[Scheme, ...] = ("light", "dark")
COUNTERS = {"visits": 180, "likes": 90, "downloads": 40}


def main() -> None:
    """Write page-light.png, page-dark.png and verify.png."""
    with tempfile.TemporaryDirectory() as folder:
        place = stack.LocalSystem(Path(folder), aws_port=4600, page_port=8600)
        os.environ.update(LOCAL_FOLDER=folder, AWS_PORT=str(place.aws_port), PAGE_PORT=str(place.page_port))
        stack.up(place)
        try:
            _take_all(stages.addresses(place.folder))
        finally:
            stack.down(place)


def _take_all(addresses: dict[str, str]) -> None:
    stages.enter("local")
    for counter_id, events in COUNTERS.items():
        _record(counter_id, events)
    _wait_until_counted(addresses["API_URL"], "visits", COUNTERS["visits"])
    IMAGES.mkdir(exist_ok=True)
    expect.set_options(timeout=60_000)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        for scheme in SCHEMES:
            _take_page(browser, f"{addresses['PAGE_URL']}#/visits", addresses["API_URL"], scheme)
        _take_terminal(browser, "verify", _verify_and_rebuild("visits"))
        browser.close()


def _record(counter_id: str, events: int) -> None:
    """Append events of the last hour to the log. The stream delivers them like any other events."""
    from chalicelib import event_log  # noqa: PLC0415  (reads the settings at import)
    from chalicelib.domain.events import Incremented  # noqa: PLC0415

    now_ms = time.time_ns() // 1_000_000
    pick = random.Random(counter_id)  # noqa: S311  (made-up data)
    for _ in range(events):
        at_ms = now_ms - round(pick.betavariate(2, 3) * 3_600_000)
        event_log.append(Incremented(counter_id, str(uuid.uuid4()), pick.choice([1, 1, 1, 2, 5]), at_ms))


def _wait_until_counted(api_url: str, counter_id: str, version: int) -> None:
    for _ in range(120):
        if httpx.get(f"{api_url}/counters/{counter_id}", timeout=60).json()["version"] == version:
            return
        time.sleep(0.5)
    raise TimeoutError(counter_id)


def _take_page(browser: Browser, url: str, api_url: str, scheme: Scheme) -> None:
    """Take a screenshot of the page with pending increments, while the page's reads of the counter get no response."""
    context = browser.new_context(
        viewport={"width": 900, "height": 910},
        color_scheme=scheme,
        service_workers="block",
    )
    page = context.new_page()
    page.goto(url)
    expect(page.locator("#increment")).to_be_enabled()
    expect(page.locator("#plot .positive").first).to_be_visible()
    page.wait_for_timeout(2000)
    page.route(f"{api_url}/counters/*", lambda _route: None)
    for _ in range(3):
        page.locator("#increment").click()
    expect(page.locator("#dots .recorded")).to_have_count(3)
    page.mouse.move(0, 0)
    page.evaluate("document.activeElement.blur()")
    page.screenshot(path=IMAGES / f"page-{scheme}.png")
    page.unroute_all(behavior="ignoreErrors")
    context.close()


def _verify_and_rebuild(counter_id: str) -> list[tuple[str, str]]:
    """Damage the counter's value, and return the commands that report and repair it, with their output."""
    boto3.client("dynamodb").update_item(
        TableName="counter-local-counters",
        Key={"counter_id": {"S": counter_id}, "part": {"N": "0"}},
        UpdateExpression="ADD #value :one",
        ExpressionAttributeNames={"#value": "value"},
        ExpressionAttributeValues={":one": {"N": "1"}},
    )
    shown = []
    for command in ("verify", "rebuild", "verify"):
        words = ["-m", "ops", command, "--stage", "local", "--counter", counter_id, "--projection", "read-model"]
        done = subprocess.run(  # noqa: S603  (our own program)
            [sys.executable, *words], capture_output=True, text=True, check=False
        )
        shown.append((" ".join(["python", *words[:-2]]), done.stdout.strip()))
    return shown


def _take_terminal(browser: Browser, name: str, shown: list[tuple[str, str]]) -> None:
    console = Console(record=True, width=100, file=io.StringIO())
    for command, output in shown:
        for line, style in ((f"$ {command}", "bold"), (output, ""), ("", "")):
            console.print(Text(line, style))
    page = browser.new_page(viewport={"width": 1000, "height": 800})
    page.set_content(f"<body style='margin: 0'>{console.export_svg(title='verify and rebuild')}</body>")
    page.locator("svg").screenshot(path=IMAGES / f"{name}.png")


if __name__ == "__main__":
    main()
