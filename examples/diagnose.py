"""Seven small networks on handwritten digits: six have an illness that is planted, and a callback says which and where.

    python examples/diagnose.py

What is printed is what `GradientHistogram` found, and nothing else: which layer looks ill, how, and since which step.
It takes less than a minute.
"""

import logging
import warnings
from collections.abc import Callable
from functools import cache

import pytorch_lightning as pl
import torch
import torch.nn.functional as F
from digits import digits
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import lwcallbacks as lw


class Network(pl.LightningModule):
    """Digits by fully connected layers; `layers` says how they are made.

    Args:
        loss_scale: what the loss is multiplied with, and its gradient.
        rates: learning rates of layers that have one of their own, by their place in `net`.
    """

    def __init__(
        self, *layers: nn.Module, lr: float = 0.1, loss_scale: float = 1.0, rates: dict[int, float] | None = None
    ) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Flatten(), *layers)
        self.lr = lr
        self.loss_scale = loss_scale
        self.rates = rates or {}

    def training_step(self, batch, batch_idx):
        x, y = batch
        return F.cross_entropy(self.net(x).float(), y) * self.loss_scale

    def configure_optimizers(self):
        groups = [
            {"params": list(layer.parameters()), "lr": self.rates.get(i, self.lr) / self.loss_scale}
            for i, layer in enumerate(self.net)
        ]
        return torch.optim.SGD([group for group in groups if group["params"]], lr=self.lr)


def stack(depth: int, activation: Callable[[], nn.Module], width: int = 64) -> list[nn.Module]:
    """`depth` hidden layers, and one for the ten classes."""
    sizes = [784, *[width] * depth]
    hidden = [part for i in range(depth) for part in (nn.Linear(*sizes[i : i + 2]), activation())]
    return [*hidden, nn.Linear(width, 10)]


def healthy() -> Network:
    return Network(*stack(3, nn.ReLU))


def vanishing() -> Network:
    """Each of eight sigmoids leaves a quarter of the gradient at most, and less of what is large."""
    return Network(*stack(8, nn.Sigmoid))


def exploding() -> Network:
    """One layer has a learning rate that is meant for another network, and no norm holds it back."""
    return Network(*stack(4, nn.LeakyReLU), rates={5: 10000.0})


def dead() -> Network:
    """A large negative bias: no unit of one layer is ever above zero."""
    layers = stack(3, nn.ReLU)
    nn.init.constant_(layers[2].bias, -10.0)
    return Network(*layers)


def underflow() -> Network:
    """In float16, with a loss that was made smaller when it should have been made larger."""
    return Network(*stack(3, nn.ReLU), loss_scale=2.0**-15)


def slow() -> Network:
    """One layer has a learning rate that is meant for another optimizer."""
    return Network(*stack(3, nn.ReLU), rates={3: 1e-4})


def large() -> Network:
    """One layer is initialised for outputs that are scaled down, and nothing scales them down."""
    layers = stack(3, nn.ReLU)
    with torch.no_grad():
        layers[4].weight *= 300
    return Network(*layers)


NETWORKS = {
    "healthy": healthy, "vanishing": vanishing, "exploding": exploding, "dead": dead, "underflow": underflow,
    "slow": slow, "large": large,
}  # fmt: skip


@cache
def data() -> TensorDataset:
    return digits()[0]


def diagnose(network: Network, steps: int = 120, seed: int = 0, logger=False) -> list:
    """Train a network, and give what the callback found: the worst layer first, nothing of a healthy network."""
    loader = DataLoader(data(), 64, shuffle=True, generator=torch.Generator().manual_seed(seed))
    # What is not finite is in the diagnosis, too; elsewhere leave on_nonfinite at "warn".
    gradients = lw.GradientHistogram(every_n_train_steps=1, histograms=False, on_nonfinite="ignore")
    trainer = pl.Trainer(
        accelerator="cpu", max_steps=steps, callbacks=[gradients], logger=logger, enable_checkpointing=False,
        precision="16-true" if network.loss_scale < 1 else "32-true", enable_progress_bar=False,
        enable_model_summary=False,
    )  # fmt: skip
    trainer.fit(network, loader)
    return gradients.results["diagnosis"]


def told(found: list) -> str:
    """The worst three layers in words."""
    lines = [str(finding) for finding in found[:3]] or ["no layer looks ill"]
    rest = [f"and {len(found) - 3} more"] if len(found) > 3 else []
    return "\n".join(f"    {line}" for line in lines + rest)


def main() -> None:
    warnings.filterwarnings("ignore", message=".*does not have many workers")
    for name in ("pytorch_lightning", "lightning.pytorch"):
        logging.getLogger(name).setLevel(logging.ERROR)
    torch.set_num_threads(1)
    for name, make in NETWORKS.items():
        torch.manual_seed(0)
        print(f"{name}:\n{told(diagnose(make()))}\n")


if __name__ == "__main__":
    main()
