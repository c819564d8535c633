"""Clusters that grow on demand: their autoscaler hears how many trials want room, and the first node is waited for."""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress

import ray
from ray.autoscaler.sdk import request_resources

from trainable.errors import UserError
from tune.cluster.placement import nodes_of

LOOK_SECONDS = 1.0


@contextmanager
def nodes_asked_for(
    bundle: Mapping[str, float], count: int, *, wait_seconds: float, say: Callable[[str], None]
) -> Iterator[None]:
    """Have the autoscaler hold room for `count` times `bundle` until the end of the block, whatever runs by then.

    bundle: resources of one trial by Ray's names. The block begins as soon as one node has room for one. There is one
    such request a cluster: the last search to make one sets it for all.
    Raises: UserError when no node has joined in time.
    """
    request_resources(bundles=[dict(bundle)] * count)
    try:
        _await_first(bundle, wait_seconds=wait_seconds, say=say)
        yield
    finally:
        with suppress(Exception):  # the cluster may be gone, and its nodes with it
            request_resources(bundles=[])


def _await_first(bundle: Mapping[str, float], *, wait_seconds: float, say: Callable[[str], None]) -> None:
    began, asked = time.monotonic(), ", ".join(f"{amount:g} {name}" for name, amount in bundle.items())
    has_told = False
    while not any(_holds(node.resources, bundle) for node in nodes_of(ray.nodes())):
        if time.monotonic() - began > wait_seconds:
            raise UserError(
                f"`--wait-for-nodes` must be long enough for a node with {asked} to join, but none did in "
                f"{wait_seconds:g} s; `ray status` says what the cluster's autoscaler does"
            )
        if not has_told:
            say(f"waiting for a node with {asked} to join, {wait_seconds:g} s at most")
            has_told = True
        time.sleep(LOOK_SECONDS)


def _holds(resources: Mapping[str, float], bundle: Mapping[str, float]) -> bool:
    return all(resources.get(name, 0.0) >= amount for name, amount in bundle.items())
