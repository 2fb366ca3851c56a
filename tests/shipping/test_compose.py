"""The compose file: valid where docker compose is there to say so, and naming only what exists."""

import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from wsproxy.settings.tree import Shutdown

FOLDER = Path(__file__).parents[2] / "deploy" / "compose"
SERVICES: dict[str, dict[str, Any]] = yaml.safe_load((FOLDER / "compose.yaml").read_text())["services"]


def test_docker_compose_accepts_it() -> None:
    if (
        shutil.which("docker") is None
        or subprocess.run(["docker", "compose", "version"], capture_output=True, check=False).returncode
    ):
        pytest.skip("docker compose is not installed")
    command = ["docker", "compose", "--file", str(FOLDER / "compose.yaml"), "config", "--quiet"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_what_it_mounts_is_there() -> None:
    mounted = [volume for service in SERVICES.values() for volume in service.get("volumes", [])]
    assert len(mounted) > 4
    for volume in mounted:
        source, _, mode = volume.split(":")
        assert (FOLDER / source).exists(), volume
        assert mode == "ro"


def test_all_ports_are_of_this_machine_alone() -> None:
    for service in SERVICES.values():
        for port in service.get("ports", []):
            assert port.startswith("127.0.0.1:")


def test_each_waits_until_what_it_needs_is_healthy() -> None:
    """wsproxy's own health check is the image's."""
    for name, service in SERVICES.items():
        assert name == "wsproxy" or service["healthcheck"]["test"][0] == "CMD"
        for needed, how in service.get("depends_on", {}).items():
            assert needed in SERVICES
            assert how == {"condition": "service_healthy"}
    assert [name for name in SERVICES if "depends_on" not in SERVICES[name]] == ["backend"]


def test_a_drain_fits_into_the_time_that_the_proxy_has_to_end() -> None:
    assert Shutdown().grace_seconds < int(SERVICES["wsproxy"]["stop_grace_period"].removesuffix("s"))


def test_prometheus_scrapes_the_proxy_and_has_its_rules() -> None:
    scraped = yaml.safe_load((FOLDER / "prometheus.yml").read_text())
    (job,) = scraped["scrape_configs"]
    host, _, port = job["static_configs"][0]["targets"][0].partition(":")
    assert host in SERVICES
    assert any(each.endswith(f":{port}") for each in SERVICES[host]["ports"])
    (pattern,) = scraped["rule_files"]
    assert list((FOLDER.parent / "prometheus").glob(Path(pattern).name))


def test_grafana_has_the_dashboards() -> None:
    (source,) = yaml.safe_load((FOLDER / "grafana" / "datasources.yaml").read_text())["datasources"]
    assert source["url"].removeprefix("http://").partition(":")[0] in SERVICES
    (provider,) = yaml.safe_load((FOLDER / "grafana" / "dashboards.yaml").read_text())["providers"]
    assert any(volume.split(":")[1] == provider["options"]["path"] for volume in SERVICES["grafana"]["volumes"])
    assert list((FOLDER.parent / "grafana").glob("*.json"))
