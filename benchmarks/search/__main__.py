"""How good what a search finds is, in virtual time: the program's own decisions beside their peers on the same events.

python -m benchmarks.search [--problems hartmann fine-tuning] [--methods ours stock] [--instances 24] [--lengths 100]
                            [--lcbench FOLDER] [--curves FILE] [--workers 2]
python -m benchmarks.search --table                   print the tables of benchmarks/search/results.jsonl
python -m benchmarks.search --quick                   a minute: does everything run? Keeps nothing

A search that is kept, with at least that budget, is not made again; so a run that is cut off goes on.
"""

import argparse
import multiprocessing
import sys
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path

from benchmarks.recorded_curves import RESULTS as CURVES
from benchmarks.search.methods import CHANGES, METHODS, PEERS, STARTED
from benchmarks.search.problems.recorded import FEWEST, recorded_worlds
from benchmarks.search.regret import courses_of
from benchmarks.search.results import RESULTS, Found, Results
from benchmarks.search.tables import tables
from benchmarks.search.trying import OF_FOLDS, PROBLEMS, Job, Places, basis, prepare, run

SLOW = {"GP full": 24.0, "Syne CQR": 24.0}
"""Methods whose proposals take seconds -> the longest budget that they are given."""

QUICK_LENGTHS, QUICK_METHODS = 6.0, ("ours", "stock", "random + ASHA", "TPE + Hyperband", "one epoch")


def main(words: list[str] | None = None) -> int:
    """Search what is missing, and print the tables; see the module."""
    options = _parse(words)
    prepare()
    places = Places(options.curves, options.lcbench)
    if options.quick:
        jobs = [
            Job(problem=problem, instance=0, method=method, lengths=QUICK_LENGTHS, places=places)
            for problem in ("hartmann", "fine-tuning")
            for method in QUICK_METHODS
        ]
        print(tables(courses_of([run(job) for job in jobs]), list(PROBLEMS)))
        return 0
    results = Results(options.results)
    if not options.table:
        jobs = [job for job in _jobs(options, places) if results.reaches(job.key) < job.lengths]
        for number, found in enumerate(_made(jobs, options.workers), start=1):
            results.add(found)
            print(f"{number}/{len(jobs)} {found.problem} {found.instance} {found.method}", flush=True)
    shown = [found for found in results if found.basis == basis(found.problem, places)]
    print(tables(courses_of(shown), list(PROBLEMS)))
    return 0


def _jobs(options: argparse.Namespace, places: Places) -> Iterator[Job]:
    for instance in range(options.instances):
        for problem in options.problems:
            for method in options.methods:
                if method in STARTED and problem not in OF_FOLDS:
                    continue
                lengths = min(options.lengths, SLOW.get(method, options.lengths))
                yield Job(problem=problem, instance=instance, method=method, lengths=lengths, places=places)


def _made(jobs: list[Job], n_workers: int) -> Iterator[Found]:
    """As they end."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(n_workers, mp_context=context, initializer=prepare) as pool:
        for future in as_completed([pool.submit(run, job) for job in jobs]):
            yield future.result()


def _parse(words: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.search", description=(__doc__ or "").split("\n")[0])
    parser.add_argument(
        "--problems", nargs="+", choices=list(PROBLEMS), metavar="NAME", help="[all that can be made here]"
    )
    parser.add_argument(
        "--methods", nargs="+", choices=list(METHODS), metavar="NAME", default=list(PEERS), help="[ours and all peers]"
    )
    parser.add_argument("--started", action="store_true", help="from the default on, and with further folds, too")
    parser.add_argument("--changes", action="store_true", help="ours with one thing changed, too")
    parser.add_argument("--instances", type=int, default=24, help="of each problem [24]")
    parser.add_argument("--lengths", type=float, default=100.0, help="budget in full lengths [100]")
    parser.add_argument("--lcbench", type=Path, help="folder of LCBench's surrogate, see problems/lcbench.py")
    parser.add_argument("--curves", type=Path, default=CURVES, help="the table of recorded curves")
    parser.add_argument("--results", type=Path, default=RESULTS, help="the file to go on with")
    parser.add_argument("--workers", type=int, default=2, help="processes [2]")
    parser.add_argument("--quick", action="store_true", help="two problems, one instance each, short; keeps nothing")
    parser.add_argument("--table", action="store_true", help="search nothing")
    options = parser.parse_args(words)
    lacking = _lacking(options)
    if options.lcbench is not None and "lcbench" in lacking:
        parser.error(lacking["lcbench"])
    if options.problems is None:
        options.problems = [name for name in PROBLEMS if name not in lacking]
    if problems := [lacking[name] for name in options.problems if name in lacking]:
        parser.error("; ".join(dict.fromkeys(problems)))
    if options.started:
        options.methods = [*options.methods, *STARTED]
    if options.changes:
        options.methods = [*options.methods, *CHANGES]
    return options


def _lacking(options: argparse.Namespace) -> dict[str, str]:
    """Problems that cannot be made here, with what to do."""
    found: dict[str, str] = {}
    if options.lcbench is None:
        found["lcbench"] = "`--problems lcbench` must have `--lcbench FOLDER`; problems/lcbench.py says how to get one"
    elif not (options.lcbench / "model.onnx").is_file():
        found["lcbench"] = f"`--lcbench` must be a folder with model.onnx, but {options.lcbench} has none"
    if not recorded_worlds(options.curves):
        too_few = (
            f"`--curves` must hold {FEWEST} configurations of a world on all folds, but {options.curves} holds fewer; "
            "record more with `python -m benchmarks.recorded_curves`"
        )
        found |= {name: too_few for name in PROBLEMS if name.startswith("recorded")}
    return found


if __name__ == "__main__":
    sys.exit(main())
