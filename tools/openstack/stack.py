# SPDX-License-Identifier: Apache-2.0
"""A real Neutron on loopback: its API, its RPC server, a RabbitMQ and a MariaDB.

Without a Keystone, the API believes the headers of a request. There are no agents and no nova.
"""

import configparser
import contextlib
import os
import subprocess
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import requests

from tools.openstack import needs
from tools.openstack.api import ADMIN, Api
from tools.openstack.broker import Broker
from tools.openstack.database import Database
from tools.openstack.keystone import Keystone
from tools.openstack.processes import Server, free_ports, run

WSGI = Path(__file__).resolve().parent / "neutron_wsgi.py"
#: this machine's loopback, seen from the lab guest
LOOPBACK_FROM_GUEST = "10.0.2.2"
#: queues that the RPC server consumes once it is up
QUEUES = ("q-plugin", "q-reports-plugin")

# The trunk plugin wants a driver, and Open vSwitch's is the one that has it.
NEUTRON_CONF = """\
[DEFAULT]
host = controller1
auth_strategy = {auth_strategy}
core_plugin = ml2
service_plugins = revisions,timestamp,qos,trunk
transport_url = {transport_url}
state_path = {directory}
api_paste_config = {paste}
rpc_workers = 1
agent_down_time = {agent_down_time}
notify_nova_on_port_status_changes = false
notify_nova_on_port_data_changes = false
dhcp_agent_notification = false

[database]
connection = {database_url}
max_pool_size = 20

[ml2]
type_drivers = vlan,flat
tenant_network_types = vlan
mechanism_drivers = sriovnicswitch,openvswitch
extension_drivers = port_security,qos,uplink_status_propagation

[ml2_type_vlan]
network_vlan_ranges = physnet2:100:200

[oslo_concurrency]
lock_path = {directory}/lock

[oslo_messaging_notifications]
driver = messagingv2

[quotas]
quota_network = -1
quota_subnet = -1
quota_port = -1
"""

#: added with a Keystone
AUTHTOKEN_CONF = """
[keystone_authtoken]
www_authenticate_uri = {url}
interface = public
{account}
"""


