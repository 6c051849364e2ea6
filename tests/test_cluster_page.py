"""What docs/cluster.md shows is so."""

import json
import re
import shlex
from typing import Any

import msgspec
import pytest
import yaml

from daemons import ROOT
from dropsight import cli
from dropsight.archive.csv_table import GROUP_COLUMNS
from dropsight.archive.output_formats import FORMATS
from dropsight.archive.rows import SCHEMA

PAGE = (ROOT / "docs" / "cluster.md").read_text()
COMMANDS = re.findall(r"^dropsight ((?:archive|compare) [^#\n]+)", PAGE, re.MULTILINE)


class Strict(msgspec.Struct, forbid_unknown_fields=True, rename="camel"):
    """Those keys of KubeRay's RayJob and Kubernetes' pods that the page uses, with their types."""


class Resources(Strict):
    limits: dict[str, str]
    requests: dict[str, str] = {}


class Container(Strict):
    name: str
    image: str
    resources: Resources
    env_from: list[dict[str, dict[str, str]]] = []


class PodSpec(Strict):
    containers: list[Container]


class PodTemplate(Strict):
    spec: PodSpec


class HeadGroup(Strict):
    ray_start_params: dict[str, str]
    template: PodTemplate


class WorkerGroup(HeadGroup):
    group_name: str
    replicas: int
    min_replicas: int
    max_replicas: int


class ClusterSpec(Strict):
    ray_version: str
    head_group_spec: HeadGroup
    worker_group_specs: list[WorkerGroup]


class JobSpec(Strict):
    entrypoint: str
    ray_cluster_spec: ClusterSpec
    shutdown_after_job_finishes: bool = False
    ttl_seconds_after_finished: int = 0
    backoff_limit: int = 0


class RayJob(Strict):
    api_version: str
    kind: str
    metadata: dict[str, str]
    spec: JobSpec


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_of_the_page_is_one(command: str) -> None:
    assert cli.read(shlex.split(command)).command == command.partition(" ")[0]


def test_the_ray_job_is_one_by_its_schema_and_its_workers_have_whole_cpus() -> None:
    """KubeRay gives Ray as many CPUs as the limit says, rounded up; its head is to have none."""
    (found,) = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)
    job = msgspec.convert(yaml.safe_load(found), RayJob)
    assert (job.api_version, job.kind) == ("ray.io/v1", "RayJob")
    asked = cli.read(shlex.split(job.spec.entrypoint)[1:])
    assert (asked.command, asked.given["engine"], asked.given["address"]) == ("archive", "ray", None)
    cluster = job.spec.ray_cluster_spec
    assert cluster.head_group_spec.ray_start_params["num-cpus"] == "0"
    (workers,) = cluster.worker_group_specs
    assert workers.min_replicas <= workers.replicas <= workers.max_replicas
    (worker,) = workers.template.spec.containers
    assert int(worker.resources.limits["cpu"]) == int(worker.resources.requests["cpu"])
    assert f"ray:{cluster.ray_version}-" in PAGE


def test_the_submitted_job_has_a_runtime_environment_of_json_and_a_command() -> None:
    (environment, command) = re.findall(
        r"--runtime-env-json '(.*?)' .*?-- dropsight (.*?)$", PAGE, re.DOTALL | re.MULTILINE
    )[0]
    found: dict[str, Any] = json.loads(environment)
    assert set(found) == {"pip", "env_vars"}
    assert cli.read(shlex.split(command)).given["engine"] == "ray"


def test_the_times_of_n_machines_are_those_of_the_rates_that_are_named() -> None:
    rates = re.search(r"a machine does (\d+) images/s from a disk, (\d+) from S3", PAGE)
    listing = re.search(r"([\d,]+) files/s from a local disk.*are assumed, ([\d,]+) files/s", PAGE, re.DOTALL)
    start = re.search(r"takes (\d+) s: Ray", PAGE)
    assert rates
    assert listing
    assert start
    rows = re.findall(r"^\| (\d+) \| (.*) \| ([\d.]+) GB/s \|$", PAGE, re.MULTILINE)
    assert [row[0] for row in rows] == ["1", "4", "16", "64"]
    for machines, times, gigabytes in rows:
        cells = iter(times.split(" | "))
        for rate, names in zip(rates.groups(), listing.groups(), strict=True):
            for images in (1e6, 1e7, 1e8):
                work = images / (int(rate) * int(machines)) + images / int(names.replace(",", ""))
                assert seconds(next(cells)) == pytest.approx(int(start[1]) + work, rel=0.05)
        assert float(gigabytes) == pytest.approx(int(rates[1]) * int(machines) * 326e3 / 1e9, rel=0.1)


def seconds(cell: str) -> float:
    number, unit = cell.split()
    return float(number) * {"min": 60, "h": 3600}[unit]


def test_the_columns_and_the_formats_are_those_of_the_page() -> None:
    assert all(f"`{name}`" in PAGE for name in (*SCHEMA.names, *GROUP_COLUMNS))
    assert all(f"`{each.shown}`" in PAGE and f"`{name}`" in PAGE for name, each in FORMATS.items())
