"""Where measurements run: each in a process of its own, on the machine where trials will be."""

from collections.abc import Callable
from typing import Protocol, TypeVar

from trainable.errors import UserError

Returned = TypeVar("Returned")


class FreshProcess(Protocol):
    """Calls a function in a new process and gives back what it returns; UserErrors come through."""

    def __call__(self, function: Callable[..., Returned], *args: object, cpus: float, gpus: float) -> Returned:
        """cpus, gpus: what the process occupies on a cluster."""
        ...


def beside_this_one(function: Callable[..., Returned], *args: object, cpus: float, gpus: float) -> Returned:
    """In a new process of this machine."""
    import multiprocessing
    from concurrent.futures import ProcessPoolExecutor

    del cpus, gpus  # nothing else runs
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return pool.submit(function, *args).result()


class OnRay:
    """In workers of the cluster that was joined, all calls on the node that the first one came to."""

    def __init__(self, say: Callable[[str], None]) -> None:
        """say: hears that the cluster is busy."""
        self._say = say
        self._node_id: str | None = None

    def __call__(self, function: Callable[..., Returned], *args: object, cpus: float, gpus: float) -> Returned:
        """Raises: UserError as the function does."""
        import ray
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        # max_calls=1: the worker ends with the call, so that the next one measures nothing of it
        task = ray.remote(max_calls=1, max_retries=1, num_cpus=cpus, num_gpus=gpus)(_with_node)
        if self._node_id is not None:
            task = task.options(scheduling_strategy=NodeAffinitySchedulingStrategy(self._node_id, soft=False))
        if not _has_room(cpus, gpus):
            self._say("the cluster is busy: measuring begins when there is room")
        try:
            answer: tuple[str, Returned] = ray.get(task.remote(function, args))
        except ray.exceptions.RayTaskError as error:
            if isinstance(error.cause, UserError):
                raise error.cause from None
            raise
        self._node_id, result = answer
        return result


def _with_node(function: Callable[..., Returned], args: tuple[object, ...]) -> tuple[str, Returned]:
    import ray

    return ray.get_runtime_context().get_node_id(), function(*args)


def _has_room(cpus: float, gpus: float) -> bool:
    import ray

    free = ray.available_resources()
    return bool(free.get("CPU", 0) >= cpus and free.get("GPU", 0) >= gpus)
