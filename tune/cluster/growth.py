"""Clusters that grow on demand: their autoscaler hears how many trials want room, and the first node is waited for."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from ray.autoscaler.sdk import request_resources

from trainable.errors import UserError
from tune.cluster.placement import Placement
from tune.cluster.ray_cluster import Cluster

LOOK_SECONDS = 1.0


@contextmanager
def nodes_asked_for(
    placement: Placement, count: int, *, wait_seconds: float, say: Callable[[str], None]
) -> Iterator[None]:
    """Have the autoscaler hold room for `count` trials until the end of the block, whatever runs by then.

    The block begins as soon as one node has room for one. There is one such request a cluster: the last search to make
    one sets it for all.
    Raises: UserError when no node has joined in time.
    """
    request_resources(bundles=[placement.bundle] * count)
    try:
        _await_first(placement, wait_seconds=wait_seconds, say=say)
        yield
    finally:
        with suppress(Exception):  # the cluster may be gone, and its nodes with it
            request_resources(bundles=[])


def _await_first(placement: Placement, *, wait_seconds: float, say: Callable[[str], None]) -> None:
    began, asked = time.monotonic(), ", ".join(f"{amount:g} {name}" for name, amount in placement.bundle.items())
    has_told = False
    while not any(placement.fits(node.resources) for node in Cluster().nodes()):
        if time.monotonic() - began > wait_seconds:
            raise UserError(
                f"`--wait-for-nodes` must be long enough for a node with {asked} to join, but none did in "
                f"{wait_seconds:g} s; `ray status` says what the cluster's autoscaler does"
            )
        if not has_told:
            say(f"waiting for a node with {asked} to join, {wait_seconds:g} s at most")
            has_told = True
        time.sleep(LOOK_SECONDS)
