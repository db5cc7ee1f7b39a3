# SPDX-License-Identifier: Apache-2.0
"""A headless Chromium, spoken to over a pipe (Chrome DevTools Protocol, one JSON object a NUL)."""

import fcntl
import itertools
import json
import os
import shutil
import subprocess
import sys
import time

PATIENCE = 120
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or ""
_OPTIONS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking"),
    *("--disable-sync", "--disable-dev-shm-usage", "--no-first-run", "--remote-debugging-pipe"),
)
#: Gives a program these descriptors as 3 and 4.
_EXEC = (
    "import os, sys; os.dup2(int(sys.argv[1]), 3); os.dup2(int(sys.argv[2]), 4); "
    "os.execv(sys.argv[3], sys.argv[3:])"
)


class Browser:
    """One page of one browser.

    :param directory: empty; the browser's own
    """

    def __init__(self, directory):
        asked, ask = os.pipe()
        answer, answered = os.pipe()
        # The browser reads 3 and writes 4: whatever has these numbers here must be out of the way.
        theirs = [fcntl.fcntl(fd, fcntl.F_DUPFD, 10) for fd in (asked, answered)]
        self._process = subprocess.Popen(
            [
                *(sys.executable, "-c", _EXEC, *map(str, theirs)),
                *(CHROMIUM, *_OPTIONS, f"--user-data-dir={directory}", "about:blank"),
            ],
            pass_fds=theirs,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        for fd in (asked, answered, *theirs):
            os.close(fd)
        self._ask, self._answer = os.fdopen(ask, "wb"), os.fdopen(answer, "rb")
        self._ids = itertools.count(1)
        self._rest = b""
        self.events = []
        (target,) = (
            target
            for target in self.do("Target.getTargets", session=None)["targetInfos"]
            if target["type"] == "page"
        )
        attached = {"targetId": target["targetId"], "flatten": True}
        self._session = self.do("Target.attachToTarget", session=None, **attached)["sessionId"]
        for domain in ("Page", "Runtime", "Log"):
            self.do(f"{domain}.enable")

    def do(self, method, session="", **parameters):
        """Call a method; what it returns."""
        number = next(self._ids)
        request = {"id": number, "method": method, "params": parameters}
        if session is not None:
            request["sessionId"] = self._session
        self._ask.write(json.dumps(request).encode() + b"\0")
        self._ask.flush()
        while (said := self._next()).get("id") != number:
            self.events.append(said)
        assert "error" not in said, said
        return said["result"]

    def open(self, url):
        self.do("Page.navigate", url=url)
        self.until("document.readyState === 'complete' && location.href !== 'about:blank'")

    def value(self, expression):
        """What a JavaScript expression is."""
        found = self.do("Runtime.evaluate", expression=expression, returnByValue=True)
        assert "exceptionDetails" not in found, found
        return found["result"].get("value")

    def until(self, expression):
        """Wait until it is true."""
        deadline = time.monotonic() + PATIENCE
        while not (found := self.value(expression)):
            assert time.monotonic() < deadline, expression
            time.sleep(0.05)
        return found

    def complaints(self):
        """What the browser logged as an error, a forbidden style or script among it."""
        entries = [
            event["params"]["entry"] for event in self.events if event["method"] == "Log.entryAdded"
        ]
        return [entry["text"] for entry in entries if entry["level"] == "error"]

    def close(self):
        os.killpg(self._process.pid, 9)
        self._process.wait()
        self._ask.close()
        self._answer.close()

    def _next(self):
        while b"\0" not in self._rest:
            chunk = self._answer.read1(1 << 16)
            assert chunk, "the browser ended"
            self._rest += chunk
        line, _, self._rest = self._rest.partition(b"\0")
        return json.loads(line)
