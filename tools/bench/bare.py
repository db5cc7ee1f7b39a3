# SPDX-License-Identifier: Apache-2.0
"""The least that can turn a push into a VF: one AMQP delivery, one message packed beforehand.

``python -m tools.bench.bare HOST:PORT EXCHANGE HEX`` prints a line once it listens, and ends with
its standard input.
"""

import os
import sys
import threading

import amqp

from tools.bench.netlink import Route


def main(broker: str, exchange: str, packed: str) -> None:
    """Send the message for each delivery."""
    message = bytes.fromhex(packed)
    route = Route()
    connection = amqp.Connection(broker)
    connection.connect()
    channel = connection.channel()
    channel.exchange_declare(exchange, "fanout", durable=False, auto_delete=True)
    queue = channel.queue_declare(exclusive=True).queue
    channel.queue_bind(queue, exchange)
    channel.basic_consume(queue, no_ack=True, callback=lambda delivered: route.do(message))

    def end() -> None:
        sys.stdin.read()
        os._exit(0)

    threading.Thread(target=end, daemon=True).start()
    print("listening", flush=True)
    while True:
        connection.drain_events()


if __name__ == "__main__":
    main(*sys.argv[1:])
