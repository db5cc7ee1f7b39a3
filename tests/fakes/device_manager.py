# SPDX-License-Identifier: Apache-2.0
"""A fake device manager: switches that exist only in a JSON file.

As a program (``device_manager.py STATE``) it stands behind ``exec``; :class:`Service` puts the
same behind ``webhook``. It keeps the rules of the hook's reference: a switch, port or VLAN that it
does not know is refused, what it did not add stays, what is open is the union of all wants.
"""

import contextlib
import fcntl
import json
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path


class No(Exception):
    """What a device manager turns down."""


class DeviceManager:
    """Switches in a file; each request is one transaction over it."""

    def __init__(self, path):
        self.path = Path(path)

    @classmethod
    def create(cls, path, switches, vlans):
        """Write a new state.

        :param switches: chassis id (subtype, value) to port id to VLANs that were there before
        :param vlans: those that exist on the fabric
        """
        state = {
            "switches": [
                {
                    "chassis_id": list(chassis_id),
                    "ports": [{"id": list(i), "before": v} for i, v in ports.items()],
                }
                for chassis_id, ports in switches.items()
            ],
            "vlans": sorted(vlans),
            "wants": {},
            "newest": {},
            "requests": [],
        }
        Path(path).write_text(json.dumps(state))
        return cls(path)

    def state(self):
        return json.loads(self.path.read_text())

    def open_vlans(self, chassis_id, port_id):
        """What a frame would meet on the switch port: of whoever asked for it, or before."""
        state = self.state()
        port = _port(state, list(chassis_id), list(port_id))
        wanted = [
            vlan
            for key, vlans in state["wants"].items()
            if json.loads(key)[2:] == [list(chassis_id), list(port_id)]
            for vlan in vlans
        ]
        return sorted({*port["before"], *wanted})

    def answer(self, request):
        """The answer to one request.

        :raises No: for what it does not know, and for a request older than one it had
        """
        with self.path.open("r+") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            state = json.load(file)
            state["requests"].append(request)
            try:
                answer = _answer(state, request)
            finally:
                file.seek(0)
                file.truncate()
                json.dump(state, file)
        return {"device_manager": "fake", **answer}


def _answer(state, request):
    if request.get("version") != 1:
        raise No("version: expected 1")
    age = [request["epoch"], request["sequence"]]
    if age <= state["newest"].get(request["host"], [0, 0]):
        raise No("older than a request that was answered")
    state["newest"][request["host"]] = age
    if request["op"] == "read":
        return {"links": [a for each in request["links"] if (a := _read(state, request, each))]}
    if request["op"] != "apply":
        raise No("op: expected apply or read")
    link = request["link"]
    _port(state, _id(link["switch"]["chassis_id"]), _id(link["port"]["id"]))
    for vlan in request["vlans"]:
        if vlan not in state["vlans"]:
            raise No(f"no VLAN {vlan} on this fabric")
    state["wants"][_key(request, link)] = request["vlans"]
    return {"vlans": request["vlans"]}


def _read(state, request, link):
    """A link that is not known is left out. Members come in an order of the fake's own."""
    chassis_id, port_id = _id(link["switch"]["chassis_id"]), _id(link["port"]["id"])
    try:
        _port(state, chassis_id, port_id)
    except No:
        return None
    return {
        "vlans": state["wants"].get(_key(request, link), []),
        "port": {"id": {"value": port_id[1], "subtype": port_id[0]}},
        "switch": {"chassis_id": {"value": chassis_id[1], "subtype": chassis_id[0]}},
        "pf": link["pf"],
    }


def _id(entry):
    return [entry["subtype"], entry["value"]]


def _key(request, link):
    return json.dumps(
        [request["host"], link["pf"], _id(link["switch"]["chassis_id"]), _id(link["port"]["id"])]
    )


def _port(state, chassis_id, port_id):
    for switch in state["switches"]:
        if switch["chassis_id"] == chassis_id:
            for port in switch["ports"]:
                if port["id"] == port_id:
                    return port
            raise No("no such port on this switch")
    raise No("no such switch")


class Service:
    """An HTTP service on loopback.

    :param respond: maps the body of a request to (status, headers, body)
    :param tls: an ``ssl.SSLContext`` to serve https with
    """

    def __init__(self, respond, tls=None):
        self.respond = respond
        self.seen = []
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._scheme = "http"
        if tls:
            self._server.socket = tls.wrap_socket(self._server.socket, server_side=True)
            self._scheme = "https"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))

    @classmethod
    def of(cls, manager, tls=None):
        """The device manager as a service; what it turns down is a conflict."""

        def respond(body):
            try:
                return 200, {}, json.dumps(manager.answer(json.loads(body))).encode()
            except No as error:
                return 409, {}, str(error).encode()

        return cls(respond, tls)

    @property
    def url(self):
        return f"{self._scheme}://127.0.0.1:{self._server.server_port}/apply"

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def _handler(service):  # the handler's own self is another
        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"]))
                service.seen.append((self.path, dict(self.headers)))
                status, headers, answer = service.respond(body)
                with contextlib.suppress(OSError):
                    self.send_response(status)
                    for name, value in {"Content-Length": str(len(answer)), **headers}.items():
                        self.send_header(name, value)
                    self.end_headers()
                    self.wfile.write(answer)

            def do_GET(self):
                service.seen.append((self.path, dict(self.headers)))
                self.send_error(405)

            def log_message(self, *_):
                pass

        return Handler


def main(path):
    try:
        answer = DeviceManager(path).answer(json.load(sys.stdin))
    except No as error:
        print(error, file=sys.stderr)
        return 1
    json.dump(answer, sys.stdout)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
