# SPDX-License-Identifier: Apache-2.0
"""A Keystone with Neutron in its catalog, and a user for each set of roles that is asked for.

In the catalog, ``public`` is an address on this machine and ``internal`` one seen from elsewhere.
"""

import base64
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import requests

from tools.openstack.processes import Server, free_ports, run

WSGI = Path(__file__).resolve().parent / "keystone_wsgi.py"
PASSWORD = "secret"
REGION = "RegionOne"
TIMEOUT_SECONDS = 60
#: roles and project of Neutron's own user
NEUTRON = (("admin", "service"), "service")

KEYSTONE_CONF = """\
[database]
connection = {database_url}

[fernet_tokens]
key_repository = {directory}/fernet-keys

[fernet_receipts]
key_repository = {directory}/fernet-keys
"""


class Keystone:
    """Started by :meth:`start`.

    :ivar url: of version 3

    :param directory: where everything of it lies
    :param database_url: of an empty schema
    :param programs: the directory with its programs
    :param neutron_url: what it has in its catalog, without a version
    :param internal_address: what ``internal`` has in place of 127.0.0.1
    """

    def __init__(
        self,
        directory: Path,
        database_url: str,
        programs: Path,
        neutron_url: str,
        internal_address: str,
    ) -> None:
        self.directory = directory
        (self._port,) = free_ports(1)
        self.url = f"http://127.0.0.1:{self._port}/v3"
        self._programs = programs
        self._neutron_url = neutron_url
        self._internal_address = internal_address
        conf_file = directory / "keystone.conf"
        conf_file.write_text(KEYSTONE_CONF.format(database_url=database_url, directory=directory))
        self._configured = ("--config-file", conf_file)
        self._environment = {n: v for n, v in os.environ.items() if not n.startswith("OS_")}
        self._server: Server | None = None
        self._headers: dict[str, str] = {}
        self._users: set[str] = set()

    def start(self) -> None:
        """Make its database, start it, and write its catalog."""
        keys = self.directory / "fernet-keys"
        keys.mkdir(mode=0o700)
        (keys / "0").write_bytes(base64.urlsafe_b64encode(os.urandom(32)))
        self._manage("db_sync")
        self._manage(
            "bootstrap",
            f"--bootstrap-password={PASSWORD}",
            f"--bootstrap-region-id={REGION}",
            f"--bootstrap-public-url={self.url}",
            f"--bootstrap-internal-url={self._internal(self.url)}",
        )
        self._server = Server(
            [
                self._programs / "python",
                "-P",
                WSGI,
                str(self._port),
                *self._configured,
            ],
            self.directory / "output",
            self._environment,
        )
        self._server.wait_until(self._answers)
        self._headers = {"X-Auth-Token": self.token(self._account("admin", "admin"))}
        self.account(*NEUTRON)
        service_id = self._create("service", name="neutron", type="network")
        for interface, url in (
            ("public", self._neutron_url),
            ("internal", self._internal(self._neutron_url)),
        ):
            self._create(
                "endpoint",
                service_id=service_id,
                interface=interface,
                url=url,
                region_id=REGION,
            )

    def close(self) -> None:
        """Stop it."""
        if self._server:
            self._server.end()
        self._server = None

    def account(self, roles: Sequence[str], project: str) -> dict[str, str]:
        """How a user with just these roles logs in, in the words of keystoneauth's options.

        The user and the project are made when they are first asked for.
        """
        name = _user_name(roles, project)
        if name not in self._users:
            project_id = self._id_of("project", project) or self._create(
                "project", name=project, domain_id="default"
            )
            user_id = self._create("user", name=name, password=PASSWORD, domain_id="default")
            for role in roles:
                role_id = self._id_of("role", role)
                self._request("PUT", f"projects/{project_id}/users/{user_id}/roles/{role_id}")
            self._users.add(name)
        return self._account(name, project)

    def neutron_account(self) -> dict[str, str]:
        """How Neutron's own user logs in, once this runs."""
        roles, project = NEUTRON
        return self._account(_user_name(roles, project), project)

    def token(self, account: Mapping[str, str]) -> str:
        """A token for an account."""
        domain = {"id": "default"}
        password = {
            "user": {
                "name": account["username"],
                "password": account["password"],
                "domain": domain,
            }
        }
        auth = {
            "identity": {"methods": ["password"], "password": password},
            "scope": {"project": {"name": account["project_name"], "domain": domain}},
        }
        answer = self._request("POST", "auth/tokens", {"auth": auth})
        return answer.headers["X-Subject-Token"]

    def _internal(self, url: str) -> str:
        return url.replace("127.0.0.1", self._internal_address)

    def _account(self, name: str, project: str) -> dict[str, str]:
        return {
            "auth_type": "password",
            "auth_url": self.url,
            "username": name,
            "password": PASSWORD,
            "user_domain_id": "default",
            "project_name": project,
            "project_domain_id": "default",
        }

    def _create(self, kind: str, **fields: str) -> str:
        """Makes one and returns its id."""
        answer = self._request("POST", f"{kind}s", {kind: fields})
        return str(answer.json()[kind]["id"])

    def _id_of(self, kind: str, name: str) -> str | None:
        found = self._request("GET", f"{kind}s?name={name}").json()[f"{kind}s"]
        return str(found[0]["id"]) if found else None

    def _request(self, method: str, path: str, body: Any = None) -> requests.Response:
        answer = requests.request(
            method,
            f"{self.url}/{path}",
            json=body,
            headers=self._headers,
            timeout=TIMEOUT_SECONDS,
        )
        answer.raise_for_status()
        return answer

    def _answers(self) -> bool:
        try:
            return requests.get(self.url, timeout=TIMEOUT_SECONDS).ok
        except requests.ConnectionError:
            return False

    def _manage(self, *arguments: str) -> None:
        program = self._programs / "keystone-manage"
        run(self._environment, program, *self._configured, *arguments)


def _user_name(roles: Sequence[str], project: str) -> str:
    return "-".join([*roles, project])
