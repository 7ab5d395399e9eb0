"""Networks of which a layer does not learn, or only seems not to: LayerNorm, GRU, `mid` and `head`."""

from __future__ import annotations

from typing import Any, Literal

import torch
from pytorch_lightning import Callback
from torch import nn

from .modules import CLASSES, Classifier

Kind = Literal[
    "sound", "detach", "detach_late", "detach_early", "lr_late", "lr_zero", "not_in_opt", "frozen", "large", "third"
]
LATE = 20


class Idle(Classifier):
    """`kind` says what is done to it, some of it from step `LATE` on."""

    def __init__(self, kind: Kind) -> None:
        super().__init__()
        del self.net
        self.kind = kind
        self.norm = nn.LayerNorm(8)
        self.rnn = nn.GRU(8, 16, batch_first=True)
        self.mid = nn.Linear(16, 16)
        self.head = nn.Linear(16, CLASSES)
        if kind == "frozen":
            self.mid.requires_grad_(False)
        if kind == "large":
            self.rnn.weight_hh_l0.data *= 50

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = self.rnn(self.norm(x[:, 0]).repeat(1, 4, 1))[1][-1]
        is_cut = self.kind == "detach" or (self.kind == "detach_late" and self.global_step >= LATE)
        is_cut = is_cut or (self.kind == "detach_early" and self.global_step < LATE)
        is_cut = is_cut or (self.kind == "third" and self.global_step % 3 > 0)
        return self.head(self.mid(h.detach() if is_cut else h).relu())

    def configure_optimizers(self) -> Any:
        rest = [p for name, p in self.named_parameters() if not name.startswith("mid")]
        mid = {"params": list(self.mid.parameters()), **({"lr": 0.0} if self.kind == "lr_zero" else {})}
        return torch.optim.Adam([{"params": rest}] + [mid] * (self.kind != "not_in_opt"), lr=1e-3)


class Late(Callback):
    """The learning rate of `mid` becomes zero."""

    def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
        if pl_module.kind == "lr_late" and trainer.global_step == LATE:
            trainer.optimizers[0].param_groups[1]["lr"] = 0.0
