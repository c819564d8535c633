"""cluster.yaml and docs/clusters/*.yaml: by Ray's own checks, and by ours for what these do not see."""

import copy
import re
import shlex
import shutil
import stat
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml
from packaging.requirements import Requirement

from tune.cli import parse_command
from tune.command_line.parsing import Given
from tune.jobs.job_parcel import EXCLUDES, find_upload
from tune.jobs.job_server import RAY_BELOW, RAY_FROM

ROOT = Path(__file__).resolve().parents[1]
EXAMPLES = ROOT / "docs" / "clusters"
CLOUDS = ("aws", "gcp", "azure")
CLUSTERS = {"local": ROOT / "cluster.yaml", **{cloud: EXAMPLES / f"{cloud}.yaml" for cloud in CLOUDS}}


def our_ray() -> Requirement:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    return next(need for need in map(Requirement, project["dependencies"]) if need.name == "ray")


def load(name: str) -> dict[str, Any]:
    return yaml.safe_load(CLUSTERS[name].read_text(encoding="utf-8"))


def check(config: dict[str, Any]) -> None:
    """As `ray up` does before it starts anything."""
    from ray.autoscaler._private.util import prepare_config, validate_config

    validate_config(prepare_config(copy.deepcopy(config)))


@pytest.mark.parametrize("name", CLUSTERS)
def test_ray_accepts_the_cluster(name):
    check(load(name))


def test_ray_refuses_a_key_that_is_misspelt():
    with pytest.raises(Exception, match="idle_timeout_minute"):
        check(load("aws") | {"idle_timeout_minute": 5})


@pytest.mark.parametrize("name", CLUSTERS)
def test_a_cluster_is_closed_to_strangers_and_copies_no_secret(name):
    config = load(name)
    head = " ".join(config["head_start_ray_commands"])
    everything = yaml.safe_dump(config)

    assert "--dashboard-host=127.0.0.1" in head
    assert config["file_mounts"]["~/.ray/auth_token"] == "~/.ray/auth_token"
    assert config["file_mounts"]["~/sentinel-tune"] == "."
    assert "chmod 600 ~/.ray/auth_token" in config["setup_commands"]
    assert any("docs/clusters/node.sh" in line for line in config["setup_commands"])  # sets RAY_AUTH_MODE=token
    assert any("pip install -e ~/sentinel-tune" in line for line in config["setup_commands"])
    assert {".env", ".env.*", "*.pem", ".git"} <= set(config["rsync_exclude"])
    assert config["rsync_filter"] == [".gitignore"]
    assert not re.search(r"SECRET|PASSWORD|AKIA|hf_", everything)


@pytest.mark.parametrize("name", CLOUDS)
def test_a_cloud_s_head_runs_no_trial_and_its_gpus_are_spot_and_given_back(name):
    config = load(name)
    types = config["available_node_types"]
    head, gpu = types[config["head_node_type"]], types["gpu"]
    node = gpu["node_config"]
    is_spot = {
        "aws": node.get("InstanceMarketOptions", {}).get("MarketType") == "spot",
        "gcp": node.get("scheduling", {}).get("provisioningModel") == "SPOT",
        "azure": node.get("azure_arm_parameters", {}).get("priority") == "Spot",
    }

    assert config["provider"]["type"] == name
    assert head["resources"]["CPU"] == 0
    assert head["resources"]["GPU"] == 0
    assert gpu["resources"]["GPU"] == 1
    assert gpu["min_workers"] == 0
    assert 0 < gpu["max_workers"] <= config["max_workers"]
    assert 0 < config["idle_timeout_minutes"] <= 15
    assert is_spot[name]


def images() -> list[str]:
    text = "".join(path.read_text() for path in sorted(EXAMPLES.glob("*.yaml")))
    return re.findall(r"rayproject/ray:(\S+)", text) + re.findall(r"image: registry.example/sentinel-tune:(\S+)", text)


def test_every_image_has_a_ray_and_a_python_that_we_support():
    assert len(images()) >= 9
    for tag in images():
        version, python = re.fullmatch(r"(\d+\.\d+\.\d+)-(py311)(?:-gpu)?", tag).groups()
        assert our_ray().specifier.contains(version), tag
        assert python == "py311"


def test_the_versions_that_a_cluster_may_run_are_those_of_pyproject():
    floor, cap = (".".join(map(str, version)) for version in (RAY_FROM, RAY_BELOW))

    assert {str(part) for part in our_ray().specifier} == {f">={floor}", f"<{cap}"}


RAYJOB_FIELDS = {
    "entrypoint", "runtimeEnvYAML", "submissionMode", "backoffLimit", "shutdownAfterJobFinishes",
    "ttlSecondsAfterFinished", "rayClusterSpec",
}  # fmt: skip
CLUSTER_FIELDS = {
    "rayVersion", "authOptions", "enableInTreeAutoscaling", "autoscalerOptions", "headGroupSpec", "workerGroupSpecs",
}  # fmt: skip
GROUP_FIELDS = {"rayStartParams", "template", "groupName", "replicas", "minReplicas", "maxReplicas"}
"""Of KubeRay's v1 API, as far as the example uses them: no package ships its schema."""


