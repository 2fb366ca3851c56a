"""An echoing upstream as a process of its own, to be killed: ``python -m tests.soak.upstream PORT``.

Must never import wsproxy.
"""

import sys

from websockets.exceptions import ConnectionClosed
from websockets.extensions.permessage_deflate import ServerPerMessageDeflateFactory
from websockets.sync.server import ServerConnection, serve


def echo(connection: ServerConnection) -> None:
    try:
        for message in connection:
            connection.send(message)
    except ConnectionClosed:
        return  # clients are killed as well


def main(port: str) -> None:
    agree = ServerPerMessageDeflateFactory()
    with serve(echo, "127.0.0.1", int(port), extensions=[agree], compression=None, reuse_port=True) as server:
        server.serve_forever()


if __name__ == "__main__":
    main(*sys.argv[1:])
