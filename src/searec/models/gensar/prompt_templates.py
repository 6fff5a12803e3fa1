"""Phrasings of the tasks of a generative model."""

TEMPLATES: dict[str, tuple[tuple[str, str], ...]] = {
    "recommend": (("next item after", ""), ("recommend for", ""), ("what follows", "")),
    "search": (("user did", "finds for"), ("after", "search result of"), ("history", "item asked for by")),
    "query": (("next query after", ""), ("what is searched after", ""), ("user will ask after", "")),
    "query_item": (("item for query", ""), ("search result of", ""), ("what is found for", "")),
    "identify_search": (("item for text", ""), ("search identifier of", ""), ("which item is", "")),
    "identify_recommend": (("feed item for text", ""), ("feed identifier of", ""), ("which feed item is", "")),
    "describe_search": (("text of item", ""), ("describe", ""), ("what is", "")),
    "describe_recommend": (("text of feed item", ""), ("describe feed", ""), ("what in the feed is", "")),
}
"""Task -> its phrasings: the text at the start, and the text between history and query.

In training one is drawn; at inference the first is used.
"""
TEMPLATE_TEXTS = tuple(text for phrasings in TEMPLATES.values() for pair in phrasings for text in pair if text)
