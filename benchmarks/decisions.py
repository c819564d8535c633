"""What the decisions and the journal cost: an epoch report, an ask, a resume, bytes a result, memory of a trial.

python benchmarks/decisions.py [--trials 1000] [--epochs 30] [--starts 8] [--folder FOLDER]

Every trial runs to its full length, so the journal is as long as it can be. The first are queued in the header as
starting points are, the others are as the sampler proposes them, but drawn at random. FOLDER is where the journal is
written; its disk's fsync is part of what is measured. Targets: report under 10 ms at 1,000 trials, 100 results a second
of one core, resume of 10,000 finished trials under 5 s, an ask under 20 ms there, under 0.1 MB of memory a trial; 1,000
workers with trials of a minute idle under 2 % of their time for want of the driver, which is simulated.
"""

import argparse
import heapq
import json
import math
import random
import statistics
import sys
import tempfile
import time
import tracemalloc
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

from search_spaces.space import SearchSpace
from trainable.collector import collector_paused
from tune.decisions.decisions import Decisions
from tune.decisions.proposals import Proposal
from tune.decisions.sampler import sampler_description
from tune.decisions.trial_entries import kept_nowhere
from tune.decisions.trial_record import SAMPLER, Ask
from tune.journal.entries import EntryWriter, SessionBegun
from tune.journal.journal import FILE_NAME, Journal, read_entries
from tune.study.optuna_journal import OptunaJournal

METRICS = [
    *(f"score/{part}" for part in ("all", "id", "ood")),
    *(
        f"{kind}_{part}/SPEI_{length}"
        for kind in ("crps", "r2", "mae", "sigma")
        for part in ("id", "ood")
        for length in ("30d", "1y", "2y")
    ),
    *(f"train/{name}" for name in ("loss", "lr", "epoch")),
    "time/epoch_seconds",
    "time/train_images_per_second",
]
"""The names that one epoch of a real trial reports."""

N_ASKS = 20

N_WORKERS, TRIAL_SECONDS = 1000, 60.0
"""Of the simulation; trials take half to one and a half times as long, all lengths alike."""

UNIT_PARAMETERS = (
    "adapter.dropout", "tail.domain_scale", "tail.head_dropout", "optim.weight_decay", "optim.warmup_fraction",
    "optim.hold_fraction", "optim.layer_slope", "optim.block_multiplier", "optim.ln_post_multiplier",
    "optim.head_multiplier", "augment.feature_noise", "augment.mixup_alpha", "augment.specimen_dropout",
    "augment.domain_dropout",
)  # fmt: skip

_REASONS = {"role": "scientific", "why": "a benchmark"}
WIDE_SPACE = SearchSpace.from_dict(
    {
        "name": "wide",
        "about": "twenty parameters, one of them conditional: as many as the widest space here varies",
        "base": {},
        "parameters": {
            "adapter.kind": {"choices": ["full", "lora", "dora"], **_REASONS},
            "adapter.rank": {"int": [4, 256], "log": True, "when": {"adapter.kind": ["lora", "dora"]}, **_REASONS},
            "tail.n_blocks": {"int": [1, 6], **_REASONS},
            "optim.lr": {"float": [1e-5, 3e-3], "log": True, **_REASONS},
            "optim.batch_size": {"int": [16, 256], "log": True, **_REASONS},
            "loss.kind": {"choices": ["mse", "crps"], **_REASONS},
            **{name: {"float": [0.0, 0.5], **_REASONS} for name in UNIT_PARAMETERS},
        },
    }
)


class RandomTrial:
    """Draws a space's parameters uniformly."""

    def __init__(self, generator: random.Random) -> None:
        self._generator = generator

    def suggest_categorical(self, _: str, choices: list[Any]) -> Any:
        return self._generator.choice(choices)

    def suggest_int(self, _: str, low: int, high: int, **__: Any) -> int:
        return self._generator.randint(low, high)

    def suggest_float(self, _: str, low: float, high: float, **__: Any) -> float:
        return self._generator.uniform(low, high)


