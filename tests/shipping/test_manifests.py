"""Each Kubernetes object is valid by the API's own schemas, as it stands and as kustomize puts it together."""

import re
import shutil
import subprocess
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from wsproxy import __version__
from wsproxy.cli.main import main
from wsproxy.settings.tree import Shutdown

FOLDER = Path(__file__).parents[2] / "deploy" / "kubernetes"
VERSIONS = ("1.33", "1.37")
"""Native sidecars and the sleep action are stable from the first of them on."""
OPERATORS = {"monitoring.coreos.com/v1"}
"""Kinds of the Prometheus operator: their schemas are not the API's own."""
KUSTOMIZATIONS = sorted(path.parent for path in FOLDER.rglob("kustomization.yaml"))
Object = dict[str, Any]


def files() -> list[Path]:
    return sorted(path for path in FOLDER.rglob("*.yaml") if path.name != "kustomization.yaml")


def objects(text: str) -> Iterator[Object]:
    yield from (each for each in yaml.safe_load_all(text) if each)


def built(folder: Path) -> list[Object]:
    if shutil.which("kubectl") is None:
        pytest.skip("kubectl is not installed, so nothing puts kustomizations together")
    done = subprocess.run(["kubectl", "kustomize", str(folder)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return list(objects(done.stdout))


def pods() -> Iterator[Object]:
    """The pod specifications of all workloads as they stand."""
    for path in files():
        for each in objects(path.read_text()):
            if each["kind"] == "Deployment":
                yield each["spec"]["template"]["spec"]


def containers(pod: Object) -> list[Object]:
    return [*pod.get("initContainers", []), *pod["containers"]]


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("path", files(), ids=lambda path: str(path.relative_to(FOLDER)))
def test_each_file(path: Path, version: str) -> None:
    found = list(objects(path.read_text()))
    assert found
    for each in found:
        if each["apiVersion"] not in OPERATORS:
            kubernetes_validate.validate(each, version, strict=True)


@pytest.mark.parametrize("folder", KUSTOMIZATIONS, ids=lambda path: str(path.relative_to(FOLDER)))
def test_each_kustomization(folder: Path) -> None:
    found = built(folder)
    for each in found:
        if each["apiVersion"] not in OPERATORS:
            kubernetes_validate.validate(each, VERSIONS[0], strict=True)
    assert {"Deployment", "Service"} <= {each["kind"] for each in found}


def test_a_wrong_object_would_be_found() -> None:
    (good,) = objects((FOLDER / "sidecar" / "service.yaml").read_text())
    good["spec"]["prots"] = good["spec"].pop("ports")
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(good, VERSIONS[0], strict=True)


def test_the_gateway_has_all_that_it_needs_in_a_cluster() -> None:
    kinds = {each["kind"] for each in built(FOLDER / "gateway" / "overlays" / "autoscaled")}
    assert kinds == {
        *("ConfigMap", "Deployment", "HorizontalPodAutoscaler", "NetworkPolicy"),
        *("PodDisruptionBudget", "Service", "ServiceMonitor"),
    }


def test_the_gateways_file_is_a_configuration() -> None:
    assert main(["check", str(FOLDER / "gateway" / "base" / "wsproxy.toml")]) == 0


def test_the_sidecar_is_a_native_one() -> None:
    (pod,) = [pod for pod in pods() if "initContainers" in pod]
    assert [(each["name"], each["restartPolicy"]) for each in pod["initContainers"]] == [("wsproxy", "Always")]


def seconds_of(step: Object) -> int:
    """How long a preStop step waits."""
    if "sleep" in step:
        return int(step["sleep"]["seconds"])
    waits = re.search(r"time\.sleep\((\d+)\)", step["exec"]["command"][-1])
    assert waits is not None, step
    return int(waits[1])


def test_a_drain_fits_into_the_time_that_a_pod_has_to_end() -> None:
    file = tomllib.loads((FOLDER / "gateway" / "base" / "wsproxy.toml").read_text())
    for pod in pods():
        drains_beside = "initContainers" in pod  # the sidecar drains while the backend's step waits
        (proxy,) = [each for each in containers(pod) if each["name"] == "wsproxy"]
        # The sidecar has no file that would say anything else than the default.
        grace = Shutdown().grace_seconds if drains_beside else file["shutdown"]["grace_seconds"]
        needed = grace + seconds_of(proxy["lifecycle"]["preStop"])
        if drains_beside:
            (kept,) = [seconds_of(each["lifecycle"]["preStop"]) for each in pod["containers"]]
            assert needed < kept, "the backend would leave before the drain is over"
            needed = kept
        assert needed < pod["terminationGracePeriodSeconds"] <= needed + 15


def test_every_container_is_locked_down_and_sized() -> None:
    for pod in pods():
        assert pod["securityContext"]["runAsNonRoot"] is True
        for each in containers(pod):
            assert each["securityContext"]["readOnlyRootFilesystem"] is True
            assert each["securityContext"]["capabilities"] == {"drop": ["ALL"]}
            assert set(each["resources"]["requests"]) == {"cpu", "memory"}


def test_the_image_is_of_this_version() -> None:
    for path in sorted(FOLDER.rglob("kustomization.yaml")):
        for named in yaml.safe_load(path.read_text()).get("images", []):
            assert named["newTag"] == __version__, path


def test_probes_ask_for_pages_that_exist() -> None:
    asked = {path for pod in pods() for path in re.findall(r"'path': '(/[^']*)'", str(pod))}
    assert asked == {"/livez", "/readyz"}
