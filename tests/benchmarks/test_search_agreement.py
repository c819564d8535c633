"""A search of one worker is what its simulation says, to the bit."""

from pathlib import Path

import pytest
import torch

from benchmarks.search.agreement import line, real_end, simulated_end
from search_spaces.space import SearchSpace
from tune.decisions.decisions import Decisions
from tune.journal.entries import study_of
from tune.journal.journal import read_entries


@pytest.mark.slow
def test_a_simulated_search_trains_what_the_real_one_did_and_stops_it_there(demo_search, tmp_path: Path):
    torch.set_num_threads(1)
    ended = demo_search("--trials", 6, "--epochs", 4, "--no-variants")
    assert ended.status == 0, ended.stderr
    folder = tmp_path / "study"
    entries = read_entries(folder)
    records = Decisions.replay(SearchSpace.from_dict(study_of(entries).header["space"]), entries).trials()
    real, simulated = real_end(records, entries), simulated_end(folder, entries, records, 1)

    assert len(real.scores) == 6
    assert simulated.scores == real.scores
    assert (simulated.n_epochs, simulated.best) == (real.n_epochs, real.best)
    assert simulated.seconds > 0
    assert line("demo:120:1", 1, real, simulated).startswith("| demo:120:1 | 1 | 6 | 6 | 6 |")