def main() -> None:
    """Run all measurements and print them."""
    arguments = parse_arguments()
    space, generator = WIDE_SPACE, random.Random(0)
    drawn = [space.suggest(RandomTrial(generator)) for _ in range(arguments.trials)]
    queue = [{"origin": "start:random", "values": values} for values in drawn[: arguments.starts]]
    header = {
        "seed": 0, "n_trials": arguments.trials, "max_epochs": arguments.epochs, "grace_epochs": 1,
        "reduction_factor": 3, "queue": queue, "sampler": sampler_description(),
    }  # fmt: skip
    proposals = [
        Proposal(origin=SAMPLER, exempt=True, values=v, config=space.config(v, arguments.epochs).to_dict())
        for v in drawn[arguments.starts :]
    ]
    with tempfile.TemporaryDirectory(dir=arguments.folder) as name:
        folder = Path(name)
        result_seconds = measure_search(folder, space, header, proposals, generator)
        ask_seconds = measure_resume(folder, space, header)
    share = idle_share(ask_seconds + result_seconds, generator)
    print(
        f"workers         {share:.2%} of {N_WORKERS} idle for want of the driver, trials of one result in "
        f"{TRIAL_SECONDS:.0f} s, {1e3 * (ask_seconds + result_seconds):.1f} ms of CPU each (simulated)"
    )
    measure_memory(space, header, proposals, generator)


def measure_search(
    folder: Path, space: SearchSpace, header: dict[str, Any], proposals: list[Proposal], generator: random.Random
) -> float:
    """A whole study with its journal and its Optuna journal; CPU seconds of a result, with its share of all else."""
    journal = Journal.create(folder, header, study_id="benchmark")
    journal.subscribe(OptunaJournal(folder / "optuna.log", space, journal.entries(), say=print).handle)
    decisions = Decisions(space, header, on_entry=journal.append)
    seconds: list[float] = []
    before = time.process_time()
    for ask in asked(decisions, proposals, journal.append):
        seconds.extend(run_trial(decisions, ask, header["max_epochs"], generator))
    cpu_seconds = (time.process_time() - before) / len(seconds)
    journal.close()
    last = seconds[-header["max_epochs"] * 50 :]
    megabytes = (folder / FILE_NAME).stat().st_size / 1e6
    print(f"study           {len(seconds)} reports of {len(METRICS)} metrics, journal {megabytes:.0f} MB")
    print(f"report          {spread(last)} over the last 50 trials, tells and optuna.log included")
    print(f"driver          {1 / cpu_seconds:.0f} results a second of one core, {1e3 * cpu_seconds:.2f} ms of CPU each")
    print(f"bytes           {bytes_a_kind(folder / FILE_NAME)}")
    return cpu_seconds


def bytes_a_kind(journal: Path) -> str:
    """Bytes of a line of each kind of entry, in the mean."""
    n_lines: Counter[str] = Counter()
    n_bytes: Counter[str] = Counter()
    with journal.open("rb") as lines:
        for line in lines:
            kind = json.loads(line)["event"]
            n_lines[kind] += 1
            n_bytes[kind] += len(line)
    return ", ".join(f"{kind} {n_bytes[kind] / n_lines[kind]:.0f}" for kind in n_lines)


def idle_share(seconds: float, generator: random.Random, n_trials: int = 100_000) -> float:
    """Share of workers' time spent on waiting for a driver that takes so many seconds for each trial, one by one."""
    free = [generator.uniform(0.0, TRIAL_SECONDS) for _ in range(N_WORKERS)]
    heapq.heapify(free)
    worked = waited = driver_free = 0.0
    for _ in range(n_trials):
        asked = heapq.heappop(free)
        driver_free = max(asked, driver_free) + seconds
        length = TRIAL_SECONDS * generator.uniform(0.5, 1.5)
        waited, worked = waited + driver_free - asked, worked + length
        heapq.heappush(free, driver_free + length)
    return waited / (waited + worked)


