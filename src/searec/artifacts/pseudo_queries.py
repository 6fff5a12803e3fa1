"""Pseudo-queries of items, by a doc2query model (arXiv 1904.08375) or from the item's own words."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import polars as pl

from searec.data.ragged import Ragged
from searec.progress import progress
from searec.text.tokenizer import loading, needs_transformers

VERSION = "pseudo-queries-1"
"""Changes with every change to what is made here from the same input."""
_BATCH, _LONGEST = 32, 24


def pseudo_queries(
    items: pl.DataFrame, texts: Sequence[str], *, model: str = "", count: int = 5, seed: int = 0
) -> tuple[list[str], Ragged]:
    """Return at most `count` pseudo-queries per item.

    Args:
        items: the item table.
        texts: [I] of each item, for the model.
        model: a sequence-to-sequence checkpoint by path or hub id; "" for title, categories (narrow first) and brand.
        count: most per item.
        seed: of the model's sampling.

    Returns:
        The distinct queries, and which of them each item has [I].

    Raises:
        DependencyError: transformers is not installed, or the checkpoint cannot be loaded.
    """
    by_item = written(texts, model, count, seed) if model else from_words(items, count)
    frame = pl.DataFrame(
        {"item": np.arange(len(by_item)), "query": by_item}, schema={"item": pl.Int64, "query": pl.List(pl.String)}
    )
    frame = (
        frame.explode("query")
        .with_columns(pl.col("query").str.strip_chars())
        .filter(pl.col("query").fill_null("") != "")
    )
    frame = frame.unique(maintain_order=True)
    queries = frame["query"].unique(maintain_order=True)
    place = pl.DataFrame({"query": queries, "place": np.arange(len(queries))})
    numbered = frame.join(place, on="query", how="left", maintain_order="left")
    counts = np.bincount(numbered["item"].to_numpy(), minlength=len(by_item))
    return queries.to_list(), Ragged(np.concatenate(([0], np.cumsum(counts))), numbered["place"].to_numpy())


def from_words(items: pl.DataFrame, count: int) -> list[list[str]]:
    """Return [I] title, categories from narrow to broad, and brand of each item.

    Args:
        items: the item table.
        count: most per item.
    """
    columns = [pl.concat_list(pl.col("title"))]
    if "categories" in items.columns:
        columns.append(pl.col("categories").fill_null([]).list.reverse())
    if "brand" in items.columns:
        columns.append(pl.concat_list(pl.col("brand")))
    clean = pl.concat_list(columns).list.eval(pl.element().str.strip_chars())
    clean = clean.list.eval(pl.element().filter(pl.element().str.len_chars() > 0))
    return items.select(clean.list.drop_nulls().list.unique(maintain_order=True).list.head(count)).to_series().to_list()


def written(texts: Sequence[str], model: str, count: int, seed: int) -> list[list[str]]:
    """Return [I] queries that a doc2query model writes for each text, sampled as its authors do (top 10 tokens).

    Args:
        texts: [I] of the items.
        model: a checkpoint by path or hub id.
        count: per item.
        seed: of the sampling.
    """
    with needs_transformers():
        import torch
        from transformers import AutoModelForSeq2SeqLM, AutoTokenizer
    with loading(model):
        tokenizer: Any = AutoTokenizer.from_pretrained(model)
        writer: Any = AutoModelForSeq2SeqLM.from_pretrained(model)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    writer.to(device).eval()
    queries: list[list[str]] = []
    with torch.random.fork_rng(), torch.no_grad(), progress("Writing pseudo-queries", len(texts)) as advance:
        torch.manual_seed(seed)
        for start in range(0, len(texts), _BATCH):
            part = list(texts[start : start + _BATCH])
            read = tokenizer(part, padding=True, truncation=True, max_length=256, return_tensors="pt").to(device)
            rows = writer.generate(
                **read, do_sample=True, top_k=10, num_return_sequences=count, max_new_tokens=_LONGEST
            )
            said = tokenizer.batch_decode(rows, skip_special_tokens=True)
            queries += [said[row * count : (row + 1) * count] for row in range(len(part))]
            advance(len(part), "")
    return queries