def test_the_rayjob_has_kuberay_s_fields_and_a_command_that_ours_understands():
    job = yaml.safe_load((EXAMPLES / "kuberay-rayjob.yaml").read_text())
    spec, cluster = job["spec"], job["spec"]["rayClusterSpec"]
    (group,) = cluster["workerGroupSpecs"]
    words = shlex.split(spec["entrypoint"])
    _, given = parse_command(words[3:])

    assert (job["apiVersion"], job["kind"]) == ("ray.io/v1", "RayJob")
    assert set(spec) == RAYJOB_FIELDS
    assert set(cluster) == CLUSTER_FIELDS
    assert set(group) | set(cluster["headGroupSpec"]) == GROUP_FIELDS
    assert words[:3] == ["python", "-m", "tune"]
    assert isinstance(given, Given)
    assert given.options().gpus_per_trial == 0.5
    assert cluster["authOptions"] == {"mode": "token"}
    assert cluster["headGroupSpec"]["rayStartParams"]["num-cpus"] == "0"
    assert group["minReplicas"] == 0 < group["maxReplicas"]
    (container,) = group["template"]["spec"]["containers"]
    assert container["resources"]["limits"]["nvidia.com/gpu"] == "1"
    assert all("secretRef" in source for source in container["envFrom"])
    assert set(yaml.safe_load(spec["runtimeEnvYAML"])["env_vars"]) == {
        "RAY_JOB_STOP_SIGNAL",
        "RAY_JOB_STOP_WAIT_TIME_S",
    }
    assert "value:" not in spec["runtimeEnvYAML"]


def test_node_sh_turns_the_token_on_and_reads_secrets_from_the_node_alone(tmp_path):
    secrets = tmp_path / "sentinel-tune-secrets"
    secrets.write_text("AWS_SECRET_ACCESS_KEY='a b'\n")
    secrets.chmod(stat.S_IRUSR | stat.S_IWUSR)
    script = f'. {EXAMPLES / "node.sh"}; python3 -c "import os; print(*map(os.environ.get, {NAMES}), sep=chr(10))"'
    shown = subprocess.check_output(
        ["bash", "-euc", script], env={"HOME": str(tmp_path), "PATH": "/usr/bin:/bin"}, text=True
    )

    assert shown.splitlines() == ["token", "SIGINT", "auto", "a b"]


SHIPPED_WEIGHTS = "trainable/frozen/sentinel_tiny/open_clip_model.safetensors"
NAMES = ["RAY_AUTH_MODE", "RAY_JOB_STOP_SIGNAL", "RAY_ADDRESS", "AWS_SECRET_ACCESS_KEY"]


@pytest.mark.skipif(shutil.which("rsync") is None, reason="rsync is not installed")
@pytest.mark.parametrize("name", CLUSTERS)
def test_weights_of_a_user_are_not_copied_and_those_of_the_package_are(name, tmp_path):
    config = load(name)
    files = ["mine.safetensors", "models/a/model.safetensors", "retrained/m/model.safetensors", "tune/cli.py"]
    for file in [*files, SHIPPED_WEIGHTS]:
        (tmp_path / "here" / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "here" / file).write_text("x")
    excludes = [word for pattern in config["rsync_exclude"] for word in ("--exclude", pattern)]  # as Ray hands them on
    subprocess.run(["rsync", "-a", *excludes, f"{tmp_path / 'here'}/", f"{tmp_path / 'there'}/"], check=True)

    there = {str(path.relative_to(tmp_path / "there")) for path in (tmp_path / "there").rglob("*") if path.is_file()}
    assert there == {"tune/cli.py", SHIPPED_WEIGHTS}


def test_rayignore_keeps_data_studies_caches_and_secrets_out_and_our_packages_in(tmp_path):
    """By Ray's own walk, without what `submit` leaves out by itself."""
    from ray._private.runtime_env.packaging import _dir_travel

    (tmp_path / ".rayignore").write_text((ROOT / ".rayignore").read_text())
    outside = [
        ".env", ".env.local", "key.pem", "studies/a/journal.jsonl", "mlruns/1/x", "mlflow.db", "mlflow.db-wal",
        "data/images.parquet", "weights/open_clip_model.safetensors", ".venv/bin/python", ".cache/x", "retrained/m/x",
    ]  # fmt: skip
    inside = ["tune/cli.py", "trainable/data/demo.py", "search_spaces/full.yaml", "my_space.yaml", SHIPPED_WEIGHTS]
    for name in [*outside, *inside]:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("x")
    kept: list[Path] = []
    _dir_travel(tmp_path, [], kept.append, include_gitignore=True)

    names = {str(path.relative_to(tmp_path)) for path in kept if path.is_file()}
    assert names == {*inside, ".rayignore"}
    assert set(find_upload(tmp_path).sizes) == names
    assert ".env" in EXCLUDES
