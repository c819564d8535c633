"""Features of a dataset, extracted before a search asks for them.

sentinel-tune extract [--data ...] [--backbone ...] [--space NAME]
"""

from search_spaces.space import SearchSpace
from trainable.counts import counted
from tune.cluster.node_checks import check_nodes
from tune.command_line.options import ExtractOptions
from tune.command_line.parsing import Given
from tune.execution.session import check_device, compute_session, request_for
from tune.extraction.extraction import make_features
from tune.extraction.needs import needs_of
from tune.report.console import Console
from tune.study.study_data import load_study_specimens


def run(given: Given) -> int:
    """Run the verb; returns the exit status 0."""
    options: ExtractOptions = given.options()
    console = Console(json=options.json)
    space = SearchSpace.load(options.space)
    check_device(options)
    specimens = load_study_specimens(options, console)
    with compute_session(options, console.say) as session:
        request = request_for(
            options,
            specimens,
            n_blocks=space.reachable_blocks(),
            n_copies=space.most_copies(),
            device=session.device,
        )
        if not options.local:
            check_nodes(needs_of(request))
        features = make_features(request, on_ray=not options.local, tell=console.extraction)
    console.features(features)
    stores = [str(store.path) for store in (features, *features.copies)]
    copies = f", and {counted(len(features.copies), 'copy')} of each image" if features.copies else ""
    taps = ", ".join(map(str, features.taps))
    console.finish(
        text=f"{counted(len(specimens.frame), 'specimen')}, taps {taps}{copies}: {', '.join(stores)}",
        json={
            "store": stores[0],
            "taps": features.taps,
            "n_extracted": features.n_extracted,
            **({"copies": stores[1:]} if features.copies else {}),
        },
    )
    return 0
