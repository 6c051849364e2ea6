"""The process of one worker of the local engine.

    python -P -m dropsight.archive.local_child SOCKET-DESCRIPTOR MODEL

The job comes in, then one shard after the other; an answer to each goes out. When the other side is gone it
ends at once, whatever it has in hand.
"""

import logging
import os
import sys
from multiprocessing.connection import Connection
from queue import SimpleQueue
from threading import Thread

import msgspec

from dropsight import children
from dropsight.archive.shard_worker import ShardWorker
from dropsight.archive.tasks import ArchiveJob, Shard, ShardLost, WorkerFault, WorkerReady
from dropsight.errors import DropsightError
from dropsight.names import as_text

_encode = msgspec.msgpack.Encoder().encode


def serve(connection: Connection, job: ArchiveJob, model: str) -> None:
    orders: SimpleQueue[Shard] = SimpleQueue()
    Thread(target=_listen, args=(connection, orders), name="orders", daemon=True).start()
    worker = ShardWorker(job, model)
    connection.send_bytes(_encode(WorkerReady()))
    while True:
        connection.send_bytes(_encode(worker.do(orders.get())))


def _listen(connection: Connection, orders: "SimpleQueue[Shard]") -> None:
    while True:
        try:
            orders.put(msgspec.msgpack.decode(connection.recv_bytes(), type=Shard))
        except (EOFError, OSError):
            os._exit(0)


def main(arguments: list[str]) -> int:
    descriptor, model = int(arguments[0]), arguments[1]
    logging.disable(logging.WARNING)  # the driver has told of the model, once
    children.confine(children.half_of_memory(), niceness=0)
    connection = Connection(descriptor)
    try:
        job = msgspec.msgpack.decode(connection.recv_bytes(), type=ArchiveJob)
        serve(connection, job, model)
    except EOFError:
        return 0
    except DropsightError as error:
        connection.send_bytes(_encode(WorkerFault.of(error)))
    except Exception as error:  # noqa: BLE001 - a bug that one image met: it is found as a crash is
        connection.send_bytes(_encode(ShardLost(as_text(f"{type(error).__name__}: {error}"))))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
