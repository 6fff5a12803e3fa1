"""The control of two hops: the same model of the next novel click, which does not read demands."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from typing_extensions import override

from searec.interests.novel_clicks import CategorySignals
from searec.interests.offline_reasoner import MeantCategory, OfflineReasoner
from searec.interests.profile import Profile


class OneHopReasoner(OfflineReasoner):
    """Ranks categories by clicks and by what queries mean directly, and is fitted without demands.

    A demand only explains an interest; what the second hop adds to the offline reasoner is the difference of the two.
    """

    name = "one-hop"

    @property
    @override
    def version(self) -> str:
        return f"{super().version}-{self.name}"

    @override
    def _signals(self, profiles: Sequence[Profile], meant: Sequence[Sequence[MeantCategory]]) -> CategorySignals:
        signals = super()._signals(profiles, meant)
        return replace(signals, demands=np.zeros_like(signals.demands))
