"""`python -m tests.autobahn.run`: the Autobahn TestSuite against a running proxy, plan by plan, from both sides.

The fuzzing client talks to the proxy in front of an upstream that echoes; the fuzzing server is the upstream of a proxy
with a client that echoes. Owns: one run's processes, and what counts as success. Must never import wsproxy.
"""

import argparse
import contextlib
import shutil
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from time import monotonic
from typing import get_args

from tests.autobahn import ends, suite
from tests.autobahn.plans import PLANS, Plan
from tests.autobahn.results import SECTIONS, Cells, Outcome, Row, cells, read, rewrite
from tests.autobahn.suite import Mode
from tests.endtoend.proxy import Proxy, configured

REPORTS = Path("build/autobahn")
NO_INTERPRETER = (
    "skipped: the Autobahn TestSuite needs Python 2.7, and none was found (AUTOBAHN_PYTHON, python2.7 on the PATH, "
    "pyenv's versions)"
)


def judge(mode: Mode, plan: Plan, cases: Sequence[str], folder: Path) -> Outcome:
    """Run ``cases`` of one fuzzer against a proxy with ``plan``; the reports of the TestSuite are in ``folder`` then.

    :raises RuntimeError: the run broke off, or the proxy did not do what the plan says.
    """
    shutil.rmtree(folder, ignore_errors=True)
    started = monotonic()
    excluded, compress = plan.excluded(mode), plan.compresses(mode)
    if mode == "fuzzingclient":
        with ends.upstream(compress=plan.upstream) as url, _proxy(plan, url) as proxy:
            suite.fuzz(proxy.url("/"), folder, cases, excluded, compress=compress)
    else:
        with suite.fuzzing_server(folder, cases, excluded, compress=compress) as url, _proxy(plan, url) as proxy:
            host = url.removeprefix("ws://")
            ends.walk(proxy.url(""), host, folder / "client.log", compress=plan.client)
    return Outcome(mode, plan.name, monotonic() - started, read(folder))


def _judge_part(mode: Mode, plan: Plan, part: str) -> Outcome:
    return judge(mode, plan, [part], REPORTS / f"{mode}-{plan.name}" / part.replace("*", "all"))


@contextlib.contextmanager
def _proxy(plan: Plan, upstream_url: str) -> Iterator[Proxy]:
    with configured(plan.route(upstream_url)) as proxy:
        yield proxy
        proxy.settled()
        tunnels = proxy.metric("wsproxy_tunnels_total")
        for direction, name in (("to_client", plan.to_client), ("to_upstream", plan.to_upstream)):
            taken = proxy.metric("wsproxy_plans_total", direction=direction, plan=name)
            if taken != tunnels or not tunnels:
                raise RuntimeError(f"plan {plan.name}: {taken:.0f} of {tunnels:.0f} tunnels were {name} {direction}")


def parts(mode: Mode, plan: Plan, cases: Sequence[str]) -> tuple[str, ...]:
    """The patterns that are run one by one, each section for itself: what breaks off is never more than that."""
    sections = tuple(f"{section}.*" for section in SECTIONS)
    excluded = plan.excluded(mode)
    # A section of which every case is left out leaves the fuzzer nothing to do.
    empty = {
        f"{section}.*"
        for section, size in SECTIONS.items()
        if sum(number.startswith(f"{section}.") for number in excluded) >= size
    }
    asked = (part for case in cases for part in (sections if case == "*" else (case,)))
    return tuple(part for part in asked if part not in empty and plan.can_be_asked(mode, [part]))


def _tell(outcome: Outcome, part: str, meaning: str) -> None:
    counts = ", ".join(f"{count} {verdict}" for verdict, count in outcome.counts().items())
    print(f"{outcome.mode} {outcome.plan} {part} ({meaning}): {counts} in {outcome.seconds:.0f} s", flush=True)
    for case in outcome.bad:
        print(f"  {case.number} {case.verdict}: {case.detail}", flush=True)


def _arguments() -> argparse.Namespace:
    names = [plan.name for plan in PLANS]
    parser = argparse.ArgumentParser(description="The Autobahn TestSuite against wsproxy, plan by plan.")
    parser.add_argument("--mode", choices=get_args(Mode), action="append", help="the fuzzer; both unless given")
    parser.add_argument("--plans", nargs="+", choices=names, default=names, metavar="PLAN", help=", ".join(names))
    parser.add_argument(
        "--cases", nargs="+", default=["*"], metavar="PATTERN", help="such as '6.4.*'; all unless given"
    )
    parser.add_argument("--parallel", type=int, default=1, metavar="N", help="sections at a time")
    parser.add_argument(
        "--report", type=Path, metavar="PAGE", help="write the results of whole sections into its table"
    )
    return parser.parse_args()


def main() -> int:
    """0: every case passed, or there is no Python 2.7, and this says so; 1: some did not; 2: bad usage."""
    arguments = _arguments()
    interpreter = suite.find_interpreter()
    if interpreter is None:
        print(NO_INTERPRETER)
        return 0
    suite.install(interpreter)

    tasks = [
        (mode, plan, part)
        for mode in arguments.mode or get_args(Mode)
        for plan in PLANS
        if plan.name in arguments.plans
        for part in parts(mode, plan, arguments.cases)
    ]
    good = True
    with ThreadPoolExecutor(arguments.parallel) as pool:
        runs = [(*task, pool.submit(_judge_part, *task)) for task in tasks]
        for mode, plan, part, run in runs:
            try:
                outcome = run.result()
            except (RuntimeError, AssertionError) as error:
                # One section's end is not the others'.
                print(f"{mode} {plan.name} {part} broke off: {error}", flush=True)
                good = False
                continue
            _tell(outcome, part, plan.meaning)
            good = good and not outcome.bad
            if arguments.report is not None:
                found: dict[Row, Cells] = {(mode, plan.name): cells(outcome, plan.excluded(mode))}
                arguments.report.write_text(rewrite(arguments.report.read_text(), found))
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
