"""Pages: a ranked or sorted list becomes the page of a request, with reasons, facets and highlights."""

import time
from collections.abc import Sequence

import numpy as np

from searec.data.ragged import Ints
from searec.pipeline.channels import RequestBatch
from searec.pipeline.deployment import PipelineSettings
from searec.pipeline.explanations import Explainer
from searec.pipeline.fusion import RankedList, diversify
from searec.pipeline.paging import mark, read_token, token
from searec.pipeline.results import Matches, facets_of
from searec.pipeline.types import MOST, Highlights, LeftOut, RankedItem, Request, Response
from searec.search.highlight import highlight, match_terms, snippet
from searec.search.relaxation import relaxation


class PageMaker:
    """Makes pages. The order of a list does not depend on the page, so that pages join without repeats and gaps.

    Args:
        settings: of the deployment.
        explainer: gives the reasons.
    """

    def __init__(self, settings: PipelineSettings, explainer: Explainer) -> None:
        self._settings, self._explainer = settings, explainer

    def page(
        self,
        request: Request,
        batch: RequestBatch,
        row: int,
        ranked: RankedList,
        matches: Matches | None,
        left_out: Sequence[LeftOut],
        started: float,
    ) -> Response:
        """Set similar items apart, cut the page, and explain its items.

        Args:
            request: for the page.
            batch: of requests.
            row: of the request in it.
            ranked: all its items, best first.
            matches: all items that match, if they were looked for.
            left_out: parts that did not answer.
            started: when, on the monotonic clock.
        """
        catalog, user = batch.catalog, batch.users[row]
        query = batch.parsed[row] if batch.parsed else None
        previous = read_token(request.after) if request.after is not None else set()
        order = self._order(request, batch, ranked, len(previous) + request.offset + request.k)
        items = ranked.items[order]
        if previous:
            names = catalog.items(items)
            order = order[[mark(name) not in previous for name in names]]
        most = min(len(order), MOST - len(previous))
        end = min(request.offset + request.k, most)
        start = min(request.offset, end)
        page = ranked.at(order[start:end])
        reasons = (
            self._explainer.search(batch, row, page.items, page.channel)
            if query is not None
            else self._explainer.feed(batch, row, page.items, page.channel, page.interest)
        )
        touched = catalog.touched(user.recent)
        novel = [bool(group) and not group & touched for group in catalog.groups(page.items)]
        names = catalog.items(ranked.items[order[:end]])
        columns = (names[start:], catalog.titles(page.items), page.score.tolist(), page.channel, reasons)
        categories = map(catalog.categories, page.items.tolist())
        highlights = _highlights(batch, row, page.items) if request.highlight else [None] * len(page.items)
        return Response(
            items=[RankedItem(*values) for values in zip(*columns, categories, novel, highlights, strict=True)],
            next=token(previous.union(map(mark, names))) if end < most else None,
            known=bool(user),
            interests=batch.interests[row].source,
            left_out=tuple(left_out),
            total=int(np.count_nonzero(matches.is_match)) if matches is not None else None,
            facets=facets_of(batch, row, request, matches.is_match) if matches is not None else {},
            query=query,
            relaxed=relaxation(catalog.lexical, query, items, matches.step) if query and matches else None,
            seconds=time.monotonic() - started,
        )

    def _order(self, request: Request, batch: RequestBatch, ranked: RankedList, needed: int) -> Ints:
        """Positions of the list in the order in which items are returned; beyond `needed` any order will do."""
        default = self._settings.diversity if request.query is None else self._settings.search_diversity
        diversity = request.diversity if request.diversity is not None else default
        window = min(len(ranked.items), self._settings.window)
        order = np.arange(min(len(ranked.items), MOST))
        if request.sort == "relevance":
            apart = (ranked.items[:window], ranked.second[:window])
            order[:window] = diversify(batch.catalog, *apart, diversity, first=min(window, needed))
        return order


def _highlights(batch: RequestBatch, row: int, items: Ints) -> list[Highlights | None]:
    """What matches in each item [n]; None for the feed."""
    if not batch.parsed:
        return [None] * len(items)
    catalog = batch.catalog
    analyser = catalog.lexical.analyser
    terms = match_terms(batch.parsed[row], analyser)
    rows: list[Highlights | None] = []
    for item, title in zip(items.tolist(), catalog.titles(items), strict=True):
        text = catalog.attributes(item).get("description")
        short = snippet(str(text), terms, analyser) if text else None
        rows.append(Highlights(highlight(title, terms, analyser), short))
    return rows
