"""A matrix of many classes as one of few: those that are confused most, and all others summed as one class.

    block = confused_block(matrix)          # of 1,000 classes 40: 39 of them, and "(other 961)"
    block.class_names[-1]

No count is lost: the sum over the block is that over the matrix, and a class's row and column keep theirs.
"""

from __future__ import annotations

import numpy as np

from lwcallbacks.media.values import Matrix

SIZE = 40


def confused_block(matrix: Matrix, size: int = SIZE) -> Matrix:
    """The counts between the `size - 1` classes that are confused most, with all others as the last class.

    Pairs are taken by how often one is predicted for the other, both ways together, and each brings its two classes
    until there are enough; equal ones in the order of the classes. Where fewer classes are confused, the most frequent
    ones follow.

    They are in an order in which classes that are confused are neighbours: the optimal order of the leaves
    (Bar-Joseph et al. 2001, doi:10.1093/bioinformatics/17.suppl_1.S22) of a hierarchical clustering, by SciPy. Without
    SciPy (`pip install "lwcallbacks[order]"`) they are in the order of their errors, the most first.

    >>> counts = np.diag([5, 5, 5, 5, 5])
    >>> counts[0, 3], counts[3, 0], counts[1, 2] = 4, 2, 1
    >>> block = confused_block(Matrix(counts, ("ape", "bee", "cat", "dog", "elk")), size=3)
    >>> block.class_names[-1], sorted(block.class_names[:2]), int(block.counts.sum())
    ('(other 3)', ['ape', 'dog'], 32)
    """
    counts = np.asarray(matrix.counts)
    chosen = _ordered(counts, _most_confused(counts, size - 1))
    names = [matrix.class_names[i] for i in chosen]
    place = np.full(len(counts), len(chosen))
    place[chosen] = np.arange(len(chosen))
    summed = np.zeros((len(chosen) + 1,) * 2, np.int64)
    true, predicted = np.nonzero(counts)
    np.add.at(summed, (place[true], place[predicted]), counts[true, predicted])
    return Matrix(summed, [*names, f"(other {len(counts) - len(chosen)})"])


def _most_confused(counts: np.ndarray, number: int) -> np.ndarray:
    """The classes, ascending."""
    both = np.triu(counts + counts.T, 1)
    first, second = np.nonzero(both)
    # So many pairs have at least `number` classes between them.
    order = np.argsort(-both[first, second], kind="stable")[: number * number // 2 + number]
    pairs = np.stack([first[order], second[order]], axis=1).ravel()
    frequent = np.argsort(-counts.sum(axis=1), kind="stable")
    return np.sort(np.array(list(dict.fromkeys([*pairs.tolist(), *frequent.tolist()]))[:number], dtype=int))


def _ordered(counts: np.ndarray, chosen: np.ndarray) -> np.ndarray:
    """The classes with those beside each other that are confused."""
    errors = counts.sum(axis=0) + counts.sum(axis=1) - 2 * counts.diagonal()
    by_errors = chosen[np.argsort(-errors[chosen], kind="stable")]
    try:
        from scipy.cluster.hierarchy import leaves_list, linkage, optimal_leaf_ordering
    except ImportError:
        return by_errors
    if len(chosen) < 3:
        return by_errors
    among = counts[np.ix_(by_errors, by_errors)]
    rows, columns = np.triu_indices(len(by_errors), 1)
    distances = 1 / (1 + (among + among.T)[rows, columns])
    leaves = leaves_list(optimal_leaf_ordering(linkage(distances, "average"), distances))
    return np.asarray(by_errors[leaves])
