"""WebKit with those methods of Playwright's interface that the tests of visitors' flows use."""

import os
import subprocess
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.webkitgtk.options import Options
from selenium.webdriver.webkitgtk.service import Service

from tests.programs import require_program

#: The default of 30 s is too short for a machine that is suddenly ten times slower.
_SCRIPT_TIMEOUT_S = 120


class WebKitTab:
    """A window of WebKitGTK's MiniBrowser. It is not a tab, because a tab in the background would be hidden."""

    def __init__(self, driver: webdriver.WebKitGTK) -> None:
        self._driver = driver
        driver.switch_to.window(driver.window_handles[0])
        driver.switch_to.new_window("window")
        self._handle = driver.current_window_handle

    def goto(self, url: str) -> None:
        self._focus().get(url)

    def reload(self) -> None:
        self._focus().refresh()

    def go_back(self) -> None:
        self._focus().back()

    def click(self, selector: str) -> None:
        self._focus().find_element(By.CSS_SELECTOR, selector).click()

    def press(self, selector: str, key: str) -> None:
        """Press the key of this character, or the key with this name."""
        element = self._focus().find_element(By.CSS_SELECTOR, selector)
        element.send_keys(getattr(Keys, key.upper(), key))

    def evaluate(self, expression: str) -> Any:
        return self._focus().execute_script(f"return {expression}")

    def close(self) -> None:
        self._focus().close()

    def _focus(self) -> webdriver.WebKitGTK:
        self._driver.switch_to.window(self._handle)
        return self._driver


class WebKitContext:
    """All windows of a session. Its storage is kept until the driver quits."""

    def __init__(self, driver: webdriver.WebKitGTK) -> None:
        self._driver = driver

    def new_page(self) -> WebKitTab:
        return WebKitTab(self._driver)

    def close(self) -> None:
        """Close all windows except the first: the session ends with the last one."""
        for handle in self._driver.window_handles[1:]:
            self._driver.switch_to.window(handle)
            self._driver.close()


@contextmanager
def run_webkit() -> Iterator[webdriver.WebKitGTK]:
    """Run Debian's WebKit in dark mode, on a separate display, because it has no headless mode."""
    driver = require_program("WebKitWebDriver", "webkit2gtk-driver")
    xvfb = [require_program("Xvfb", "xvfb"), "-displayfd", "1", "-screen", "0", "1280x900x24", "-nolisten", "tcp"]
    with subprocess.Popen(xvfb, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as display:
        try:
            assert display.stdout
            number = display.stdout.readline().strip()
            variables = {**os.environ, "DISPLAY": f":{number}", "GDK_BACKEND": "x11", "GTK_THEME": "Adwaita:dark"}
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", DeprecationWarning)  # Selenium calls a deprecated function of its own.
                webkit = webdriver.WebKitGTK(options=Options(), service=Service(driver, env=variables))
            webkit.set_script_timeout(_SCRIPT_TIMEOUT_S)
            try:
                yield webkit
            finally:
                webkit.quit()
        finally:
            display.terminate()