class Stack:
    """A Neutron that runs as soon as it is made, until :meth:`close`; a context manager.

    :ivar keystone: its Keystone, if there is one
    :ivar broker: its RabbitMQ, which may be stopped and started
    :ivar url: of the API, without a version
    :ivar conf_file: the servers' ``neutron.conf``; an agent can read it too
    :ivar guest_conf_file: the same for an agent in the lab guest

    :param directory: where everything of it lies, an existing empty one with a short path
    :param keystone: whether there is a Keystone
    :param agent_down_time: seconds after which an agent that does not report is down
    :param versions_ttl: seconds until the API looks again which versions of objects agents want;
        Neutron's own is a constant
    """

    def __init__(
        self,
        directory: Path,
        *,
        keystone: bool = False,
        agent_down_time: int = 75,
        versions_ttl: int = 60,
    ) -> None:
        self.directory = directory
        self._ttl = str(versions_ttl)
        for name in ("broker", "database", "guest", "keystone"):
            (directory / name).mkdir()
        self.broker = Broker(directory / "broker")
        self._database = Database(directory / "database", "neutron", "keystone")
        (self._port,) = free_ports(1)
        self.url = f"http://127.0.0.1:{self._port}"
        self.conf_file = directory / "neutron.conf"
        self.guest_conf_file = directory / "guest" / "neutron.conf"
        self._servers: list[Server] = []
        self._bin = needs.environment() / "bin"
        self._environment = {n: v for n, v in os.environ.items() if not n.startswith("OS_")}
        self.keystone: Keystone | None = None
        if keystone:
            url = self._database.url("keystone")
            self.keystone = Keystone(
                directory / "keystone", url, self._bin, self.url, LOOPBACK_FROM_GUEST
            )
        self._write_configuration(agent_down_time)
        try:
            with ThreadPoolExecutor() as pool:
                starting = [pool.submit(self.broker.start), pool.submit(self._start_database)]
            for each in starting:
                each.result()
            self._start_servers()
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> "Stack":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def api(self, roles: Sequence[str] = ADMIN, project: str = "project1") -> Api:
        """The API for a user with these roles, an administrator if not said otherwise."""
        if self.keystone:
            token = self.keystone.token(self.keystone.account(roles, project))
            return Api(self.url, token=token)
        return Api(self.url, roles, project)

    def environment(self) -> dict[str, str]:
        """What makes an administrator of who runs the ``openstack`` command."""
        if not self.keystone:
            return {"OS_AUTH_TYPE": "none", "OS_ENDPOINT": self.url}
        account = self.keystone.account(ADMIN, "project1")
        return {f"OS_{name.upper()}": value for name, value in account.items()}

    def openstack(self, *arguments: str) -> str:
        """What the ``openstack`` command prints for an administrator.

        :raises subprocess.CalledProcessError: it failed
        """
        done = subprocess.run(
            [self._bin / "openstack", *arguments],
            env={**self._environment, **self.environment()},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=True,
        )
        return done.stdout

    def stop_server(self) -> None:
        """Stop the API and the RPC server."""
        for server in self._servers:
            server.end()
        self._servers = []

    def restart_server(self) -> None:
        """Stop the API and the RPC server, and start them again at the same address."""
        self.stop_server()
        self._start_servers()

    def close(self) -> None:
        """Stop everything."""
        with contextlib.ExitStack() as last_first:
            last_first.callback(self._database.close)
            last_first.callback(self.broker.close)
            if self.keystone:
                last_first.callback(self.keystone.close)
            last_first.callback(self.stop_server)

    def logs(self) -> list[Path]:
        """The files with what the processes wrote."""
        return sorted([*self.directory.glob("*.log"), *self.directory.glob("*/output")])

    def _write_configuration(self, agent_down_time: int) -> None:
        paste = configparser.ConfigParser(interpolation=None)
        paste.read(needs.environment() / "etc/neutron/api-paste.ini")
        pipelines = paste["composite:neutronapi_v2_0"]
        # Neutron's own makes everybody an administrator; this one looks at the headers.
        pipelines["noauth"] = pipelines["keystone"].replace(" authtoken ", " ")
        paste_file = self.directory / "api-paste.ini"
        with paste_file.open("w") as file:
            paste.write(file)
        text = NEUTRON_CONF.format(
            directory=self.directory,
            paste=paste_file,
            transport_url=self.broker.url,
            database_url=self._database.url("neutron"),
            auth_strategy="keystone" if self.keystone else "noauth",
            agent_down_time=agent_down_time,
        )
        if self.keystone:
            account = self.keystone.neutron_account().items()
            text += AUTHTOKEN_CONF.format(
                url=self.keystone.url,
                account="\n".join(f"{name} = {value}" for name, value in account),
            )
        self.conf_file.write_text(text)
        self.guest_conf_file.write_text(text.replace("127.0.0.1", LOOPBACK_FROM_GUEST))

    def _start_database(self) -> None:
        self._database.start()
        command = (self._bin / "neutron-db-manage", "--config-file", self.conf_file)
        run(self._environment, *command, "upgrade", "heads")
        if self.keystone:
            self.keystone.start()

    def _start_servers(self) -> None:
        rpc = self._run("rpc", self._bin / "neutron-rpc-server")
        api = self._run("api", self._bin / "python", "-P", WSGI, str(self._port), self._ttl)
        rpc.wait_until(lambda: all(self.broker.consumers(queue) for queue in QUEUES))
        api.wait_until(self._answers)

    def _run(self, name: str, *command: str | Path) -> Server:
        configured = [*command, "--config-file", self.conf_file]
        server = Server(configured, self.directory / f"{name}.log", self._environment)
        self._servers.append(server)
        return server

    def _answers(self) -> bool:
        try:
            return requests.get(self.url, timeout=60).ok
        except requests.ConnectionError:
            return False
