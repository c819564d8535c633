"""Wait until Ray runs on all nodes that it was started on; for job scripts, which must not begin before.

python -m tune.verbs.await_nodes HOST:PORT N_NODES
"""

import socket
import sys
import time

from trainable.counts import counted
from trainable.errors import UserError

SECONDS = 180.0
"""Ray starts in 5 to 20 seconds; a node that reads Python from a busy file server takes longer (assumption)."""

EXIT_ALL, EXIT_SOME = 0, 1


def wait_for_nodes(address: str, n_nodes: int, *, seconds: float = SECONDS) -> str:
    """Returns one line that says what the cluster has.

    Raises: UserError when its head cannot be joined; TimeoutError when fewer nodes have joined by then.
    """
    deadline = time.monotonic() + seconds
    _wait_for_head(address, deadline)
    import ray

    from tune.cluster.ray_cluster import ray_session

    with ray_session(address=address, n_workers=1):
        while (n_alive := sum(node["Alive"] for node in ray.nodes())) < n_nodes:
            if time.monotonic() > deadline:
                raise TimeoutError(f"{counted(n_nodes, 'node')} must join within {seconds:g} s, but {n_alive} did")
            time.sleep(0.2)
        resources = ray.cluster_resources()
    cpus, gpus = (float(resources.get(kind, 0)) for kind in ("CPU", "GPU"))
    return f"Ray runs on {counted(n_nodes, 'node')}: {counted(cpus, 'CPU')}, {counted(gpus, 'GPU')}"


def _wait_for_head(address: str, deadline: float) -> None:
    """Until its port answers, or the time is over: whoever joins then is told why that fails."""
    host, _, port = address.rpartition(":")
    while time.monotonic() < deadline:
        try:
            socket.create_connection((host, int(port)), timeout=1.0).close()
        except OSError:
            time.sleep(0.2)
        else:
            return


def main(argv: list[str]) -> int:
    """Returns the exit status: 0 when all nodes are there, 1 when some are not."""
    address, n_nodes = argv
    try:
        print(wait_for_nodes(address, int(n_nodes)), file=sys.stderr)
    except (UserError, TimeoutError) as error:
        print(f"error: {error}", file=sys.stderr)
        return EXIT_SOME
    return EXIT_ALL


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
