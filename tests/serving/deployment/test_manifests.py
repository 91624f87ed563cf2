"""Manifests: valid by their schemas, without secrets, with existing metrics."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from bento_projects import PARAMS, mlops
from model_services import ServedModel, run_service
from prometheus_client.parser import text_string_to_metric_families
from ruamel.yaml import YAML

from mlops_cli.cli.app import main
from mlops_cli.errors import Usage
from mlops_cli.params.serve import Serve
from mlops_cli.serving.deployment.manifests import image_of, texts

BIN = Path(sys.executable).parent
KUBERNETES = ("deployment", "service", "autoscaler", "network-policy", "disruption-budget")


@pytest.fixture(scope="module")
def folder(binary: ServedModel, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the command writes."""
    project = tmp_path_factory.mktemp("project")
    shutil.copytree(binary.folder, project / "models" / "model")
    (project / "params.yaml").write_text(json.dumps(PARAMS))
    done = mlops(project, *("serve", "manifests", "deploy", "-v", "workspace"))
    assert done.returncode == 0, done.stderr
    return project / "deploy"


def parsed(path: Path) -> Any:
    return YAML(typ="safe").load(path.read_text())


def test_compose_is_valid_by_its_schema(folder: Path) -> None:
    schema = ["--builtin-schema", "vendor.compose-spec"]
    done = subprocess.run(
        [str(BIN / "check-jsonschema"), *schema, str(folder / "compose.yaml")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout


def test_what_compose_mounts_is_there(folder: Path) -> None:
    compose = parsed(folder / "compose.yaml")
    mounted = [v for s in compose["services"].values() for v in s.get("volumes", [])]
    files = [volume.partition(":")[0] for volume in mounted if volume.startswith("./")]
    assert {Path(file).name for file in files} == {
        *("prometheus.yml", "datasource.yaml", "dashboards.yaml", "service.json"),
    }
    assert all((folder / file).is_file() for file in files)
    named = {volume.partition(":")[0] for volume in mounted} - {*files}
    assert named == compose["volumes"].keys()


@pytest.mark.parametrize("kind", KUBERNETES)
def test_manifests_are_valid_by_kubernetes_schema(folder: Path, kind: str) -> None:
    import kubernetes_validate

    kubernetes_validate.validate(parsed(folder / f"kubernetes/{kind}.yaml"), "1.30", strict=True)


def test_kustomize_finds_its_files_and_their_image(folder: Path) -> None:
    listed = parsed(folder / "kubernetes/kustomization.yaml")
    assert listed["resources"] == [f"{kind}.yaml" for kind in KUBERNETES]
    (container,) = pod(folder)["containers"]
    (image,) = listed["images"]
    assert container["image"] == f"{image['name']}:{image['newTag']}"


def pod(folder: Path) -> Any:
    return parsed(folder / "kubernetes/deployment.yaml")["spec"]["template"]["spec"]


def test_the_pod_can_write_nowhere_but_where_it_must(folder: Path) -> None:
    found = pod(folder)
    (container,) = found["containers"]
    assert found["securityContext"]["runAsNonRoot"]
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert {m["mountPath"] for m in container["volumeMounts"]} == {
        *("/home/bentoml/data", "/tmp"),  # noqa: S108 - in a container of its own
    }
    assert container["resources"]["limits"].keys() == {"cpu", "memory"}


def test_what_is_made_for_a_model_carries_its_name(folder: Path) -> None:
    made = [parsed(folder / f"kubernetes/{kind}.yaml") for kind in KUBERNETES]
    assert {m["metadata"]["name"] for m in made} == {"team-shop"}
    deployment, service, autoscaler, policy, budget = made
    labels = deployment["spec"]["template"]["metadata"]["labels"]
    assert service["spec"]["selector"] == labels
    assert policy["spec"]["podSelector"]["matchLabels"] == labels
    assert autoscaler["spec"]["scaleTargetRef"]["name"] == "team-shop"
    assert budget["spec"]["selector"]["matchLabels"] == labels
    assert budget["spec"]["minAvailable"] < autoscaler["spec"]["minReplicas"]


def test_a_request_may_end_before_the_pod_does(folder: Path) -> None:
    assert pod(folder)["terminationGracePeriodSeconds"] == 28, "7.5 s of a request, and 20 s"
    assert parsed(folder / "compose.yaml")["services"]["service"]["stop_grace_period"] == "28s"


def test_secrets_come_from_the_environment_only(folder: Path) -> None:
    for service in parsed(folder / "compose.yaml")["services"].values():
        for name, value in service.get("environment", {}).items():
            if re.search("PASSWORD|KEY", name):
                assert re.fullmatch(r"\$\{\w+:[?-][^}]*\}", value), f"{name} is written down"
    assert pod(folder)["containers"][0]["envFrom"] == [
        {"secretRef": {"name": "team-shop"}},
        {"secretRef": {"name": "team-shop-metrics"}},
    ]
    assert "kind: Secret" not in "".join(p.read_text() for p in folder.rglob("*.yaml"))


def test_every_container_is_confined(folder: Path) -> None:
    for name, service in parsed(folder / "compose.yaml")["services"].items():
        assert service["read_only"] is True, name
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert service["pids_limit"], name
        assert service["mem_limit"], name
        assert service["cpus"], name
        # The image of the service has a user of its own (serving/deployment says which).
        assert name == "service" or not service["user"].startswith("0"), name
        for mount in service.get("tmpfs", []):
            assert "size=" in mount, f"{name}: {mount} could take all memory"
        assert "privileged" not in service
    for volume in pod(folder)["volumes"]:
        assert volume["emptyDir"]["sizeLimit"]


def test_what_is_idle_fits_its_memory_twice(folder: Path) -> None:
    limits = pod(folder)["containers"][0]["resources"]
    assert (limits["requests"]["memory"], limits["limits"]["memory"]) == ("512Mi", "1Gi")
    assert parsed(folder / "compose.yaml")["services"]["service"]["mem_limit"] == "1g"


def test_the_database_is_reached_by_the_service_only(folder: Path) -> None:
    compose = parsed(folder / "compose.yaml")
    on_data = {n for n, s in compose["services"].items() if "data" in s["networks"]}
    assert on_data == {"service", "postgres"}
    assert compose["networks"]["data"] == {"internal": True}
    assert compose["services"]["postgres"]["networks"] == ["data"]


def test_prometheus_has_a_key_that_opens_metrics_only(folder: Path) -> None:
    services = parsed(folder / "compose.yaml")["services"]
    key = services["service"]["environment"]["MLOPS_METRICS_KEY"]
    assert key.startswith("${MLOPS_METRICS_KEY:?"), "compose stops without it"
    assert services["prometheus"]["environment"] == {"MLOPS_METRICS_KEY": key}
    (job,) = parsed(folder / "prometheus.yml")["scrape_configs"]
    path = job["authorization"]["credentials_file"]
    assert f'"$${{MLOPS_METRICS_KEY%%,*}}" > {path} &&' in services["prometheus"]["entrypoint"][-1]
    assert any(m.startswith(f"{Path(path).parent}:") for m in services["prometheus"]["tmpfs"])
    monitor = parsed(folder / "kubernetes/pod-monitor.yaml")
    (endpoint,) = monitor["spec"]["podMetricsEndpoints"]
    assert endpoint["authorization"]["credentials"] == {
        "name": "team-shop-metrics",
        "key": "MLOPS_METRICS_KEY",
    }
    assert monitor["spec"]["selector"]["matchLabels"] == {"app.kubernetes.io/name": "team-shop"}


def test_every_port_is_of_this_machine_only(folder: Path) -> None:
    services = parsed(folder / "compose.yaml")["services"]
    ports = [port for service in services.values() for port in service.get("ports", [])]
    assert len(ports) == 3
    assert all(port.startswith("127.0.0.1:") for port in ports)


def test_they_are_never_written_over_other_work(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["serve", "manifests", "deploy", "-v", "workspace"]
    mine = folder / "kubernetes" / "service.yaml"
    monkeypatch.chdir(folder.parent)
    assert main(words) == 0, "the same once more changes nothing"
    before = mine.read_text()
    mine.write_text("mine\n")
    assert main(words) == 2
    assert "kubernetes/service.yaml would be overwritten" in capsys.readouterr().err
    assert mine.read_text() == "mine\n"
    assert main([*words, "--force"]) == 0
    assert mine.read_text() == before


@pytest.mark.parametrize(
    ("given", "image"),
    [
        (None, "shop:v1"),
        ("b/shop", "b/shop:v1"),
        ("localhost:5000/shop", "localhost:5000/shop:v1"),
        ("example.org/shop:7", "example.org/shop:7"),
    ],
)
def test_an_image_has_the_bentos_version_unless_told(given: str | None, image: str) -> None:
    assert image_of("shop:v1", given) == image


@pytest.mark.parametrize("given", ["", "Shop", "a b", "shop:", "$(id)", "shop@sha256:1"])
def test_what_is_no_image_is_refused(given: str) -> None:
    with pytest.raises(Usage, match="--image is"):
        image_of("shop:v1", given)


def test_a_name_becomes_what_kubernetes_takes() -> None:
    found = texts("team/" + "long-" * 20, "x:1", Serve())["kubernetes/service.yaml"]
    (name,) = re.findall(r"(?m)^  name: (.+)$", found)
    assert re.fullmatch(r"[a-z][a-z0-9-]{0,61}[a-z0-9]", name)


def test_names_and_tags_are_texts_to_every_yaml_parser() -> None:
    found = texts("no", "on:1.10", Serve())
    (image,) = YAML(typ="safe").load(found["kubernetes/kustomization.yaml"])["images"]
    assert image == {"name": "on", "newTag": "1.10"}
    # YAML 1.1, which kubectl reads, takes a bare `no` for a boolean.
    assert "name: 'no'\n" in found["kubernetes/service.yaml"]
    assert "name: 'on'\n" in found["kubernetes/kustomization.yaml"]


# Metrics.


def queries(folder: Path) -> Iterator[str]:
    for panel in json.loads((folder / "grafana/service.json").read_text())["panels"]:
        yield from (target["expr"] for target in panel["targets"])


def test_the_dashboard_asks_for_metrics_and_labels_that_the_service_has(
    folder: Path, binary: ServedModel
) -> None:
    with run_service(binary.environment()) as service:
        (one, _) = service.predict([binary.rows[-1], {**binary.rows[-1], "shop": "nowhere"}])
        service.request("POST", "/feedback", {"labels": [{"id": one["id"], "label": True}]})
        text = service.request("GET", "/metrics")[1].decode()
    labels: dict[str, set[str]] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            labels.setdefault(sample.name, set()).update(sample.labels)
    asked = list(queries(folder))
    assert len(asked) > 10
    for query in asked:
        named = re.findall(r"\b(mlops_\w+)(?:\{(.*?)\})?", query)
        assert named
        grouped = re.findall(r"\w+", " ".join(re.findall(r" by \((.*?)\)", query)))
        for name, selected in named:
            assert name in labels, f"the service has no such metric: {query}"
            wanted = {*grouped, *re.findall(r"(\w+)(?==)", selected)}
            assert wanted <= labels[name], f"{name} has no such label: {query}"


def test_prometheus_asks_the_service_where_it_listens(folder: Path) -> None:
    (job,) = parsed(folder / "prometheus.yml")["scrape_configs"]
    services = parsed(folder / "compose.yaml")["services"]
    (target,) = job["static_configs"][0]["targets"]
    assert target == f"service:{services['service']['ports'][0].rpartition(':')[2]}"
    annotations = parsed(folder / "kubernetes/deployment.yaml")["spec"]["template"]["metadata"]
    assert annotations["annotations"]["prometheus.io/path"] == "/metrics"
