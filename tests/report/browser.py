"""A headless Chromium, spoken to over a pipe in its DevTools protocol: open a page, look, click, take its picture.

    python -m tests.report.browser runs/demo/report/report.html picture.png --width 400 --dark

Only Chromium itself is needed: no driver, no package.
"""

import argparse
import base64
import json
import os
import select
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
FLAGS = (
    "--headless",
    "--no-sandbox",  # tests may run as root, where its sandbox refuses to; the page is our own
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--hide-scrollbars",
    "--no-first-run",
    "--remote-debugging-pipe",
)
HEIGHT = 900
FRAMES = "new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))"  # drawn, then shown
SECONDS = 300.0  # of silence at most: a browser starts slowly on a busy machine

Event = dict[str, Any]


class Browser:
    """One tab. `requests` and `complaints` are those since the page was opened."""

    def __init__(self, process: "subprocess.Popen[bytes]") -> None:
        self._process = process
        self._unread, self._number, self._session = b"", 0, ""
        self._events: list[Event] = []
        tab = self.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.call("Target.attachToTarget", targetId=tab, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")

    def open(self, page: Path, *, width: int, is_dark: bool = False) -> None:
        """Load a file in a window of that width, as on a phone below 600."""
        is_phone = width < 600
        scheme = {"name": "prefers-color-scheme", "value": "dark" if is_dark else "light"}
        self.call(
            "Emulation.setDeviceMetricsOverride", width=width, height=HEIGHT, deviceScaleFactor=1, mobile=is_phone
        )
        self.call("Emulation.setEmulatedMedia", features=[scheme])
        self._events.clear()
        self.call("Page.navigate", url=page.resolve().as_uri())
        while not self._heard("Page.loadEventFired"):
            self._events.append(self._read())
        self.run(FRAMES)

    def run(self, expression: str) -> Any:
        """The value of a JavaScript expression in the page, awaited where it is a promise."""
        said = self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in said:
            raise RuntimeError(said["exceptionDetails"]["exception"]["description"])
        return said["result"].get("value")

    def hover(self, selector: str) -> tuple[float, float]:
        """Move the mouse to the middle of the first element that fits, scrolled into view, and say where that is."""
        find = f"document.querySelector({json.dumps(selector)})"
        self.run(f"{find}.scrollIntoView({{block: 'center', behavior: 'instant'}})")
        x, y = self.run(f"(box => [box.x + box.width / 2, box.y + box.height / 2])({find}.getBoundingClientRect())")
        self.call("Input.dispatchMouseEvent", type="mouseMoved", x=x, y=y)
        self.run(FRAMES)
        return x, y

    def click(self, selector: str) -> None:
        """Press the mouse on the middle of the first element that fits."""
        x, y = self.hover(selector)
        for kind in ("mousePressed", "mouseReleased"):
            self.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)

    def type(self, text: str) -> None:
        """Into what has the focus."""
        self.call("Input.insertText", text=text)

    def picture(self, file: Path, *, height: int | None = None) -> None:
        """The page as a PNG from its top, the whole of it or so many pixels."""
        width, whole = self.run("[innerWidth, document.documentElement.scrollHeight]")
        clip = {"x": 0, "y": 0, "width": width, "height": min(whole, height or whole), "scale": 1}
        taken = self.call("Page.captureScreenshot", clip=clip, captureBeyondViewport=True)
        file.write_bytes(base64.b64decode(taken["data"]))

    def requests(self) -> list[str]:
        """The address of everything that the page asked for, itself first."""
        return [each["request"]["url"] for each in self._heard("Network.requestWillBeSent")]

    def complaints(self) -> list[str]:
        """Errors and warnings in the console, the browser's own among them, and exceptions nobody caught."""
        logged = [each["entry"] for each in self._heard("Log.entryAdded")]
        said = [each["text"] for each in logged if each["level"] in ("error", "warning")]
        for each in self._heard("Runtime.consoleAPICalled"):
            if each["type"] in ("error", "warning", "assert"):
                said.append(" ".join(str(part.get("value", part.get("description"))) for part in each["args"]))
        return said + [each["exceptionDetails"]["text"] for each in self._heard("Runtime.exceptionThrown")]

    def call(self, method: str, **parameters: Any) -> Any:
        """The result of one command; events that come before it are kept."""
        self._number += 1
        message = {"id": self._number, "method": method, "params": parameters}
        message |= {"sessionId": self._session} if self._session else {}
        assert self._process.stdin
        self._process.stdin.write(json.dumps(message).encode() + b"\0")
        while (said := self._read()).get("id") != self._number:
            self._events.append(said)
        if "error" in said:
            raise RuntimeError(f"{method}: {said['error']['message']}")
        return said["result"]

    def _heard(self, method: str) -> list[Event]:
        return [each["params"] for each in self._events if each.get("method") == method]

    def _read(self) -> Event:
        assert self._process.stdout
        while b"\0" not in self._unread:
            if not select.select([self._process.stdout], [], [], SECONDS)[0]:
                raise TimeoutError(f"Chromium said nothing for {SECONDS:g} s")
            came = os.read(self._process.stdout.fileno(), 1 << 20)
            if not came:
                raise RuntimeError(f"Chromium ended with status {self._process.wait(SECONDS)}")
            self._unread += came
        message, _, self._unread = self._unread.partition(b"\0")
        said: Event = json.loads(message)
        return said


@contextmanager
def open_browser() -> Iterator[Browser]:
    """A browser with a profile of its own, which goes with it."""
    assert CHROMIUM, "needs Chromium (apt-get install chromium)"
    with tempfile.TemporaryDirectory(prefix="posttrain-chromium-", ignore_cleanup_errors=True) as profile:
        # It reads commands from descriptor 3 and answers on 4.
        command = ["sh", "-c", 'exec "$@" 3<&0 4>&1 </dev/null >/dev/null 2>&1', "sh", CHROMIUM, *FLAGS]
        command += [f"--user-data-dir={profile}"]
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0)
        try:
            yield Browser(process)
        finally:
            process.terminate()
            process.communicate(timeout=SECONDS)


def main() -> None:
    parser = argparse.ArgumentParser(description="Take the picture of a report.")
    parser.add_argument("page", type=Path)
    parser.add_argument("picture", type=Path)
    parser.add_argument("--width", type=int, default=1280)
    parser.add_argument("--height", type=int, help="of the picture; default: the whole page")
    parser.add_argument("--dark", action="store_true")
    asked = parser.parse_args()
    with open_browser() as browser:
        browser.open(asked.page, width=asked.width, is_dark=asked.dark)
        browser.picture(asked.picture, height=asked.height)


if __name__ == "__main__":
    main()
