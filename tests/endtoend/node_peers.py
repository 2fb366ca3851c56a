"""Node's ws as a client and as an upstream. Must never import wsproxy."""

import contextlib
import json
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

NODE_FOLDER = Path(__file__).parent / "node"
DEADLINE = 60.0


@dataclass(frozen=True, slots=True)
class NodeResult:
    """What Node's client saw. ``wrong``: the indexes of echoes that differed, and errors."""

    extensions: str
    echoes: int
    wrong: list[int | str]
    pong: str | None
    code: int | None
    reason: str | None


@dataclass(frozen=True, slots=True)
class NodePeers:
    """The scripts in `node/`, with ws installed beside them."""

    binary: str

    def converse(self, url: str, messages: list[dict[str, object]], options: dict[str, object]) -> NodeResult:
        """Run the client to its end; ``options`` are those of ws's client."""
        spec = json.dumps({"options": options, "messages": messages})
        done = subprocess.run(
            [self.binary, "client.mjs", url, spec],
            cwd=NODE_FOLDER,
            capture_output=True,
            text=True,
            timeout=DEADLINE,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return NodeResult(**json.loads(done.stdout))

    @contextlib.contextmanager
    def upstream(self, options: dict[str, object]) -> Iterator[str]:
        """Run the echoing upstream; gives its URL. ``options`` are those of ws's server."""
        process = subprocess.Popen(
            [self.binary, "upstream.mjs", json.dumps(options)], cwd=NODE_FOLDER, stdout=subprocess.PIPE, text=True
        )
        try:
            assert process.stdout is not None
            port = int(process.stdout.readline())
            yield f"ws://127.0.0.1:{port}"
        finally:
            process.kill()
            process.wait()
            if process.stdout is not None:
                process.stdout.close()
