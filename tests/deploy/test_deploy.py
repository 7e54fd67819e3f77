"""deploy/ against the schemas of what reads it, and against the commands and settings that there are.

No container engine is here: that these files run is not shown. `compose_spec.json` is the compose
specification's JSON schema as docker-compose 1.29.2 carries it (Apache-2.0); Kubernetes' schemas come with
kubernetes-validate.
"""

from __future__ import annotations

import json
import re
import tomllib
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml

from app.cli.program import app
from app.settings import Settings

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
COMMANDS: dict[str, Any] = dict(typer.main.get_command(app).commands)  # type: ignore[attr-defined]
COMPOSE: dict[str, Any] = yaml.safe_load((DEPLOY / "compose.yaml").read_text("utf-8"))
OBJECTS: list[dict[str, Any]] = list(yaml.safe_load_all((DEPLOY / "kubernetes.yaml").read_text("utf-8")))
OURS = ("server", "watcher", "worker")
PODS = {o["metadata"]["name"]: o["spec"]["template"]["spec"] for o in OBJECTS if o["kind"] == "Deployment"}


def check_command(given: list[str]) -> None:
    """The command exists, and so does each of its options."""
    name, *rest = given
    options = {opt for p in COMMANDS[name].params for opt in (*p.opts, *p.secondary_opts)}
    assert {word for word in rest if word.startswith("-")} <= options


def test_compose_holds_to_its_specification() -> None:
    import jsonschema

    schema = json.loads((Path(__file__).parent / "compose_spec.json").read_text("utf-8"))
    validator = jsonschema.Draft7Validator(schema)
    assert list(validator.iter_errors(COMPOSE)) == []
    broken = {**COMPOSE, "services": {"server": {"imag": "sightline"}}}
    assert list(validator.iter_errors(broken)), "the schema lets anything through"


@pytest.mark.parametrize("service", OURS)
def test_compose_runs_commands_that_there_are(service: str) -> None:
    check_command(COMPOSE["services"][service]["command"])


@pytest.mark.parametrize("service", OURS)
def test_compose_s_containers_are_not_root_and_cannot_write_to_the_media(service: str) -> None:
    told = COMPOSE["services"][service]
    assert told["user"] not in ("", "0", "root") and told["read_only"] is True
    assert told["cap_drop"] == ["ALL"] and "no-new-privileges:true" in told["security_opt"]
    mounts = {mount["target"]: mount for mount in told["volumes"]}
    assert mounts["/media"]["read_only"] is True and not mounts["/library"].get("read_only")


def test_compose_has_one_watcher_one_server_some_workers_and_publishes_to_this_machine_only() -> None:
    services = COMPOSE["services"]
    assert set(services) == {*OURS, "postgres", "milvus"}
    assert services["worker"]["deploy"]["replicas"] >= 2
    assert [s for s in services if "ports" in services[s]] == ["server"]
    assert all(port.startswith("127.0.0.1:") for port in services["server"]["ports"])


@pytest.mark.parametrize("name", ["compose.yaml", "kubernetes.yaml", "example.env", "Dockerfile"])
def test_every_setting_that_is_named_is_one(name: str) -> None:
    named = set(re.findall(r"SIGHTLINE_([A-Z_]+)", (DEPLOY / name).read_text("utf-8")))
    assert named and {one.lower() for one in named} <= {one.name for one in fields(Settings)}


def test_every_variable_of_compose_is_in_the_example() -> None:
    wanted = set(re.findall(r"\$\{([A-Z_]+)", (DEPLOY / "compose.yaml").read_text("utf-8")))
    given = set(re.findall(r"(?m)^([A-Z_]+)=", (DEPLOY / "example.env").read_text("utf-8")))
    assert wanted == given


@pytest.mark.parametrize("place", range(len(OBJECTS)))
def test_kubernetes_knows_every_field(place: int) -> None:
    validate = pytest.importorskip("kubernetes_validate")
    validate.validate(OBJECTS[place], "1.31", strict=True)


def test_kubernetes_refuses_a_field_that_there_is_not() -> None:
    validate = pytest.importorskip("kubernetes_validate")
    wrong = json.loads(json.dumps(OBJECTS[2]))
    wrong["spec"]["template"]["spec"]["containers"][0]["argz"] = []
    with pytest.raises(validate.ValidationError):
        validate.validate(wrong, "1.31", strict=True)


@pytest.mark.parametrize("pod", sorted(PODS))
def test_kubernetes_runs_commands_that_there_are(pod: str) -> None:
    check_command(PODS[pod]["containers"][0]["args"])


@pytest.mark.parametrize("pod", sorted(PODS))
def test_kubernetes_pods_are_not_root_and_cannot_write_to_the_media(pod: str) -> None:
    (container,) = PODS[pod]["containers"]
    assert PODS[pod]["securityContext"]["runAsNonRoot"] is True
    assert container["securityContext"]["readOnlyRootFilesystem"] is True
    assert {m["mountPath"]: m.get("readOnly") for m in container["volumeMounts"]}["/media"] is True


def test_the_image_is_not_root_and_holds_what_there_is_and_its_bytecode() -> None:
    text = (DEPLOY / "Dockerfile").read_text("utf-8")
    last = text.rsplit("FROM ", 1)[1]
    assert re.search(r"(?m)^USER 10001$", last)
    copied = [source for line in re.findall(r"(?m)^COPY (?!--from)(.+)$", text) for source in line.split()[:-1]]
    assert all((ROOT / source).exists() for source in copied)
    described = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    packages = [name.rstrip("*") for name in described["tool"]["setuptools"]["packages"]["find"]["include"]]
    needed = {*packages, *(file for files in described["tool"]["setuptools"]["data-files"].values() for file in files)}
    assert needed <= set(copied), "the package cannot be built without"
    assert "pip install" in text and "--no-compile" not in text and "PYTHONDONTWRITEBYTECODE" not in text
    extras = re.search(r"ARG EXTRAS=(\S+)", text)
    project = (ROOT / "pyproject.toml").read_text("utf-8")
    assert extras and all(re.search(rf"(?m)^{one} = \[", project) for one in extras[1].split(","))
    default = re.search(r"(?m)^CMD (\[.+\])$", text)
    assert default
    check_command(json.loads(default[1]))
