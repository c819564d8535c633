"""Shards shared out to workers: each once, and again only what a lost worker had not written."""

import random

import pytest

from tune.extraction.shard_queue import ShardQueue


def queue_of(n_shards: int, *, rows: int = 10, done: int = 0, least_rows: int = 1) -> ShardQueue:
    """All shards after the first `done` are missing."""
    missing = range(done, n_shards)
    return ShardQueue(missing, dict.fromkeys(missing, rows), n_images=n_shards * rows, least_rows=least_rows)


def test_chunks_cover_every_missing_shard_once_and_shrink_towards_the_end():
    queue, chunks = queue_of(100, done=10), []
    while queue.has_more:
        chunks.append(queue.take(3))

    assert [shard for chunk in chunks for shard in chunk] == list(range(10, 100))
    sizes = [len(chunk) for chunk in chunks]
    assert sizes == sorted(sizes, reverse=True)
    assert (sizes[0], sizes[-1]) == (10, 1)


def test_a_chunk_has_a_least_number_of_images_but_no_more_than_are_left():
    queue = queue_of(5, rows=40, least_rows=100)

    assert [queue.take(2), queue.take(2)] == [(0, 1, 2), (3, 4)]


def test_the_images_done_are_those_there_before_and_those_heard_of_since():
    queue = queue_of(10, done=4)
    assert queue.n_done == 40
    chunk = queue.take(1)
    queue.advance(chunk, 7)
    assert queue.n_done == 47
    queue.finish(chunk)
    assert queue.n_done == 40 + 10 * len(chunk)


def test_what_a_lost_worker_had_written_stays_and_the_rest_is_taken_first():
    queue = queue_of(12)
    lost = queue.take(1)
    assert lost == (0, 1, 2, 3)
    queue.advance(lost, 25)
    queue.give_back(lost, {2, 3})

    assert queue.n_done == 20
    assert queue.take(1)[:2] == (2, 3)


@pytest.mark.parametrize("seed", range(5))
def test_whichever_workers_are_lost_every_shard_is_written_once(seed):
    chance, queue = random.Random(seed), queue_of(60, done=3)
    written, running = [0, 1, 2], []
    while not queue.is_finished:
        if queue.has_more and len(running) < 4:
            running.append(queue.take(4))
            continue
        chunk = running.pop(chance.randrange(len(running)))
        n_written = chance.randint(0, len(chunk)) if chance.random() < 0.4 else len(chunk)
        written += chunk[:n_written]
        if n_written == len(chunk):
            queue.finish(chunk)
        else:
            queue.give_back(chunk, set(chunk[n_written:]))

    assert sorted(written) == list(range(60))
    assert queue.n_done == 600
