"""When a trial is asked for: as soon as it can start, on clusters that grow, shrink or are shared."""

from tune.cluster.node import Node
from tune.cluster.placement import Placement
from tune.cluster.room import LOOK_SECONDS, Room


class FakeCluster:
    """Nodes of so many CPUs, of which others use some."""

    def __init__(self, cpus: float) -> None:
        self.cpus = cpus
        self.used = 0.0

    def nodes(self) -> list[Node]:
        return [Node(node_id="a", address="10.0.0.1", resources={"CPU": self.cpus})]

    def free(self) -> dict[str, float]:
        return {"CPU": self.cpus - self.used}


class Searching:
    """Asks for trials as Ray Tune does, again and again; each that is asked for starts at once if there is room."""

    def __init__(self, cluster: FakeCluster, max_concurrent: int | None = None) -> None:
        self.cluster, self.now, self.n = cluster, 0.0, 0
        self.running: list[str] = []
        self.waiting: list[str] = []
        self.said: list[str] = []
        placement = Placement(cpus_per_trial=1, gpus_per_trial=0, max_concurrent=max_concurrent)
        self.room = Room(placement, cluster=cluster, say=self.said.append, clock=lambda: self.now)

    def look(self) -> tuple[int, int]:
        """A second later: trials running, trials asked for that wait."""
        self.now += LOOK_SECONDS
        while self.room.is_there():
            self.n += 1
            self.room.taken(f"{self.n}")
            self.waiting.append(f"{self.n}")
        while self.waiting and self.cluster.used < self.cluster.cpus:
            self.cluster.used += 1
            self.running.append(self.waiting.pop(0))
            self.room.started(self.running[-1])
        return len(self.running), len(self.waiting)

    def end(self) -> None:
        self.cluster.used -= 1
        self.room.left(self.running.pop(0))


def test_no_trial_is_asked_for_before_it_can_start():
    search = Searching(FakeCluster(3))

    assert search.look() == (3, 0)
    assert search.look() == (3, 0)
    search.end()
    assert search.look() == (3, 0)


def test_nodes_that_join_are_used_and_those_that_leave_are_not_missed():
    search = Searching(FakeCluster(2))
    search.look()
    search.cluster.cpus = 5
    assert search.look() == (5, 0)
    search.cluster.cpus = 1
    for _ in range(4):
        search.end()
    assert search.look() == (1, 0)
    assert search.said == [
        "the cluster has room for 5 trials now, for 2 before",
        "the cluster has room for 1 trial now, for 5 before",
    ]


def test_beside_another_search_one_trial_waits_in_the_queue_and_starts_when_there_is_room():
    search = Searching(FakeCluster(3))
    search.cluster.used = 2
    search.look()

    assert search.look() == (1, 1)
    assert search.look() == (1, 1)
    search.cluster.used -= 1
    assert search.look()[0] == 2


def test_a_limit_given_by_the_user_holds_whatever_the_cluster_has():
    assert Searching(FakeCluster(8), max_concurrent=3).look() == (3, 0)


def test_a_cluster_without_nodes_is_waited_for_with_one_trial():
    assert Searching(FakeCluster(0)).look() == (0, 1)
