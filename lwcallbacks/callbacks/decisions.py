"""What scores are taken for where nobody told, said once; and again where it changes.

decisions = Decisions()
decisions.hear("ConfusionMatrix('val/confusion_matrix')", counts.decided(state))
"""

from __future__ import annotations

import re

from lightning_utilities.core.rank_zero import rank_zero_info

from lwcallbacks.reductions.score_range import Decision
from lwcallbacks.warn import warn


class Decisions:
    """What was decided for each callback so far."""

    def __init__(self) -> None:
        self._kinds: dict[str, str] = {}
        self._doubts: set[str] = set()

    def hear(self, who: str, decision: Decision | None) -> None:
        """Say what was decided: the first time as information; a change since, or from stage to stage, as a warning.

        What speaks against it is a warning, once for a callback, and once for scores that several callbacks read.

        Args:
            who: the callback and its key, as in "ConfusionMatrix('val/confusion_matrix')".
            decision: from `decided` of a reduction.
        """
        if decision is None:
            return
        owner = re.sub(r"\b(train|val|test|predict)/", "", who)
        before, self._kinds[owner] = self._kinds.get(owner), decision.kind
        if before is None:
            rank_zero_info(f"lwcallbacks: {who}: {decision.text}")
        elif before != decision.kind:
            warn(f"lwcallbacks: {who}: {decision.text}. Before, they were taken for {before}")
        if decision.doubt is not None:
            if not self._doubts & {owner, decision.doubt}:
                warn(f"lwcallbacks: {who}: {decision.doubt}")
            self._doubts |= {owner, decision.doubt}
