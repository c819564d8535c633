"""Whether every node of the cluster can do the work: the same code, and the same folders behind the same paths.

Found out before anything is computed, by a task on each node that reads a mark the driver left and leaves its own.
"""

import secrets
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from trainable.errors import UserError
from trainable.plain_values import JsonObject
from trainable.storage.place import Place
from trainable.storage.remote_folder import RemoteFolder
from tune.cluster import node_probe
from tune.cluster.folder_marks import has_mark, marked
from tune.cluster.node import Node

ANSWER_SECONDS = 120.0
"""A node that takes longer to run a task of a second is of no use."""


@dataclass(frozen=True, slots=True)
class WrittenFolder:
    """What a folder is to the user, where it is, and how another one is chosen."""

    what: str
    path: Place
    remedy: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Needs:
    """What work reads and writes. files: some of those to be read. bfloat16_on: the device, "cpu" or "cuda", whose
    matrix products will be bfloat16; empty for neither.
    """

    folders: tuple["WrittenFolder", ...]
    files: tuple[Path, ...]
    bfloat16_on: str = ""

    def with_study(self, folder: Place, *, device: str, precision: str) -> "Needs":
        """And of a search: the folder of its study, and the device and precision of its trials."""
        study = WrittenFolder("the study's folder", folder.absolute(), "--study PATH, or --study s3://BUCKET/NAME")
        on = device if precision == "bfloat16" else ""
        return Needs(folders=(*self.folders, study), files=self.files, bfloat16_on=on)


@dataclass(frozen=True, slots=True)
class Finding:
    """A rule that nodes break, in what way, and what to do."""

    rule: str
    found: str
    remedy: str

    def sentence(self, nodes: Sequence[Node]) -> str:
        """The problem in one line, of these nodes."""
        return f"{self.rule}, but {', '.join(map(str, nodes))} {self.found}; {self.remedy}"


SHARE = "use NFS or another disk that all nodes share"
KEYS = "start its Ray with the environment that this process has: credentials, AWS_ENDPOINT_URL"


def check_nodes(needs: Needs) -> None:
    """Look at every node, at this process's own only for what its processor can; costs nothing where there is no other.

    Raises: UserError naming the nodes that cannot do the work, what they lack, and the remedy.
    """
    from tune.cluster.ray_cluster import living_nodes, own_node_id  # loads ray

    own, nodes = own_node_id(), [node for node in living_nodes() if node.n_cpus or node.n_gpus]
    by_finding: dict[Finding, list[Node]] = {}
    lack = node_probe.without_bfloat16(needs.bfloat16_on)
    looked_at = {node: _without_bfloat16(needs, lack) for node in nodes if node.node_id == own}
    looked_at |= _look(needs, [node for node in nodes if node.node_id != own])
    for node, findings in looked_at.items():
        for finding in findings:
            by_finding.setdefault(finding, []).append(node)
    if by_finding:
        raise UserError(finding.sentence(nodes) for finding, nodes in by_finding.items())


def find_unfit(needs: Needs, nodes: Sequence[Node]) -> dict[str, list[str]]:
    """Of these nodes those that cannot do the work: node ID -> its problems, one line each."""
    found = _look(needs, nodes)
    return {node.node_id: [f.sentence([node]) for f in findings] for node, findings in found.items() if findings}


def findings_of(answer: JsonObject, needs: Needs, *, own: Mapping[str, str]) -> list[Finding]:
    """What is wrong with a node by its own answer (see `node_probe.probe`); own: the driver's versions."""
    found = []
    for name, version in own.items():
        if answer["versions"][name] != version:
            what = "source code" if name == "sentinel-tune" else name
            found.append(
                Finding(
                    f"every node must have {name} {version} as this process has",
                    f"has {answer['versions'][name]}",
                    f"give it the same {what}, or start Ray there in the same environment",
                )
            )
    for folder in needs.folders:
        rule, path = f"{folder.what} must be one that every node can read and write", str(folder.path)
        if (why := answer["unseen"].get(path)) is not None:
            remedy = KEYS if isinstance(folder.path, RemoteFolder) else f"{SHARE}: {folder.remedy}"
            found.append(Finding(rule, f"does not see what lies in {path} here ({why})", remedy))
        elif (why := answer["unwritable"].get(path)) is not None:
            found.append(Finding(rule, f"cannot write {path} ({why})", "give its user the right to"))
    for file, why in answer["unread"].items():
        found.append(Finding("data must be readable on every node", f"cannot read {file} ({why})", SHARE))
    return found + _without_bfloat16(needs, answer["without_bfloat16"])


def _without_bfloat16(needs: Needs, lack: str) -> list[Finding]:
    if not lack:
        return []
    from trainable.training.precision import NEED, REMEDY  # loads torch

    return [Finding(NEED[needs.bfloat16_on], lack, REMEDY)]


def _look(needs: Needs, nodes: Sequence[Node]) -> dict[Node, list[Finding]]:
    if not nodes:
        return {}
    own, marker = node_probe.versions(), f".probe-{secrets.token_hex(8)}"
    paths, files = [folder.path for folder in needs.folders], [(str(file), file.stat().st_size) for file in needs.files]
    with ExitStack() as marks:
        for path in paths:
            marks.enter_context(marked(path, marker))
        answers = _ask(nodes, marker, [str(path) for path in paths], files, needs.bfloat16_on)
        for node, answer in answers.items():
            if isinstance(answer, dict):
                _add_unseen(answer, [path for path in paths if not has_mark(path, f"{marker}-{node.node_id}")])
    return {
        node: findings_of(answer, needs, own=own) if isinstance(answer, dict) else [_silent(answer)]
        for node, answer in answers.items()
    }


def _add_unseen(answer: JsonObject, without_mark: Sequence[Place]) -> None:
    """Add the folders that a node believes to have written, and in which nothing of that is seen here."""
    told = {**answer["unseen"], **answer["unwritable"]}
    missing = [str(path) for path in without_mark if str(path) not in told]
    answer["unseen"] |= dict.fromkeys(missing, "what it writes there is not seen here")


def _silent(reason: str) -> Finding:
    return Finding(
        "every node must be able to run a task",
        f"did not: {reason}",
        "see to its Ray and its packages, or take it out of the cluster",
    )


def _ask(
    nodes: Sequence[Node], marker: str, folders: list[str], files: list[tuple[str, int]], bfloat16_on: str
) -> dict[Node, JsonObject | str]:
    """Each node's answer, or why there is none; nodes that have died meanwhile are left out."""
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    from tune.cluster.ray_cluster import living_nodes

    ray.cloudpickle.register_pickle_by_value(node_probe)
    try:
        probe = ray.remote(node_probe.probe)
        asked = {
            node: probe.options(
                num_cpus=0, max_retries=0, scheduling_strategy=NodeAffinitySchedulingStrategy(node.node_id, soft=False)
            ).remote(node.node_id, marker, folders, files, bfloat16_on)
            for node in nodes
        }
    finally:
        ray.cloudpickle.unregister_pickle_by_value(node_probe)
    ray.wait(list(asked.values()), num_returns=len(asked), timeout=ANSWER_SECONDS)
    answers: dict[Node, JsonObject | str] = {}
    for node, reference in asked.items():
        try:
            answers[node] = ray.get(reference, timeout=0)
        except ray.exceptions.RayError as error:
            lines = str(error).splitlines() or [type(error).__name__]
            answers[node] = lines[-1].strip()
    alive = {node.node_id for node in living_nodes()}
    return {node: answer for node, answer in answers.items() if node.node_id in alive}
