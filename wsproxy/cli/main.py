"""The ``wsproxy`` command: commands, flags, exit codes.

Owns: what is typed, and what is told on the terminal about it. Each command imports what it needs when it runs, so
that ``check`` and ``schema`` start fast and need no event loop.
Invariants: exit code 0 for a clean end, 1 if it could not run, 2 for wrong flags, environment or configuration; an
error is one line each on stderr and never a traceback.
"""

import argparse
import os
import signal
import sys
from collections.abc import Callable, Sequence
from functools import partial
from http import HTTPStatus
from typing import NoReturn

from wsproxy import __version__
from wsproxy.cli.ctl import add_ctl_arguments, run_ctl
from wsproxy.errors import BadUsage, WsproxyError

_EPILOG = """\
ADDR is host:port, [v6]:port, unix:/path or fd:N. URL is ws://, wss:// (or http://, https://) or unix:/path.
Every flag of run has an environment twin, WSPROXY_LISTEN for --listen and so on; WSPROXY_CONFIG names the file.
A flag goes before the environment, the environment before the file, the file before the defaults.
Exit codes: 0 clean stop, 1 it could not run, 2 bad usage or configuration.
"""

_HEALTH_SECONDS = 2.0


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; gives the exit code.

    :param argv: the arguments without the program's name; those of the process if None.
    """
    try:
        arguments = _parser().parse_args(argv)
        command: Callable[[argparse.Namespace], int] = arguments.command
        code = command(arguments)
        print(end="", flush=True)
        return code
    except BadUsage as error:
        _complain(error.problems)
        return 2
    except WsproxyError as error:
        _complain([str(error)])
        return 1
    except BrokenPipeError:
        # `wsproxy ctl list | head`: whoever reads has had enough, and the interpreter's own flush is not to complain.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 128 + signal.SIGPIPE
    except KeyboardInterrupt:
        # Before anything served; `run` and `demo` take the signal themselves from then on.
        return 128 + signal.SIGINT


class _Parser(argparse.ArgumentParser):
    """Tells a wrong flag as every other problem is told: in one line, exit code 2."""

    def error(self, message: str) -> NoReturn:
        raise BadUsage([f"{message} (see {self.prog} --help)"])


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="wsproxy",
        description="A WebSocket reverse proxy that compresses each side on its own terms.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"wsproxy {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND", parser_class=_Parser)

    run = commands.add_parser("run", help="run the proxy", allow_abbrev=False)
    run.add_argument("config", nargs="?", metavar="CONFIG.toml", help="without it: a sidecar before one upstream")
    run.add_argument("--listen", metavar="ADDR", help="where clients connect (127.0.0.1:8080)")
    run.add_argument("--upstream", metavar="URL", help="where the upstream listens")
    run.add_argument("--metrics", metavar="ADDR", help="the read-only pages (127.0.0.1:9464); '' turns them off")
    run.add_argument("--workers", metavar="N", help="processes that serve, or auto: one for each core (1)")
    run.add_argument("--log-format", metavar="FORMAT", help="text or json")
    run.add_argument("--log-level", metavar="LEVEL", help="debug, info, warning or error")
    run.set_defaults(command=_run)

    check = commands.add_parser("check", help="say everything that is wrong with a configuration", allow_abbrev=False)
    check.add_argument("config", metavar="CONFIG.toml")
    check.add_argument("--explain", metavar="URL", help="say which route and upstream a request for URL takes, and why")
    check.add_argument(
        "--header", action="append", default=[], metavar="'NAME: VALUE'", help="a header of that request; repeatable"
    )
    check.add_argument(
        "--subprotocol", action="append", default=[], metavar="NAME", help="a subprotocol it offers; repeatable"
    )
    check.set_defaults(command=_check)

    ctl = commands.add_parser("ctl", help="look at a running proxy, close tunnels, drain", allow_abbrev=False)
    add_ctl_arguments(ctl)
    ctl.set_defaults(command=_ctl)

    health = commands.add_parser("health", help="ask a running proxy whether it is ready", allow_abbrev=False)
    health.add_argument("config", nargs="?", metavar="CONFIG.toml", help="the file that it runs with")
    health.add_argument("--metrics", metavar="ADDR", help="its read-only pages (127.0.0.1:9464)")
    health.set_defaults(command=_health)

    demo = commands.add_parser("demo", help="a live demonstration on this machine alone", allow_abbrev=False)
    demo.add_argument("--seconds", type=_positive_seconds, default=10.0, metavar="N", help="how long it goes (10)")
    demo.add_argument("--keep", action="store_true", help="go on until interrupted")
    demo.set_defaults(command=_demo)

    schema = commands.add_parser("schema", help="print the JSON Schema of the configuration", allow_abbrev=False)
    schema.set_defaults(command=_schema)
    return parser


def _run(arguments: argparse.Namespace) -> int:
    from wsproxy.settings.environment import Overrides, load_settings

    flags = Overrides(
        config=arguments.config,
        listen=arguments.listen,
        upstream=arguments.upstream,
        metrics=arguments.metrics,
        log_format=arguments.log_format,
        log_level=arguments.log_level,
        workers=arguments.workers,
    )
    read_settings = partial(load_settings, flags, os.environ)
    settings = read_settings()
    # Trio and the rest are loaded only once it is known what to run.
    from wsproxy.service.lifecycle import run

    run(settings, read_settings)
    return 0


def _check(arguments: argparse.Namespace) -> int:
    from wsproxy.settings.environment import load_file

    try:
        settings = load_file(arguments.config, os.environ)
    except BadUsage as error:
        print("\n".join(error.problems), file=sys.stderr)
        return 2
    print(f"{arguments.config}: OK")
    if arguments.explain is None:
        if arguments.header or arguments.subprotocol:
            raise BadUsage(["--header and --subprotocol go with --explain URL"])
        return 0
    from wsproxy.cli.explain import explain

    lines, enters = explain(settings, arguments.explain, arguments.header, arguments.subprotocol)
    print("\n".join(lines))
    return 0 if enters else 1


def _ctl(arguments: argparse.Namespace) -> int:
    return run_ctl(arguments, os.environ)


def _health(arguments: argparse.Namespace) -> int:
    """For container health checks, which have neither a shell nor curl: 0 ready, 1 not ready or no answer."""
    from wsproxy.network.ask import ask
    from wsproxy.settings.addresses import parse_address
    from wsproxy.settings.environment import Overrides, metrics_address

    address = metrics_address(Overrides(config=arguments.config, metrics=arguments.metrics), os.environ)
    if not address:
        raise BadUsage(["the read-only pages are turned off (metrics.listen), so there is nobody to ask"])
    try:
        status = ask(parse_address(address), "/readyz", _HEALTH_SECONDS)
    except ValueError as error:
        raise BadUsage([f"metrics: {error}"]) from error
    print("ready" if status == HTTPStatus.OK else f"not ready ({status})")
    return 0 if status == HTTPStatus.OK else 1


def _demo(arguments: argparse.Namespace) -> int:
    from wsproxy.demo.show import run

    return run(arguments.seconds, arguments.keep)


def _schema(_arguments: argparse.Namespace) -> int:
    import json

    from wsproxy.extensions.registry import survey
    from wsproxy.settings.schema import schema

    usable, unusable = survey()
    _complain([f"not in this schema: {problem}" for problem in unusable])
    print(json.dumps(schema(usable), indent=2))
    return 0


def _positive_seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds <= 86_400:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds above 0, up to 86400")
    return seconds


def _complain(problems: Sequence[str]) -> None:
    for problem in problems:
        print(f"wsproxy: {problem}", file=sys.stderr)
