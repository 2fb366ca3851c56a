"""Prometheus as a process: configured, asked, stopped. Must never import wsproxy."""

import contextlib
import json
import re
import shutil
import subprocess
import tempfile
import threading
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.endtoend.proxy import DEADLINE, wait_for

SHIPPED = Path(__file__).parents[2] / "deploy" / "prometheus"
MISSING = "Prometheus is not installed (Debian's package prometheus): it was not tried"


def find(name: str) -> str | None:
    """``prometheus`` or ``promtool``."""
    return shutil.which(name)


class Prometheus:
    """One running server."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.lines: list[str] = []
        self._process = process
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        wait_for("Prometheus' address", lambda: self._address() is not None or process.poll() is not None)
        address = self._address()
        assert address is not None, self.lines
        self.url = f"http://{address}"
        wait_for("Prometheus to be ready", self._is_ready)

    def _read(self) -> None:
        assert self._process.stderr is not None
        self.lines.extend(self._process.stderr)

    def _address(self) -> str | None:
        found = (re.search(r'"?Listening on"? address=(\S+)', line) for line in list(self.lines))
        return next((each[1] for each in found if each), None)

    def _is_ready(self) -> bool:
        with contextlib.suppress(OSError), urllib.request.urlopen(f"{self.url}/-/ready", timeout=DEADLINE) as answer:
            return bool(answer.status == 200)
        return False

    def ask(self, path: str, **query: str) -> Any:
        """The data of one answer of the API."""
        url = f"{self.url}/api/v1/{path}?{urllib.parse.urlencode(query)}"
        try:
            with urllib.request.urlopen(url, timeout=DEADLINE) as answer:
                told = json.loads(answer.read())
        except urllib.error.HTTPError as error:
            raise AssertionError(f"{query}: {error.read().decode()}") from error
        assert told["status"] == "success", told
        return told["data"]

    def query(self, expression: str) -> list[dict[str, Any]]:
        """The series of an expression now, each with ``metric`` and ``value``."""
        series: list[dict[str, Any]] = self.ask("query", query=expression)["result"]
        return series

    def number(self, expression: str) -> float:
        """The value of an expression that gives one series; 0 if it gives none."""
        series = self.query(expression)
        assert len(series) <= 1, series
        return float(series[0]["value"][1]) if series else 0.0

    def stop(self) -> None:
        self._process.terminate()
        try:
            self._process.wait(DEADLINE)
        finally:
            self._process.kill()
            self._process.wait()
            self._reader.join(DEADLINE)
            assert self._process.stderr is not None
            self._process.stderr.close()


@contextlib.contextmanager
def prometheus(binary: str, target: str) -> Iterator[Prometheus]:
    """A server that scrapes ``target`` every second, with the rules that are shipped."""
    with tempfile.TemporaryDirectory(prefix="wsproxy-prometheus-") as folder:
        config = Path(folder, "prometheus.yml")
        config.write_text(
            "global: {scrape_interval: 1s, evaluation_interval: 1s}\n"
            f"rule_files: [{json.dumps(str(SHIPPED / 'wsproxy.rules.yml'))}]\n"
            f"scrape_configs: [{{job_name: wsproxy, static_configs: [{{targets: [{json.dumps(target)}]}}]}}]\n"
        )
        process = subprocess.Popen(
            [
                binary,
                f"--config.file={config}",
                f"--storage.tsdb.path={folder}/data",
                "--web.listen-address=127.0.0.1:0",
            ],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        try:
            server = Prometheus(process)
        except BaseException:
            process.kill()
            process.wait()
            raise
        try:
            yield server
        finally:
            server.stop()
