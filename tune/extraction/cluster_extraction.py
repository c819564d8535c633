"""Extraction on Ray: one streaming task on one node, or shards shared out to workers on all nodes and GPUs.

The driver holds the store's lock, hands chunks of shards to the workers, and does nothing twice: what a worker had
written when its node died stays, the rest goes to others.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import ray

from trainable.errors import UserError
from trainable.frozen.extract import ExtractionPlan, finished_store, only_one, shards_missing
from trainable.frozen.features import FeatureStore
from tune.cluster.node import Node
from tune.cluster.node_checks import find_unfit
from tune.cluster.node_death import node_death, process_end
from tune.cluster.ray_cluster import cpus_that_fit, living_nodes
from tune.extraction.crew import WAITING_SECONDS, Crew, Lost, Worker, seats
from tune.extraction.in_process import largest_that_fits
from tune.extraction.known_features import remember
from tune.extraction.needs import needs_of
from tune.extraction.node_mirrors import mirror_on_nodes
from tune.extraction.request import ExtractionRequest, Features, Progress, wanted_taps
from tune.extraction.shard_queue import Chunk, ShardQueue
from tune.extraction.worker import Survey, extraction_messages

Tell = Callable[[Progress | str], None]

LEAST_ROWS = {"cuda": 2000, "cpu": 1}
"""Images of a chunk at least: on a GPU the start of decoding processes costs as much as some thousand images."""


def features_on_ray(request: ExtractionRequest, tell: Tell) -> Features:
    """The store that serves `request`, made on the cluster that this process has joined.

    Raises: UserError, as `make_features` says.
    """
    if request.remote is not None:
        return _mirrored(request, tell)
    nodes = living_nodes()
    if len(nodes) == 1 and len(seats(nodes, request.device)) <= 1:
        return _in_one_task(request, tell)
    return _SharedExtraction(request, tell).run()


def _mirrored(request: ExtractionRequest, tell: Tell) -> Features:
    """Made by one node for the object storage, and copied from there by the others."""
    features = _in_one_task(request, tell)
    assert features.remote is not None
    mirror_on_nodes(features.remote, features.path, features.taps, say=tell)
    return features


def _in_one_task(request: ExtractionRequest, tell: Tell) -> Features:
    while True:
        try:
            return _streamed_task(request, tell)
        except ray.exceptions.RayTaskError as error:
            if isinstance(error.cause, UserError):
                raise error.cause from None
            raise
        except (
            ray.exceptions.WorkerCrashedError,
            ray.exceptions.NodeDiedError,
            ray.exceptions.OutOfMemoryError,
        ) as error:
            death = node_death(str(error))
            if death is None:
                raise UserError(
                    f"the extraction's worker must stay alive, but {process_end(str(error))}; finished shards are "
                    "kept: see to the memory of its machine, then run the same command again"
                ) from error
            tell(f"{death}; the extraction goes on elsewhere")


def _streamed_task(request: ExtractionRequest, tell: Tell) -> Features:
    n_gpus = 1 if request.device == "cuda" else 0
    request = replace(request, n_threads=cpus_that_fit(request.n_threads, n_gpus=n_gpus))
    # max_calls=1: the worker ends with the extraction, and the backbone's memory with it
    task = ray.remote(max_calls=1, max_retries=0, num_cpus=request.n_threads, num_gpus=n_gpus)(extraction_messages)
    for reference in task.remote(request):
        message = ray.get(reference)
        if isinstance(message, Features):
            return message
        tell(message)
    raise AssertionError("extraction ended without features")


@dataclass(frozen=True, slots=True)
class _SharedExtraction:
    """One extraction by a crew."""

    request: ExtractionRequest
    tell: Tell

    def run(self) -> Features:
        started = time.monotonic()
        with Crew(self.request, self.tell, self._unfit) as crew:
            survey = self._survey(crew)
            taps = wanted_taps(self.request, survey.n_backbone_blocks)
            store, n_extracted = largest_that_fits(lambda some: self._store(crew, survey.store, some), taps, self.tell)
        features = Features(
            path=store.path,
            taps=store.taps,
            backbone_fingerprint=survey.backbone_fingerprint,
            n_backbone_blocks=survey.n_backbone_blocks,
            n_extracted=n_extracted,
            seconds=time.monotonic() - started,
        )
        remember(features, survey.source)
        return features

    def _survey(self, crew: Crew) -> Survey:
        started, is_told = time.monotonic(), False
        while crew.survey is None:
            crew.hire(at_most=None if is_told else 1)  # the first one may wait where another need not
            for _ in crew.outcomes(timeout=1.0):
                pass
            if not is_told and crew.survey is None and time.monotonic() - started > WAITING_SECONDS:
                what = "GPU" if self.request.device == "cuda" else "CPU"
                self.tell(f"extraction waits for a free {what} of the cluster, or for its backbone to be loaded there")
                is_told = True
        return crew.survey

    def _store(self, crew: Crew, path: Path, taps: tuple[int, ...]) -> tuple[FeatureStore, int]:
        """The store and how many images were run for it."""
        if (store := finished_store(path, taps)) is not None:
            return store, 0

        def wait(line: str) -> None:
            crew.dismiss()  # whoever extracts can use what the crew occupies
            self.tell(line)

        with only_one(path, wait):
            if (store := finished_store(path, taps)) is not None:
                return store, 0
            plan: ExtractionPlan = crew.ask("lay_out", path, taps)
            missing = shards_missing(plan)
            queue = ShardQueue(
                missing,
                {shard: len(plan.rows(shard)) for shard in missing},
                n_images=plan.n,
                least_rows=LEAST_ROWS[self.request.device],
            )
            n_before = queue.n_done
            if missing:
                self._extract(crew, plan, queue)
            crew.ask("seal", plan)
        return FeatureStore.open(path), plan.n - n_before

    def _extract(self, crew: Crew, plan: ExtractionPlan, queue: ShardQueue) -> None:
        chunks: dict[Worker, Chunk] = {}
        n_told = queue.n_done
        self.tell(Progress(n_told, plan.n))
        while not queue.is_finished:
            crew.hire()
            for worker in crew.idle():
                if queue.has_more:
                    chunks[worker] = queue.take(len(crew.workers))
                    crew.start(worker, "extract", plan, chunks[worker])
            for worker, outcome in crew.outcomes(timeout=1.0):
                if isinstance(outcome, Lost):
                    if worker in chunks:
                        chunk = chunks.pop(worker)
                        queue.give_back(chunk, {shard for shard in chunk if plan.missing_taps(shard)})
                elif outcome == "done":
                    queue.finish(chunks.pop(worker))
                else:
                    queue.advance(chunks[worker], outcome)
            if queue.n_done != n_told:
                n_told = queue.n_done
                self.tell(Progress(n_told, plan.n))

    def _unfit(self, nodes: list[Node]) -> set[str]:
        """Of nodes that joined, those that cannot work on this."""
        unfit = find_unfit(needs_of(self.request), nodes)
        for problems in unfit.values():
            self.tell(f"left out of the extraction: {problems[0]}")
        return set(unfit)