def measure_resume(folder: Path, space: SearchSpace, header: dict[str, Any]) -> float:
    """Everything that stands between a resumed process and its first ask, and that ask; CPU seconds of an ask."""
    before = time.process_time()
    past, read_seconds = timed(lambda: read_entries(folder))
    journal, open_seconds = timed(lambda: Journal.open(folder, say=print, known=past))
    entries = journal.entries()
    with collector_paused():  # as `open_study`
        decisions, replay_seconds = timed(lambda: Decisions.replay(space, entries, on_entry=journal.append))
        _, rebuild_seconds = timed(lambda: OptunaJournal(folder / "optuna.log", space, entries, say=print))
    cpu_seconds = time.process_time() - before
    total = open_seconds + read_seconds + replay_seconds + rebuild_seconds
    print(
        f"resume          {total:.2f} s, {cpu_seconds:.2f} s of CPU: read {read_seconds:.2f}, "
        f"open and check {open_seconds:.2f}, replay {replay_seconds:.2f}, optuna.log {rebuild_seconds:.2f}"
    )
    decisions.begin_session(SessionBegun(n_trials=header["n_trials"] + N_ASKS))
    before = time.process_time()
    seconds = [timed(decisions.ask)[1] for _ in range(N_ASKS)]
    cpu_seconds = (time.process_time() - before) / N_ASKS
    n_parameters = len(UNIT_PARAMETERS) + 6
    print(
        f"ask             {spread(seconds)}, {1e3 * cpu_seconds:.2f} ms of CPU, with {header['n_trials']} trials told, "
        f"{n_parameters} parameters"
    )
    journal.close()
    return cpu_seconds


def measure_memory(
    space: SearchSpace, header: dict[str, Any], proposals: list[Proposal], generator: random.Random
) -> None:
    """Python memory that a trial leaves in the decisions."""
    decisions = Decisions(space, header)
    tracemalloc.start()
    for ask in asked(decisions, proposals, kept_nowhere):
        run_trial(decisions, ask, header["max_epochs"], generator)
    kept, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    print(f"memory          {kept / header['n_trials'] / 1e6:.4f} MB a trial")


def asked(decisions: Decisions, proposals: list[Proposal], append: EntryWriter) -> Iterator[Ask]:
    """What is queued, then what stands for the sampler's proposals, which would take most of the time."""
    while decisions.n_queued and (ask := decisions.ask()) is not None:
        yield ask
    for proposal in proposals:
        entry = append(proposal.asked(len(decisions.standings.trials)), apply=decisions.apply)
        yield decisions.standings.trials[entry.trial].to_ask()


def run_trial(decisions: Decisions, ask: Ask, n_epochs: int, generator: random.Random) -> list[float]:
    """Report random metrics to the end; seconds of each report."""
    seconds = []
    for epoch in range(1, n_epochs + 1):
        metrics = {name: generator.random() for name in METRICS}
        path = f"checkpoints/{ask.trial_id}/epoch-{epoch:06d}.safetensors"
        _, passed = timed(lambda epoch=epoch, metrics=metrics, path=path: decisions.report(
            ask.trial_id, epoch, metrics, checkpoint=path))  # fmt: skip
        seconds.append(passed)
    return seconds


def timed(call: Callable[[], Any]) -> tuple[Any, float]:
    """A call's result and its wall-clock seconds."""
    start = time.perf_counter()
    result = call()
    return result, time.perf_counter() - start


def spread(seconds: list[float]) -> str:
    """Mean, 99th percentile and maximum in milliseconds."""
    ranked = sorted(seconds)
    p99 = ranked[math.ceil(0.99 * len(ranked)) - 1]
    return f"{1e3 * statistics.fmean(ranked):.2f} ms (p99 {1e3 * p99:.2f}, max {1e3 * ranked[-1]:.2f})"


def parse_arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=1000)
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--starts", type=int, default=8, help="trials queued in the header (default: 8, as of `full`)")
    parser.add_argument("--folder", default=None, help="where the journal is written (default: the temporary folder)")
    return parser.parse_args()


if __name__ == "__main__":
    main()
