"""Extraction workers on the nodes of a cluster: hired where there is room, replaced when their node dies."""

import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from trainable.errors import UserError
from tune.cluster.node import Node
from tune.cluster.node_death import node_death, process_end
from tune.cluster.ray_cluster import living_nodes
from tune.extraction.request import ExtractionRequest, check_backbone
from tune.extraction.worker import ExtractionWorker, Survey

MAX_CRASHES = 3
"""Worker processes that may die on living nodes; the deaths of nodes are not counted."""

WAITING_SECONDS = 15.0
"""So long without any worker, and the user hears what is waited for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Seat:
    """Room for one worker: one GPU of a node with its share of the CPUs, or all CPUs of a node without.

    n_cpus: reserved, and the worker's threads: of its share as many as are free, at least one.
    """

    node: Node
    index: int
    n_cpus: int

    @property
    def key(self) -> tuple[str, int]:
        """The same place, whatever is free on the node by now."""
        return (self.node.node_id, self.index)


@dataclass(slots=True, kw_only=True, eq=False)
class Worker:
    """One hired worker. stream: of the call that it is busy with; None while it is idle."""

    seat: Seat
    actor: ray.actor.ActorHandle
    stream: ray.ObjectRefGenerator | None = None
    is_ready: bool = field(default=False)


@dataclass(frozen=True, slots=True)
class Lost:
    """The worker is gone, for this reason."""

    reason: str


Outcome = Any | Literal["done"] | Lost


def seats(nodes: list[Node], device: str) -> list[Seat]:
    """Where workers can be on these nodes, in their order."""
    found = []
    for node in nodes:
        count = int(node.n_gpus) if device == "cuda" else int(node.n_cpus >= 1)
        for index in range(count):
            share = int(min(node.n_cpus, node.free.get("CPU", 0.0)) // count)
            found.append(Seat(node=node, index=index, n_cpus=max(1, share)))
    return found


class Crew:
    """The workers of one extraction. Use as a context manager: at its end all are dismissed."""

    def __init__(
        self, request: ExtractionRequest, say: Callable[[str], None], unfit: Callable[[list[Node]], set[str]]
    ) -> None:
        """say: takes one line for the user. unfit: of nodes seen first, the IDs of those not to work on."""
        self._request = request
        self._say = say
        self._unfit = unfit
        self._seen: dict[str, bool] = {}
        self._deaths: set[str] = set()
        self._n_crashes = 0
        self.workers: list[Worker] = []
        self.survey: Survey | None = None

    def __enter__(self) -> "Crew":
        return self

    def __exit__(self, *_: object) -> None:
        self.dismiss()

    def hire(self, *, at_most: int | None = None) -> None:
        """Fill the seats that are free; nodes that joined are found, and those that died are not."""
        taken = {worker.seat.key for worker in self.workers}
        for seat in seats(self._fit_nodes(), self._request.device):
            if at_most is not None and len(self.workers) >= at_most:
                return
            if seat.key not in taken:
                self.workers.append(self._hired(seat))

    def idle(self) -> list[Worker]:
        """Workers that wait for something to do."""
        return [worker for worker in self.workers if worker.is_ready and worker.stream is None]

    def start(self, worker: Worker, method: str, *args: object) -> None:
        """Let an idle worker do something; `outcomes` tells what comes of it."""
        worker.stream = getattr(worker.actor, method).options(num_returns="streaming").remote(*args)

    def outcomes(self, *, timeout: float) -> Iterator[tuple[Worker, Outcome]]:
        """What came of calls since: a value that was yielded, "done" at a call's end, or `Lost`.

        Raises: what a worker raised; UserError when too many crashed.
        """
        streams = {worker.stream: worker for worker in self.workers if worker.stream is not None}
        if not streams:
            time.sleep(timeout)
            return
        ready, _ = ray.wait(list(streams), num_returns=len(streams), timeout=0)
        if not ready:
            ready, _ = ray.wait(list(streams), num_returns=1, timeout=timeout)
        for stream in ready:
            worker = streams[stream]
            outcome = self._outcome(worker)
            if isinstance(outcome, Survey):
                self._take(outcome, worker)
            elif worker.is_ready:
                yield worker, outcome
            elif outcome == "done":
                worker.is_ready = True

    def ask(self, method: str, *args: object) -> Any:
        """One worker's answer; another one is asked when the first is lost."""
        asked: Worker | None = None
        while True:
            self.hire(at_most=max(1, len(self.workers)))
            if asked is None and (idle := self.idle()):
                asked, answer = idle[0], None
                self.start(asked, method, *args)
            for worker, outcome in self.outcomes(timeout=1.0):
                if worker is not asked:
                    continue
                if isinstance(outcome, Lost):
                    asked = None
                elif outcome == "done":
                    return answer
                else:
                    answer = outcome

    def dismiss(self) -> None:
        """End all workers, and give back what they occupy."""
        for worker in self.workers:
            with suppress(ray.exceptions.RayError):
                ray.kill(worker.actor)
        self.workers = []

    def _hired(self, seat: Seat) -> Worker:
        n_processes = seat.n_cpus if self._request.n_processes else 0
        request = replace(self._request, n_threads=seat.n_cpus, n_processes=n_processes)
        actor = ray.remote(ExtractionWorker).options(
            num_cpus=min(seat.n_cpus, int(seat.node.n_cpus)),
            num_gpus=1 if self._request.device == "cuda" else 0,
            max_restarts=0,
            scheduling_strategy=NodeAffinitySchedulingStrategy(seat.node.node_id, soft=False),
        )
        worker = Worker(seat=seat, actor=actor.remote(request))
        self.start(worker, "survey")
        return worker

    def _outcome(self, worker: Worker) -> Outcome:
        assert worker.stream is not None
        try:
            return ray.get(next(worker.stream))
        except StopIteration:
            worker.stream = None
            return "done"
        except ray.exceptions.RayTaskError as error:
            if isinstance(error.cause, UserError):
                raise error.cause from None
            raise
        except ray.exceptions.RayError as error:
            self.workers.remove(worker)
            return Lost(self._reason(worker, error))

    def _reason(self, worker: Worker, error: ray.exceptions.RayError) -> str:
        death = node_death(str(error), worker.seat.node.node_id)
        if death is not None:
            if death not in self._deaths:  # of each of its workers there is one
                self._say(f"{death}; what it had not written is extracted elsewhere")
            self._deaths.add(death)
            return death
        self._n_crashes += 1
        last = process_end(str(error))
        if self._n_crashes > MAX_CRASHES:
            raise UserError(
                f"extraction workers must stay alive, but {self._n_crashes} died, the last one on {worker.seat.node}: "
                f"{last}; finished shards are kept: see to the memory of that node, then run the same command again"
            )
        self._say(f"the extraction worker on {worker.seat.node} died and is replaced: {last}")
        return last

    def _take(self, survey: Survey, worker: Worker) -> None:
        check_backbone(self._request, survey.backbone_fingerprint, survey.store)
        if self.survey is not None and survey != self.survey:
            raise UserError(
                f"the backbone must be the same on all nodes, but {self._request.backbone} has fingerprint "
                f"{survey.backbone_fingerprint} on {worker.seat.node} and {self.survey.backbone_fingerprint} "
                "elsewhere; give all nodes the same files"
            )
        self.survey = survey

    def _fit_nodes(self) -> list[Node]:
        nodes = living_nodes()
        if new := [node for node in nodes if node.node_id not in self._seen]:
            unfit = self._unfit(new) if self._seen else set()  # those of the beginning were looked at before
            self._seen |= {node.node_id: node.node_id not in unfit for node in new}
        return [node for node in nodes if self._seen[node.node_id]]
