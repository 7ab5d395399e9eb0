"""Networks of well-known layouts for benchmarks of gradients: random weights, random inputs, one pass."""

import time

STAGES = ((3, 64), (4, 128), (6, 256), (3, 512))
WORDS, PLACES, WIDTH, HEADS = 50_257, 1_024, 768, 12


def resnet50_layout():
    """The layers of ResNet-50: 53 convolutions, as many batch norms, one linear layer."""
    import torch
    from torch import nn

    class Bottleneck(nn.Module):
        def __init__(self, inside, width, stride):
            super().__init__()
            out = 4 * width
            self.conv1, self.bn1 = nn.Conv2d(inside, width, 1, bias=False), nn.BatchNorm2d(width)
            self.conv2 = nn.Conv2d(width, width, 3, stride, 1, bias=False)
            self.bn2 = nn.BatchNorm2d(width)
            self.conv3, self.bn3 = nn.Conv2d(width, out, 1, bias=False), nn.BatchNorm2d(out)
            self.downsample = None
            if stride != 1 or inside != out:
                self.downsample = nn.Sequential(nn.Conv2d(inside, out, 1, stride, bias=False), nn.BatchNorm2d(out))

        def forward(self, x):
            y = torch.relu(self.bn1(self.conv1(x)))
            y = torch.relu(self.bn2(self.conv2(y)))
            return torch.relu(self.bn3(self.conv3(y)) + (x if self.downsample is None else self.downsample(x)))

    layers = [nn.Conv2d(3, 64, 7, 2, 3, bias=False), nn.BatchNorm2d(64), nn.ReLU(), nn.MaxPool2d(3, 2, 1)]
    inside = 64
    for number, width in STAGES:
        for block in range(number):
            layers.append(Bottleneck(inside, width, 2 if block == 0 and width > 64 else 1))
            inside = 4 * width
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(inside, 1000))


def gpt2_layout(blocks=12):
    """The layers of GPT-2 small: 148 parameters, 124.4 million values; the last layer is the first one's table."""
    import torch
    from torch import nn

    class Block(nn.Module):
        def __init__(self):
            super().__init__()
            self.ln_1, self.ln_2 = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)
            self.c_attn, self.c_proj = nn.Linear(WIDTH, 3 * WIDTH), nn.Linear(WIDTH, WIDTH)
            self.mlp = nn.Sequential(nn.Linear(WIDTH, 4 * WIDTH), nn.GELU(), nn.Linear(4 * WIDTH, WIDTH))

        def forward(self, x):
            n, length, _ = x.shape
            parts = self.c_attn(self.ln_1(x)).view(n, length, 3, HEADS, WIDTH // HEADS).permute(2, 0, 3, 1, 4)
            seen = nn.functional.scaled_dot_product_attention(*parts, is_causal=True)
            x = x + self.c_proj(seen.transpose(1, 2).reshape(n, length, WIDTH))
            return x + self.mlp(self.ln_2(x))

    class Words(nn.Module):
        def __init__(self):
            super().__init__()
            self.wte, self.wpe = nn.Embedding(WORDS, WIDTH), nn.Embedding(PLACES, WIDTH)
            self.h = nn.Sequential(*(Block() for _ in range(blocks)))
            self.ln_f = nn.LayerNorm(WIDTH)

        def forward(self, tokens):
            x = self.wte(tokens) + self.wpe(torch.arange(tokens.shape[1]))
            return (self.ln_f(self.h(x)) @ self.wte.weight.T).transpose(1, 2)

    network = Words()
    nn.init.normal_(network.wte.weight, std=0.02)
    return network


def batch_for(network):
    """Inputs and targets: 8 images of 3x96x96, or 128 tokens."""
    import torch

    generator = torch.Generator().manual_seed(0)
    if hasattr(network, "wte"):
        tokens = torch.randint(WORDS, (1, 129), generator=generator)
        return tokens[:, :-1], tokens[:, 1:]
    return torch.rand(8, 3, 96, 96, generator=generator), torch.randint(1000, (8,), generator=generator)


def one_pass(network) -> float:
    """Processor seconds of a forward and a backward pass; gradients are left in `.grad`."""
    import torch

    inputs, targets = batch_for(network)
    network.zero_grad()
    start = time.process_time()
    torch.nn.functional.cross_entropy(network(inputs), targets).backward()
    return time.process_time() - start


def replayed(network, adam=False):
    """A LightningModule whose backward pass gives the network's present gradients and costs nothing."""
    import pytorch_lightning as pl
    import torch

    gradients = [p.grad for p in network.parameters()]

    class Replay(torch.autograd.Function):
        @staticmethod
        def forward(ctx, *parameters):
            return torch.zeros(())

        @staticmethod
        def backward(ctx, _):
            return tuple(gradients)

    class Replayed(pl.LightningModule):
        def __init__(self):
            super().__init__()
            self.network = network

        def training_step(self, batch, batch_idx):
            return Replay.apply(*self.network.parameters())

        def configure_optimizers(self):
            return torch.optim.AdamW(self.parameters(), 1e-6) if adam else torch.optim.SGD(self.parameters(), lr=1e-4)

    return Replayed()
