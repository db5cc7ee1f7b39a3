# SPDX-License-Identifier: Apache-2.0
"""The least that can turn a push into a VF: one AMQP delivery, one message packed beforehand.

``python -m tools.bench.bare URL EXCHANGE HEX`` prints a line once it listens, and ends with its
standard input.
"""

import os
import socket
import sys
import threading

import kombu

from tools.bench.netlink import Route

QUEUE = "sriov-agent-bench-bare"


def main(url: str, exchange_name: str, packed: str) -> None:
    """Send the message for each delivery."""
    message = bytes.fromhex(packed)
    route = Route()
    connection = kombu.Connection(url.replace("rabbit:", "amqp:"))
    channel = connection.channel()
    exchange = kombu.Exchange(exchange_name, "fanout", durable=False, auto_delete=True)
    queue = kombu.Queue(QUEUE, exchange, durable=False, auto_delete=True)(channel)
    queue.declare()
    # amqp's own consumer: kombu's decodes what is not looked at here.
    channel.basic_consume(QUEUE, no_ack=True, callback=lambda delivered: route.do(message))

    def end() -> None:
        sys.stdin.read()
        os._exit(0)

    threading.Thread(target=end, daemon=True).start()
    print("listening", flush=True)
    while True:
        try:
            connection.drain_events(timeout=30)
        except socket.timeout:  # noqa: UP041 - what kombu calls it
            continue


if __name__ == "__main__":
    main(*sys.argv[1:])
