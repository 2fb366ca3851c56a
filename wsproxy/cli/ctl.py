"""``wsproxy ctl``: what is asked of a running proxy's control socket, and how its answers look.

Owns: the command's arguments and its output. Loads what it needs when it runs, as every command does.
Invariant: an answer that is an error is one line on stderr and exit code 1.
"""

import argparse
import json
from collections.abc import Mapping
from typing import Any

from wsproxy.errors import BadUsage, CannotStart

_COLUMNS = {
    "id": "ID",
    "route": "ROUTE",
    "client": "CLIENT",
    "endpoint": "ENDPOINT",
    "upstream_address": "UPSTREAM",
    "age_seconds": "AGE",
    "wire_bytes_from_client": "FROM CLIENT",
    "wire_bytes_to_client": "TO CLIENT",
    "ratio": "RATIO",
    "client_agreement": "CLIENT LEG",
    "upstream_agreement": "UPSTREAM LEG",
    "plan_to_client": "PLAN TO CLIENT",
    "plan_to_upstream": "PLAN TO UPSTREAM",
}


def add_ctl_arguments(ctl: argparse.ArgumentParser) -> None:
    """The flags and the commands of ``wsproxy ctl``."""
    where = ctl.add_mutually_exclusive_group()
    where.add_argument("--socket", metavar="PATH", help="the control socket")
    where.add_argument("--config", metavar="CONFIG.toml", help="or the file that names it (control.socket)")
    ctl.add_argument("--json", action="store_true", help="the answer as it comes, a line of JSON")
    commands = ctl.add_subparsers(required=True, metavar="COMMAND", dest="ctl_command")

    commands.add_parser("list", help="the live tunnels", allow_abbrev=False)
    close = commands.add_parser("close", help="close one tunnel", allow_abbrev=False)
    close.add_argument("tunnel", metavar="ID", help="as list tells it")
    close_endpoint = commands.add_parser("close-endpoint", help="close the tunnels of an endpoint", allow_abbrev=False)
    drain_endpoint = commands.add_parser(
        "drain-endpoint", help="no new tunnels to an endpoint, and close its tunnels over a time", allow_abbrev=False
    )
    undrain = commands.add_parser("undrain-endpoint", help="let an endpoint have tunnels again", allow_abbrev=False)
    for command in (close_endpoint, drain_endpoint, undrain):
        command.add_argument("endpoint", metavar="URL", help="as the configuration has it")
    for command in (close, close_endpoint, drain_endpoint):
        command.add_argument("--code", type=int, metavar="N", help="the close code for clients (shutdown.close_code)")
    commands.add_parser("drain", help="drain the whole proxy, as TERM does", allow_abbrev=False)
    commands.add_parser("config", help="the configuration in force, as TOML; secrets are masked", allow_abbrev=False)


def run_ctl(arguments: argparse.Namespace, environ: Mapping[str, str]) -> int:
    """Ask and show the answer. Raises BadUsage and CannotStart."""
    request: dict[str, Any] = {"command": arguments.ctl_command}
    for name in ("tunnel", "endpoint", "code"):
        value = getattr(arguments, name, None)
        if value is not None:
            request[name] = value
    line, answer = _ask(_socket(arguments, environ), request)
    if "error" in answer:
        raise CannotStart(answer["error"])
    print(line.decode() if arguments.json else _shown(answer))
    return 0


def _socket(arguments: argparse.Namespace, environ: Mapping[str, str]) -> str:
    if arguments.socket:
        path: str = arguments.socket
        return path
    config = arguments.config or environ.get("WSPROXY_CONFIG")
    if not config:
        raise BadUsage(["no control socket: give --socket PATH, or --config CONFIG.toml (or WSPROXY_CONFIG)"])
    from wsproxy.settings.environment import load_file

    path = load_file(config, environ).control.socket
    if not path:
        raise BadUsage([f"{config}: control.socket: is not set"])
    return path


def _ask(path: str, request: dict[str, Any]) -> tuple[bytes, dict[str, Any]]:
    """The answer as it came, and what it says."""
    from wsproxy.network.line import ask

    try:
        line = ask(path, json.dumps(request).encode())
        answer = json.loads(line)
    except OSError as error:
        raise CannotStart(f"{path}: {error.strerror or error}") from error
    except ValueError as error:
        raise CannotStart(f"{path}: whoever answers there is no wsproxy") from error
    if not isinstance(answer, dict):
        raise CannotStart(f"{path}: whoever answers there is no wsproxy")
    return line, answer


def _shown(answer: dict[str, Any]) -> str:
    if "tunnels" in answer:
        rows = [[_cell(tunnel[key]) for key in _COLUMNS] for tunnel in answer["tunnels"]]
        return _aligned([list(_COLUMNS.values()), *rows])
    if "settings" in answer:
        from wsproxy.settings.show import to_toml

        return to_toml(answer["settings"]).rstrip("\n")
    return f"closing {answer['closing']}" if "closing" in answer else "done"


def _cell(value: object) -> str:
    """Without a character that could act on a terminal: clients choose some of these texts."""
    return "-" if value is None else "".join(each if each.isprintable() else "?" for each in str(value))


def _aligned(rows: list[list[str]]) -> str:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    )
