"""How `search`, `confirm` and `plan` begin to compute: on Ray or here, on which device, what a trial occupies there."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from tune.cluster.node_checks import check_nodes
from tune.cluster.placement import Placement
from tune.cluster.placing import fitted, make_placement
from tune.execution.session import ComputeSession, compute_session, request_for, with_precision
from tune.extraction.needs import needs_of
from tune.extraction.request import ExtractionRequest
from tune.study.search_request import SearchRequest
from tune.study.study_data import StudyData


@dataclass(frozen=True, slots=True, kw_only=True)
class Opening:
    """Where a request is worked on.

    request: with what `--precision` comes to there. placement: what a trial occupies on the cluster; None without Ray.
    share_reason: of the share of a GPU that was measured, in words; empty until `fitted`, and where it was given.
    """

    request: SearchRequest
    data: StudyData
    session: ComputeSession
    placement: Placement | None
    share_reason: str = ""

    def wanted_features(self) -> ExtractionRequest:
        """The features that trials of the request's space can need."""
        return request_for(
            self.request.options,
            self.data.specimens,
            n_blocks=self.request.space.reachable_blocks(),
            n_copies=self.request.space.most_copies(),
            device=self.session.device,
        )

    def check_nodes(self, wanted: ExtractionRequest) -> None:
        """Whether the cluster's nodes can extract and train; nothing is asked without Ray.

        Raises: UserError naming what a node lacks.
        """
        if self.placement is not None:
            precision = self.request.options.precision
            check_nodes(needs_of(wanted).with_study(self.request.folder, device=wanted.device, precision=precision))

    def fitted(self, store: Path, say: Callable[[str], None]) -> "Opening":
        """The same, once there are features to measure on: a share of a GPU that is `auto`, memory where nodes differ.

        store: of features. say: takes one line for the user.
        """
        if self.placement is None:
            return self
        placement, reason = fitted(
            self.placement,
            self.request.options,
            self.request.space,
            store,
            task=self.data.specimens.task,
            device=self.session.device,
            say=say,
        )
        return replace(self, placement=placement, share_reason=reason)


@contextmanager
def opened(request: SearchRequest, data: StudyData, say: Callable[[str], None]) -> Iterator[Opening]:
    """Join or start Ray (unless `--local`), and settle device, number format and placement; leave Ray at the end.

    say: takes one line for the user.
    Raises: UserError as `compute_session`, and where the processor cannot compute as `--precision` asks.
    """
    with compute_session(request.options, say) as session:
        options = with_precision(request.options, session.device, trains_here=request.options.local)
        yield Opening(
            request=request.with_options(options),
            data=data,
            session=session,
            placement=make_placement(options, session.device),
        )
