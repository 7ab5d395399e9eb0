"""examples/diagnose.py names the illness that is planted in a network, and its layer."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
import torch

sys.path.append(str(Path(__file__).parent.parent / "examples"))

from diagnose import NETWORKS, diagnose, told

PLANTED = {
    "healthy": {"no layer looks ill"},
    "vanishing": {"net.1: gradient vanishes: norm "},
    "exploding": {"net.5: explodes: a step changed it by "},
    "dead": {"net.3: gradient zero in 100 % of the elements, since step 0"},
    "slow": {"net.3: steps about 1,000 times smaller than those of the other layers: its learning rate is too low"},
    "large": {f"net.5: weights about {times} times as large as those of the other" for times in ("900", "1,000")},
    "underflow": {f"net.{i}: gradient lost in float16: " for i in (1, 3)},
}
"""How the worst finding begins. Underflow is in all layers, and worst far from the loss."""
SEEDS = range(1, 2 + int(os.environ.get("LWCALLBACKS_EXAMPLES", "0")) // 1000)


@pytest.mark.filterwarnings("ignore:.*does not have many workers", "ignore:.*treespec")
@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("name", NETWORKS)
def test_what_is_planted_is_found(name: str, seed: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In words, and nothing in the network that is healthy."""
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(seed)
    words = told(diagnose(NETWORKS[name](), steps=60, seed=seed)).strip()
    assert any(words.startswith(begin) for begin in PLANTED[name]), words


@pytest.mark.parametrize("name", NETWORKS)
def test_the_page_says_it_alike(name: str) -> None:
    """docs/reading-gradients.md quotes what is found."""
    page = (Path(__file__).parent.parent / "docs" / "reading-gradients.md").read_text(encoding="utf-8")
    assert any(begin in page.replace("\n> ", " ") for begin in PLANTED[name])
