"""What metrics of texts, sounds and rankings take.

text_batches()                     # (["the cat", ...], ["a mat", ...])
text_batches(references=2)         # (["the cat", ...], [["a mat", "the cat sat"], ...])
audio_batches(shape=(16,))         # (preds float32 [N, 16] in -1 to 1, target of the same)
retrieval_batches(num_queries=3)   # (preds float32 [N], target int64 [N], indexes int64 [N])
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

import torch
from hypothesis import strategies as st
from hypothesis.strategies import DrawFn, SearchStrategy
from torch import Tensor

from lwcallbacks.testing.samples import Args
from lwcallbacks.testing.strategies.numbers import grid, noise, tensors
from lwcallbacks.testing.strategies.splitting import batches_of

Batches: TypeAlias = SearchStrategy[list[tuple[Tensor, ...]]]


def text_batches(
    *,
    references: int | None = None,
    words: Sequence[str] = ("the", "cat", "sat", "on", "a", "mat"),
    min_words: int = 1,
    max_words: int = 6,
    degenerate: bool = True,
    **sizes: int,
) -> SearchStrategy[list[tuple[list[str], list[Any]]]]:
    """Batches (preds, target) of texts: two lists of N strings, or a list of references for each pred.

    Args:
        references: how many references each target has; None for a string.
        words: what texts are made of.
        min_words, max_words: the length of a text. 0 also gives empty texts.
        degenerate: whether there are data sets in which preds are right, or all preds are the same, or are of one word.
        sizes: min_batches, max_batches, min_size, max_size, as for `batches_of`.

    Examples:
        >>> from torchmetrics.text import WordErrorRate
        >>> from lwcallbacks.testing import check_metric
        >>> check_metric(WordErrorRate, text_batches(), laws=["batch_size", "order", "shards"], examples=10)
    """
    if not (0 <= min_words <= max_words and words):
        raise ValueError(f"text_batches: {min_words} to {max_words} of {len(words)} words, expected some")

    def texts(draw: DrawFn, n: int) -> list[str]:
        lengths = min_words + draw(tensors(n, torch.int64, max_value=max_words - min_words))
        chosen = draw(tensors((n, max_words), torch.int64, max_value=len(words) - 1))
        return [
            " ".join(words[i] for i in row[:length])
            for row, length in zip(chosen.tolist(), lengths.tolist(), strict=True)
        ]

    def samples(draw: DrawFn, n: int) -> Args:
        kinds = [*["ordinary"] * 4, "right", "constant", "one word"]
        kind = draw(st.sampled_from(kinds)) if degenerate else "ordinary"
        columns = [texts(draw, n) for _ in range(references or 1)]
        preds = texts(draw, n)
        if kind == "right":
            preds = list(columns[0])
        if kind == "constant":
            preds = preds[:1] * n
        if kind == "one word":
            preds = [words[0]] * n
        return preds, columns[0] if references is None else [list(row) for row in zip(*columns, strict=True)]

    return batches_of(samples, **sizes)


def audio_batches(*, shape: tuple[int, ...] = (16,), degenerate: bool = True, **sizes: int) -> Batches:
    """Batches (preds, target) of sounds, both float32 [N, *shape] in -1 to 1, of 16 bits.

    Args:
        shape: of a sample, as (16,) for time or (2, 16) for speakers and time.
        degenerate: whether there are data sets in which preds are silent, equal to the target, or half as loud.
        sizes: min_batches, max_batches, min_size, max_size, as for `batches_of`. max_size is 3 if it is not given.

    Examples:
        >>> from hypothesis import given
        >>> @given(audio_batches(shape=(2, 8)))
        ... def test(batches):
        ...     for preds, target in batches:
        ...         assert preds.shape == target.shape == (len(preds), 2, 8) and preds.abs().max() <= 1
        >>> test()
    """

    def samples(draw: DrawFn, n: int) -> Args:
        kind = draw(st.sampled_from([*["ordinary"] * 5, "silent", "equal", "half"])) if degenerate else "ordinary"
        preds, target = (draw(noise((n, *shape), low=-1.0, high=1.0, levels=2**16)) for _ in range(2))
        if kind == "silent":
            preds = torch.zeros_like(preds)
        if kind in ("equal", "half"):
            preds = target.clone() if kind == "equal" else target / 2
        return preds, target

    return batches_of(samples, **{"max_size": 3, **sizes})


def retrieval_batches(
    num_queries: int = 3,
    *,
    max_relevance: int = 1,
    step: float = 0.05,
    degenerate: bool = True,
    **sizes: int,
) -> Batches:
    """Batches (preds, target, indexes): a score, a relevance and the query of each document.

    The documents of a query are spread over batches.

    Args:
        num_queries: indexes are int64 [N] in 0 to num_queries - 1; a query may have one document, or none.
        max_relevance: target is int64 [N] in 0 to max_relevance.
        step: preds are float32 [N] in 0 to 1, multiples of it; ties in a query are common.
        degenerate: whether there are data sets with one query, without relevant documents, with relevant ones only,
            with equal scores, or in perfect order.
        sizes: min_batches, max_batches, min_size, max_size, as for `batches_of`.

    Examples:
        >>> from hypothesis import given
        >>> @given(retrieval_batches(num_queries=2))
        ... def test(batches):
        ...     for preds, target, indexes in batches:
        ...         assert preds.shape == target.shape == indexes.shape and indexes.max() < 2
        >>> test()
    """

    def samples(draw: DrawFn, n: int) -> Args:
        odd = ["one query", "nothing relevant", "all relevant", "equal scores", "perfect"]
        kind = draw(st.sampled_from([*["ordinary"] * 4, *odd])) if degenerate else "ordinary"
        preds = draw(grid(n, low=0, high=1, step=step))
        target = draw(tensors(n, torch.int64, max_value=max_relevance))
        indexes = draw(tensors(n, torch.int64, max_value=num_queries - 1))
        if kind == "one query":
            indexes = torch.zeros_like(indexes)
        if kind in ("nothing relevant", "all relevant"):
            target = torch.full_like(target, max_relevance if kind == "all relevant" else 0)
        if kind == "equal scores":
            preds = torch.full_like(preds, 0.5)
        if kind == "perfect":
            preds = target / max_relevance
        return preds, target, indexes

    return batches_of(samples, **sizes)
