"""paho's client, with a bound on what it takes in."""

import logging

import paho.mqtt.client as paho

log = logging.getLogger(__name__)

# What a broker may send us: commands are short, what it retained of ours is not.
LARGEST_BYTES = 2**20


class BoundedClient(paho.Client):
    """Hangs up on a message that is too large for us, before room is made for it.

    In MQTT 5 brokers are asked not to send any; those of 3.1.1 cannot be.
    """

    def _sock_recv(self, bufsize: int) -> bytes:
        if bufsize > LARGEST_BYTES:
            log.warning("hung up on the broker: a message of %d bytes was on its way to us", bufsize)
            raise ConnectionAbortedError
        return super()._sock_recv(bufsize)
