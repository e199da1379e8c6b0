"""A headless Chromium, driven over the W3C's WebDriver protocol: open a page, look, click, take its picture."""

import base64
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
DRIVER = shutil.which("chromedriver")
FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
)
SECONDS = 120.0  # one command at most: a browser starts slowly on a busy machine


class Browser:
    """One session; `run` is JavaScript as the body of a function in the page."""

    def __init__(self, client: httpx.Client, session: str) -> None:
        self._client, self._session = client, session

    def open(self, page: Path, *, width: int, is_dark: bool = False) -> None:
        """Load a file in a window of that width, as on a phone below 600."""
        size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 600}
        scheme = [{"name": "prefers-color-scheme", "value": "dark" if is_dark else "light"}]
        self._devtools("Emulation.setDeviceMetricsOverride", size)
        self._devtools("Emulation.setEmulatedMedia", {"features": scheme})
        self._call("url", url=page.resolve().as_uri())

    def run(self, script: str, *arguments: Any) -> Any:
        return self._call("execute/sync", script=script, args=list(arguments))

    def errors(self) -> list[str]:
        """What the console was told since the last call, warnings included."""
        lines = self._call("se/log", type="browser")
        return [line["message"] for line in lines if line["level"] in ("WARNING", "SEVERE")]

    def picture(self, file: Path, *, height: int | None = None) -> None:
        """The page as a PNG from its top, the whole of it or so many pixels."""
        width, whole = self.run("return [innerWidth, document.documentElement.scrollHeight]")
        clip = {"x": 0, "y": 0, "width": width, "height": min(whole, height or whole), "scale": 1}
        taken = self._devtools("Page.captureScreenshot", {"clip": clip, "captureBeyondViewport": True})
        file.write_bytes(base64.b64decode(taken["data"]))

    def _devtools(self, command: str, parameters: dict[str, Any]) -> Any:
        return self._call("goog/cdp/execute", cmd=command, params=parameters)

    def _call(self, command: str, **content: Any) -> Any:
        return _value(self._client.post(f"/session/{self._session}/{command}", json=content))


@contextmanager
def open_browser() -> Iterator[Browser]:
    """A browser with a profile of its own, which goes with it."""
    assert CHROMIUM
    assert DRIVER
    with tempfile.TemporaryDirectory(prefix="posttrain-chromium-", ignore_cleanup_errors=True) as profile:
        driver = subprocess.Popen([DRIVER, "--port=0"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        try:
            options = {"binary": CHROMIUM, "args": [*FLAGS, f"--user-data-dir={profile}"]}
            wanted = {"browserName": "chrome", "goog:chromeOptions": options, "goog:loggingPrefs": {"browser": "ALL"}}
            # The system's proxy is for the network, and the driver is here.
            with httpx.Client(base_url=f"http://127.0.0.1:{_port(driver)}", timeout=SECONDS, trust_env=False) as client:
                made = _value(client.post("/session", json={"capabilities": {"alwaysMatch": wanted}}))
                try:
                    yield Browser(client, made["sessionId"])
                finally:
                    client.delete(f"/session/{made['sessionId']}")
        finally:
            driver.terminate()
            driver.wait(timeout=SECONDS)
            assert driver.stdout
            driver.stdout.close()


def _port(driver: "subprocess.Popen[str]") -> int:
    assert driver.stdout
    for line in driver.stdout:
        if found := re.search(r"started successfully on port (\d+)", line):
            return int(found[1])
    raise RuntimeError("chromedriver ended before it could listen")


def _value(response: httpx.Response) -> Any:
    value = response.json()["value"]
    if isinstance(value, dict) and "error" in value:
        raise RuntimeError(f"{value['error']}: {value['message']}")
    return value
