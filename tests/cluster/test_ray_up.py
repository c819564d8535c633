"""The shipped cluster.yaml from `ray up` to `ray down`, over real sshd, on hosts of the test's own."""

import sysconfig
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from tests.cluster.hosts import Host, Hosts, why_not
from tests.cluster.source_tree import copy_source
from tests.conftest import PLAIN
from tests.tune.plain_entries import read_plain

pytestmark = [pytest.mark.cluster, pytest.mark.skipif(why_not() is not None, reason=str(why_not()))]


@pytest.fixture
def hosts(tmp_path: Path) -> Iterator[Hosts]:
    with Hosts(tmp_path) as group:
        yield group


def adapt(file: Path, *, head: Host, workers: list[Host]) -> None:
    """What a user changes, and an installation from the packages that are here already, since there is no network."""
    config = yaml.safe_load(file.read_text())
    config["provider"] |= {"head_ip": head.address, "worker_ips": [worker.address for worker in workers]}
    config["auth"]["ssh_user"] = "root"
    config |= {"min_workers": len(workers), "max_workers": len(workers)}
    packages = sysconfig.get_path("purelib")
    borrowed = f"echo {packages} > $(echo ~/sentinel-tune-env/lib/python3*/site-packages)/borrowed.pth"
    script = "from ray.scripts.scripts import main; main()"
    ray = f"printf '#!%s\\n{script}\\n' ~/sentinel-tune-env/bin/python > ~/sentinel-tune-env/bin/ray"
    at = next(i for i, line in enumerate(config["setup_commands"]) if "pip install -e" in line)
    install = config["setup_commands"][at].replace("install -e", "install -q --no-deps --no-build-isolation -e")
    start = config["head_start_ray_commands"]
    start[-1] += " --num-cpus=0"  # so that what runs, runs on the worker
    config["setup_commands"][at : at + 1] = [borrowed, ray, "chmod +x ~/sentinel-tune-env/bin/ray", install]
    file.write_text(yaml.safe_dump(config, sort_keys=False))


@pytest.mark.timeout(400)
def test_the_shipped_cluster_comes_up_runs_a_script_on_its_workers_and_goes_down(hosts, tmp_path, demo_cache):
    client, head, worker = (hosts.start(name) for name in ("client", "head", "worker"))
    app = copy_source(tmp_path / "app")
    (app / ".env").write_text("AWS_SECRET_ACCESS_KEY=not-to-be-copied\n")
    adapt(app / "cluster.yaml", head=head, workers=[worker])
    client.run("ray", "get-auth-token", "--generate")

    client.run("ray", "up", "-y", "cluster.yaml", cwd=app, seconds=240)
    wait_for_nodes(head, 2)
    study = tmp_path / "study"
    options = {
        "--data": "demo:120", "--space": PLAIN, "--trials": 3, "--epochs": 2, "--cache": demo_cache,
        "--tracking-uri": f"sqlite:///{tmp_path / 'mlflow.db'}", "--study": study,
    }  # fmt: skip
    words = ["--no-confirm", *(str(word) for pair in options.items() for word in pair)]
    shown = client.run("ray", "submit", "cluster.yaml", "tune/search.py", "--", *words, cwd=app)

    assert f"{study}: 3 trials" in shown
    tells = [entry for entry in read_plain(study) if entry["event"] == "tell"]
    assert len(tells) == 3
    assert (head.home / "search.py").is_file()  # what `ray submit` copies is this one file
    for host in (head, worker):
        token = host.home / ".ray" / "auth_token"
        assert token.read_text() == (client.home / ".ray" / "auth_token").read_text()
        assert token.stat().st_mode & 0o777 == 0o600
        assert (host.home / "sentinel-tune" / "tune" / "search.py").is_file()
        assert not (host.home / "sentinel-tune" / ".env").exists()
    with pytest.raises(AssertionError, match="ended with 1"):  # any failure is 1 with `ray submit`
        client.run("ray", "submit", "cluster.yaml", "tune/search.py", "--", "--trials", "0", cwd=app)
    listening = head.run("ss", "-ltnH")
    assert "127.0.0.1:8265" in listening  # dashboard and job server are at the loopback alone
    assert f"{head.address}:8265" not in listening
    with pytest.raises(AssertionError, match="InvalidAuthToken"):
        client.run("ray", "status", "--address", f"{head.address}:6379", RAY_AUTH_MODE="disabled")

    client.run("ray", "down", "-y", "cluster.yaml", cwd=app)
    running = head.run("ps", "axo", "args")
    assert "sshd" in running
    assert not [name for name in ("gcs_server", "raylet", "monitor.py") if name in running]


def wait_for_nodes(head: Host, n: int) -> None:
    """Until so many nodes are in the cluster."""
    code = "import ray; ray.init(logging_level='ERROR'); print('alive', sum(n['Alive'] for n in ray.nodes()))"
    deadline = time.monotonic() + 120
    while f"alive {n}" not in (shown := head.run("bash", "-lic", f'python -c "{code}"')):
        assert time.monotonic() < deadline, shown
        time.sleep(1)
