# SPDX-License-Identifier: Apache-2.0
"""``webhook``: an HTTP service configures the switches; requests as in ``exec``, by POST."""

import json
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlsplit

import requests
from oslo_config import cfg

from sriov_agent.exceptions import ConfigError, Refused, Unavailable, printable
from sriov_agent.hook.base import Json, JsonHook

_ANSWER_BYTES = 1 << 20


class WebhookHook(JsonHook):
    """Posts to ``[hook_webhook] url``."""

    def __init__(self, conf: cfg.ConfigOpts) -> None:
        super().__init__(conf.host)
        options = conf.hook_webhook
        self.url = options.url or ""
        self.timeout = options.timeout
        self.token_file = options.token_file
        if not _usable(self.url):
            raise ConfigError(
                "[hook_webhook] url: expected an http or https URL, without a password: "
                "a token goes into token_file"
            )
        self._session = requests.Session()
        self._session.trust_env = False
        self._session.verify = options.ca_file or True

    def ask(self, request: Mapping[str, Json]) -> Json:
        try:
            answer = self._session.post(
                self.url,
                data=json.dumps(request),
                headers=self._headers(),
                timeout=self.timeout,
                allow_redirects=False,
                stream=True,
            )
            with answer:
                body = _body(answer)
        except (requests.RequestException, OSError) as error:
            raise Unavailable(f"device manager {self.url}: {error}") from error
        if answer.status_code in (408, 425, 429) or answer.status_code >= 500:
            raise Unavailable(f"device manager {self.url}: HTTP {answer.status_code}")
        if answer.status_code != 200:
            said = printable(body[:200].decode("utf-8", "replace"), 200)
            raise Refused(f"device manager {self.url}: HTTP {answer.status_code}: {said}")
        if len(body) > _ANSWER_BYTES:
            raise Refused(f"device manager {self.url}: answer over {_ANSWER_BYTES} bytes")
        try:
            return json.loads(body)
        except (ValueError, RecursionError) as error:
            raise Refused(f"device manager {self.url}: the answer is no JSON: {error}") from error

    def _headers(self) -> dict[str, str]:
        headers = {"Content-Type": "application/json"}
        if not self.token_file:
            return headers
        try:
            token = Path(self.token_file).read_text("ascii").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise Unavailable(f"[hook_webhook] token_file: {error}") from error
        if not token.isprintable() or len(token.split()) != 1:
            raise Unavailable(f"[hook_webhook] token_file {self.token_file}: expected one word")
        return headers | {"Authorization": f"Bearer {token}"}


def _usable(url: str) -> bool:
    try:
        parts = urlsplit(url)
        whole = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
        return whole and "@" not in parts.netloc
    except ValueError:
        return False


def _body(answer: requests.Response) -> bytes:
    """The answer's body; of one that is too long, a little more than what is allowed."""
    body = bytearray()
    for part in answer.iter_content(1 << 16):
        body += part
        if len(body) > _ANSWER_BYTES:
            break
    return bytes(body)
