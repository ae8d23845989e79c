"""A real browser without a window, a run to play in it, and why a test is left out where there is no browser."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

LONG = 60.0
ROOT = Path(__file__).parents[2]
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
DRIVER = shutil.which("chromedriver")

needs_browser = pytest.mark.skipif(
    CHROMIUM is None or DRIVER is None,
    reason="needs Chromium and its driver: apt-get install chromium chromium-driver",
)


def start(profile: Path, width: int = 1280, height: int = 900, dark: bool = False) -> Any:
    from selenium import webdriver
    from selenium.webdriver.chrome.options import Options
    from selenium.webdriver.chrome.service import Service

    options = Options()
    options.binary_location = CHROMIUM or ""
    for flag in (
        *("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
        *("--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-dev-shm-usage"),
        *(f"--user-data-dir={profile}", f"--window-size={width},{height}"),
    ):
        options.add_argument(flag)
    driver = webdriver.Chrome(options=options, service=Service(DRIVER))
    media = [{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}]
    driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": media})
    driver.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride",
        {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600},
    )
    return driver


def until(true: Callable[[], Any], what: str, seconds: float = LONG) -> Any:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if found := true():
            return found
        time.sleep(0.01)
    raise AssertionError(f"it did not happen: {what}")


class Run:
    """`consensus-imitation play` in a process of its own."""

    def __init__(self, out: Path, *words: str) -> None:
        self.out, self._words = out, words
        self.process: Any = None
        self.url = ""
        self.start()

    def start(self) -> None:
        # Another path than that of the package's tests: what users type.
        command = [sys.executable, "-m", "consensus_imitation", "play", "--out", str(self.out), *self._words]
        env = {**os.environ, "JAX_PLATFORMS": "cpu"}
        with (self.out.parent / "play.log").open("w", encoding="utf-8") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, cwd=ROOT, env=env)

        def address() -> str:
            text = (self.out.parent / "play.log").read_text(encoding="utf-8")
            assert self.process.poll() is None, text
            found = re.search(r"http://\S+", text)
            return found[0] if found else ""

        self.url = until(address, "the address of the page is printed")

    def kill(self) -> None:
        """As a power cut would."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()


class Window:
    """What a person does and sees at a page."""

    def __init__(self, driver: Any, url: str) -> None:
        self.driver = driver
        driver.get(url)

    def state(self) -> dict[str, Any]:
        return json.loads(self.driver.execute_script("return JSON.stringify(state)") or "{}")

    def seat(self) -> dict[str, Any]:
        state = self.state()
        return state["seats"][0] if state else {}

    def asked(self) -> int:
        """The number of the question, once there is one."""

        def number() -> int | None:
            question = self.seat().get("question")
            return None if question is None else question["id"] + 1

        return until(number, "a question is asked") - 1

    def press(self, *keys: str) -> None:
        from selenium.webdriver.common.action_chains import ActionChains

        ActionChains(self.driver, duration=0).send_keys(*keys).perform()

    def click(self, selector: str) -> None:
        self.driver.execute_script("document.querySelector(arguments[0]).click()", selector)

    def text(self, selector: str) -> str:
        return self.driver.execute_script("return document.querySelector(arguments[0]).textContent", selector)
