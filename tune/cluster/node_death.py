"""Whether a worker died by itself or with its whole node, which is never the fault of what it did."""

import re
import socket
import time
from collections.abc import Callable, Sequence

import ray

from trainable.plain_values import JsonObject

Rows = Sequence[JsonObject]
"""Nodes as `ray.nodes()` has them, dead ones included."""

DYING_SECONDS = 1.0
"""Within it a raylet ends whose machine is ending its processes one after the other (assumption)."""

ANSWER_SECONDS = 2.0


def node_death(error: str, node_id: str | None = None, *, rows: Callable[[], Rows] = ray.nodes) -> str | None:
    """How a node died whose death explains that of a worker, in words; None when its node lives on.

    Ray may tell of the worker before it has marked the node as dead, so a node that is said to live is asked itself.
    error: the text of Ray's error, which names the node or its address. node_id: of the worker, where it is known.
    """
    deadline = time.monotonic() + DYING_SECONDS
    while named := _named(error, node_id, rows()):
        for node in named:
            if not node["Alive"]:
                why = node.get("DeathReasonMessage") or "no reason is known"
                return f"node {node['NodeManagerAddress']} died: {why.rstrip('.')}"
            if not _answers(node):
                return f"node {node['NodeManagerAddress']} died: it does not answer"
        if time.monotonic() > deadline:
            break
        time.sleep(DYING_SECONDS / 4)
    return None


def process_end(error: str) -> str:
    """Why a worker process ended on a living node, in words."""
    return "the node was low on memory" if "low on memory" in error else "its process ended"


def _named(error: str, node_id: str | None, rows: Rows) -> Rows:
    by_id = [row for row in rows if row["NodeID"] == node_id or row["NodeID"] in error]
    return by_id or [row for row in rows if re.search(rf"\bip: {re.escape(row['NodeManagerAddress'])}\s", error)]


def _answers(node: JsonObject) -> bool:
    """Whether the node's raylet takes a connection."""
    try:
        place = (node["NodeManagerAddress"], int(node["NodeManagerPort"]))
        socket.create_connection(place, timeout=ANSWER_SECONDS).close()
    except OSError:
        return False
    return True
