"""Headless Chromium, driven through the two pipes of its DevTools protocol."""

import base64
import json
import os
import shutil
import subprocess
import tempfile
from contextlib import contextmanager
from pathlib import Path

PROGRAM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser"))), None)

# Rules of accessibility: ``npm install --no-save axe-core`` in the clone, or a path in AXE_CORE.
_AXE = Path(__file__).resolve().parents[1] / "node_modules/axe-core/axe.min.js"
AXE = next(filter(Path.is_file, [Path(os.environ.get("AXE_CORE", _AXE))]), None)

FLAGS = (
    "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run "
    "--disable-background-networking --disable-component-update --disable-sync "
    "--remote-debugging-pipe"
).split()


class Page:
    """One page of a browser."""

    def __init__(self, commands, answers):
        self._commands = commands
        self._answers = answers
        self._number = 0
        self._session = None
        self._pending = b""
        self.events = []

    def open(self, address):
        """Load an address; messages of the console are kept in `events`."""
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        attached = self.call("Target.attachToTarget", targetId=target, flatten=True)
        self._session = attached["sessionId"]
        for domain in ("Page", "Log", "Runtime", "Network"):
            self.call(f"{domain}.enable")
        self.call("Page.navigate", url=address)
        while not any(event["method"] == "Page.loadEventFired" for event in self.events):
            self._read()

    def call(self, method, **parameters):
        """Send one command and wait for its result."""
        self._number += 1
        message = {"id": self._number, "method": method, "params": parameters}
        if self._session is not None:
            message["sessionId"] = self._session
        self._commands.write(json.dumps(message).encode() + b"\0")
        self._commands.flush()
        while True:
            found = self._read()
            if found.get("id") == self._number:
                assert "error" not in found, found
                return found["result"]

    def run(self, script):
        """Value of a script, which may be a promise."""
        found = self.call(
            "Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True
        )
        assert "exceptionDetails" not in found, found
        return found["result"].get("value")

    def press(self, key, text=None):
        """Press and release a key."""
        codes = {"Tab": 9, "Enter": 13}
        keys = {"key": key, "code": key, "windowsVirtualKeyCode": codes[key]}
        if text is not None:
            keys["text"] = text
        self.call("Input.dispatchKeyEvent", type="keyDown", **keys)
        self.call("Input.dispatchKeyEvent", type="keyUp", **keys)

    def screenshot(self, path):
        """Write what is seen."""
        path.write_bytes(base64.b64decode(self.call("Page.captureScreenshot")["data"]))

    def _read(self):
        while b"\0" not in self._pending:
            part = os.read(self._answers, 1 << 16)
            assert part, "the browser has ended"
            self._pending += part
        message, _, self._pending = self._pending.partition(b"\0")
        found = json.loads(message)
        if "method" in found:
            self.events.append(found)
        return found


@contextmanager
def browser():
    """A page of a new browser with an empty profile."""
    to_browser, commands = os.pipe()
    answers, from_browser = os.pipe()
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        # The protocol's pipes are the descriptors 3 and 4.
        script = f'exec "$@" 3<&{to_browser} 4>&{from_browser}'
        process = subprocess.Popen(
            ["bash", "-c", script, "-", PROGRAM, *FLAGS, f"--user-data-dir={profile}"],
            pass_fds=(to_browser, from_browser),
            stderr=subprocess.DEVNULL,
        )
        os.close(to_browser)
        os.close(from_browser)
        try:
            with os.fdopen(commands, "wb") as file:
                yield Page(file, answers)
        finally:
            os.close(answers)
            process.terminate()
            process.wait()
