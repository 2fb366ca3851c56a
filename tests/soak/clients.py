"""Some clients as one process, to be killed: ``python -m tests.soak.clients URL SEED``. Ends when it is killed.

Must never import wsproxy. A client that loses its connection or is refused comes again: upstreams are killed as well.
"""

import random
import sys
import threading

from websockets.exceptions import ConnectionClosed, InvalidHandshake
from websockets.sync.client import connect

CLIENTS = 4
_EXPECTED = (ConnectionClosed, InvalidHandshake, OSError, TimeoutError)


def converse(url: str, source: random.Random) -> None:
    """Messages of all sizes, compared with their echoes, then one of the ways to leave."""
    offer = source.choice(["deflate", None])
    with connect(url + source.choice(["/plain", "/wide"]), compression=offer, proxy=None, max_size=None) as connection:
        for _ in range(source.randrange(20)):
            size = source.choice([9, 900, 90_000])
            message = source.randbytes(size) if source.random() < 0.5 else "é漢🙂" * (size // 9)
            connection.send(message)
            if connection.recv(timeout=30) != message:
                # Not an assertion: it must be seen although every end of a connection is expected.
                sys.exit("an echo differs")
        if source.random() < 0.3:
            connection.socket.close()


def keep_conversing(url: str, seed: int) -> None:
    source = random.Random(seed)
    pause = threading.Event()
    while True:
        try:
            converse(url, source)
        except _EXPECTED:
            pause.wait(0.05)


def main(url: str, seed: str) -> None:
    threads = [threading.Thread(target=keep_conversing, args=(url, int(seed) * CLIENTS + i)) for i in range(CLIENTS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


if __name__ == "__main__":
    main(*sys.argv[1:])
