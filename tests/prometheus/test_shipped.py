"""promtool on what is shipped, and on what the proxy tells."""

import re
import subprocess

import pytest

from tests.endtoend import peers
from tests.endtoend.conversations import content
from tests.endtoend.proxy import configured, route
from tests.prometheus.server import MISSING, SHIPPED, find
from wsproxy.telemetry.metrics import CATALOGUE

RULES = (SHIPPED / "wsproxy.rules.yml").read_text()


def promtool(*arguments: str, given: str = "") -> str:
    binary = find("promtool")
    if binary is None:
        pytest.skip(MISSING)
    done = subprocess.run(
        [binary, *arguments], cwd=SHIPPED, input=given, capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def test_the_configuration_is_one() -> None:
    promtool("check", "config", "prometheus.yml")


def test_the_rules_are_rules_without_a_complaint() -> None:
    promtool("check", "rules", "--lint=all", "--lint-fatal", "wsproxy.rules.yml")


def test_every_alert_fires_where_it_should_and_nowhere_else() -> None:
    assert "SUCCESS" in promtool("test", "rules", "wsproxy.rules.test.yml")


def test_every_alert_is_tried_where_it_fires_and_where_it_does_not() -> None:
    tried = (SHIPPED / "wsproxy.rules.test.yml").read_text()
    alerts = set(re.findall(r"- alert: (\w+)", RULES))
    assert len(alerts) == 9
    assert set(re.findall(r"\{alertname: (\w+), eval_time: \w+, exp_alerts: \[\]\}", tried)) == alerts
    firing = r"- alertname: (\w+)\n +eval_time: \w+\n +exp_alerts:\n +- exp_labels:"
    assert set(re.findall(firing, tried)) == alerts


def test_the_rules_name_metrics_that_exist() -> None:
    known = {metric.name for metric in CATALOGUE}
    expressions = re.sub(
        r"\w+:wsproxy\w*(:\w+)?|wsproxy:\w+|#.*|summary:.*|description:.*|- (alert|name):.*", "", RULES
    )
    named = set(re.findall(r"\bwsproxy_\w+", expressions))
    assert named
    assert named <= known, named - known


def test_the_proxy_tells_metrics_without_a_complaint() -> None:
    with peers.upstream() as upstream, configured(route("feed", upstream.url)) as proxy:
        with peers.client(proxy.url("/feed"), deflate=peers.CHROME) as client:
            client.send(content(5000))
            client.recv()
        proxy.settled()
        # What prometheus-client names itself is not ours: promtool has opinions on python_info and the like.
        ours = "\n".join(line for line in proxy.page("/metrics").splitlines() if re.match(r"(# \w+ )?wsproxy_", line))
    assert promtool("check", "metrics", given=ours + "\n") == ""
