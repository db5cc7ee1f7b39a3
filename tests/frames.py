# SPDX-License-Identifier: Apache-2.0
"""Frames sent from one network interface and seen on another, by packet sockets."""

import socket

#: For experiments of whoever wants to (IEEE 802, Local Experimental Ethertype 1).
ETHERTYPE = 0x88B5
BROADCAST = "ff:ff:ff:ff:ff:ff"
PATIENCE = 30.0
_ALL, _OUTGOING = 3, 4


class Leg:
    """What an interface of the network namespace that this is made in sends and receives."""

    def __init__(self, netdev):
        self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(_ALL))
        self._socket.bind((netdev, _ALL))
        self.mac = self._socket.getsockname()[4].hex(":")

    def close(self):
        self._socket.close()

    def send(self, text, to=BROADCAST):
        addresses = bytes.fromhex((to + self.mac).replace(":", ""))
        self._socket.send(addresses + ETHERTYPE.to_bytes(2) + text.encode().ljust(46, b"\0"))

    def until(self, text, patience=PATIENCE):
        """The texts of the frames of ours that came in, up to this one.

        :param patience: seconds that the next frame may take
        :raises TimeoutError: if it does not come
        """
        self._socket.settimeout(patience)
        texts = []
        while text not in texts:
            frame, (_, _, kind, *_) = self._socket.recvfrom(2048)
            if kind != _OUTGOING and frame[12:14] == ETHERTYPE.to_bytes(2):
                texts.append(frame[14:].rstrip(b"\0").decode())
        return texts
