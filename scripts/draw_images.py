"""Draw the page's icons from icon.svg, and the page's social preview, in web/icons: `make images`."""

import shutil
import sys
from pathlib import Path

from playwright.sync_api import Browser, sync_playwright

sys.path.insert(0, str(Path(__file__).parent.parent))

from ops import stages

ICONS = stages.PROJECT / "web" / "icons"

PREVIEW = """
<style>
body { display: grid; place-content: center; justify-items: center; gap: 28px; height: 100vh; margin: 0; }
body { background: #f7f7f5; color: #16181d; font: 600 40px system-ui, sans-serif; }
b { font-size: 260px; line-height: 1; letter-spacing: -0.03em; }
span { padding: 26px 120px; border-radius: 60px; background: #2f5bd0; color: #fff; }
</style>
<div>visits</div><b>12,345</b><span>Add 1</span>
"""


def main() -> None:
    """Write each image as PNG."""
    icon = (ICONS / "icon.svg").read_text(encoding="utf-8")
    square = icon.replace('rx="9"', "")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        for size in (192, 512):
            _draw(browser, f"icon-{size}", _fill(icon), size, size)
        # Operating systems crop these icons to different shapes. The icon therefore has no rounded corners, and its
        # sign fits every shape.
        _draw(browser, "maskable-512", _fill(square), 512, 512)
        _draw(browser, "apple-touch-icon", _fill(square), 180, 180)
        _draw(browser, "preview", PREVIEW, 1200, 630)
        browser.close()


def _fill(svg: str) -> str:
    return f"<style>body {{ margin: 0 }} svg {{ display: block; width: 100vw }}</style>{svg}"


def _draw(browser: Browser, name: str, content: str, width: int, height: int) -> None:
    page = browser.new_page(viewport={"width": width, "height": height})
    page.set_content(content)
    page.screenshot(path=ICONS / f"{name}.png", omit_background=True)
    page.close()


if __name__ == "__main__":
    main()
