"""Circles, squares and triangles in noisy pictures, drawn here: which pixels they are, which there are, where they are.

    module, train_loader, val_loader, callbacks = parts("segmentation")       # or "multilabel", "boxes"

`examples/demo.py --task segmentation` trains on them.
"""

import math
from itertools import pairwise

import pytorch_lightning as pl
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader, Dataset, TensorDataset

import lwcallbacks as lw

CLASSES = ("background", "circle", "square", "triangle")
SIZE = 48


def shapes(n: int, seed: int) -> TensorDataset:
    """n pictures float32 [3, 48, 48] in [0, 1] with up to four shapes, and the class of each pixel, int64 [48, 48]."""
    images, masks, _ = drawn(n, seed)
    return TensorDataset(images, masks)


def drawn(n: int, seed: int) -> tuple[torch.Tensor, torch.Tensor, list[dict[str, torch.Tensor]]]:
    """The same pictures and masks, and for each the boxes [k, 4], two corners, and labels [k] of what is seen of it."""
    generator = torch.Generator().manual_seed(seed)
    y, x = torch.meshgrid(torch.arange(SIZE), torch.arange(SIZE), indexing="ij")
    images = 0.25 + 0.15 * torch.rand(n, 3, SIZE, SIZE, generator=generator)
    masks = torch.zeros(n, SIZE, SIZE, dtype=torch.int64)
    targets = []
    for image, mask in zip(images, masks, strict=True):
        objects = torch.full((SIZE, SIZE), -1)
        labels = []
        for _ in range(int(torch.randint(1, 5, (), generator=generator))):
            label = int(torch.randint(1, len(CLASSES), (), generator=generator))
            radius = float(torch.randint(6, 11, (), generator=generator))
            top, left = (torch.randint(8, SIZE - 8, (2,), generator=generator)).tolist()
            dy, dx = y - top, x - left
            inside = {
                1: dy**2 + dx**2 <= radius**2,
                2: torch.maximum(dy.abs(), dx.abs()) <= radius * 0.8,
                3: (dy <= radius / 2) & (dx.abs() * math.sqrt(3) <= dy + radius),
            }[label]
            colour = 0.3 + 0.7 * torch.rand(3, 1, generator=generator)
            image[:, inside] = colour + 0.1 * torch.randn(3, int(inside.sum()), generator=generator)
            mask[inside] = label
            objects[inside] = len(labels)
            labels.append(label)
        seen = [k for k in range(len(labels)) if int((objects == k).sum()) >= 20]  # the others are hidden
        boxes = [box_of(objects == k) for k in seen]
        targets.append({"boxes": torch.stack(boxes), "labels": torch.tensor([labels[k] for k in seen])})
    return images.clamp(0, 1), masks, targets


def box_of(inside: torch.Tensor) -> torch.Tensor:
    """The corners of what is True, float32 [4]: left, top, right and bottom."""
    rows, columns = inside.any(1).nonzero().flatten(), inside.any(0).nonzero().flatten()
    return torch.stack([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1]).float()


class Segmenter(pl.LightningModule):
    """Scores for each pixel, from its surroundings at three sizes."""

    def __init__(self, width: int = 24) -> None:
        super().__init__()
        sizes = (3, width, width, width)
        self.down = nn.ModuleList(
            nn.Sequential(nn.Conv2d(a, b, 3, padding=1), nn.BatchNorm2d(b), nn.ReLU()) for a, b in pairwise(sizes)
        )
        self.head = nn.Conv2d(3 * width, len(CLASSES), 3, padding=1)

    def forward(self, x):
        size, seen = x.shape[-2:], []
        for layer in self.down:
            x = layer(x)
            seen.append(F.interpolate(x, size, mode="bilinear"))
            x = F.max_pool2d(x, 2)
        return self.head(torch.cat(seen, dim=1))

    def loss(self, preds, targets):
        return F.cross_entropy(preds, targets)

    def training_step(self, batch, batch_idx):
        x, y = batch
        return self.loss(self(x), y)

    def validation_step(self, batch, batch_idx):
        x, y = batch
        self.log("val/loss", self.loss(self(x), y))

    def configure_optimizers(self):
        return torch.optim.Adam(self.parameters(), lr=3e-3)


class Tagger(Segmenter):
    """A logit for each shape: that of the pixel which looks most like it."""

    def forward(self, x):
        return super().forward(x)[:, 1:].amax(dim=(2, 3))

    def loss(self, preds, targets):
        return F.binary_cross_entropy_with_logits(preds, targets.float())


def tags(data: TensorDataset) -> TensorDataset:
    """The same pictures, with a 0 or 1 for each shape, int64 [3]."""
    images, masks = data.tensors
    return TensorDataset(images, torch.stack([(masks == c).any(2).any(1) for c in range(1, len(CLASSES))], 1).long())


class Scenes(Dataset):
    """A picture and what is in it, as detection code has it: a dict of boxes and labels."""

    def __init__(self, n: int, seed: int) -> None:
        self.images, _, self.targets = drawn(n, seed)

    def __len__(self):
        return len(self.images)

    def __getitem__(self, i):
        return self.images[i], self.targets[i]


def as_lists(samples):
    """A batch as in torchvision's references: a tuple of images and a tuple of dicts."""
    return tuple(zip(*samples, strict=True))


class Detector(Segmenter):
    """A score for each class and the distances to four sides, at each fourth pixel: a small anchor-free detector."""

    STRIDE = 4

    def __init__(self, width: int = 32) -> None:
        super().__init__(width)
        self.down.append(nn.Sequential(nn.Conv2d(width, width, 3, padding=1), nn.BatchNorm2d(width), nn.ReLU()))
        self.head = nn.Conv2d(width, len(CLASSES) - 1 + 4, 1)
        with torch.no_grad():
            self.head.bias[: len(CLASSES) - 1] = -3.0  # few places have an object

    def maps(self, images):
        """Logits [N, 3, 12, 12] and distances in pixels [N, 4, 12, 12]."""
        x = images
        for i, layer in enumerate(self.down):
            x = layer(x)
            x = F.max_pool2d(x, 2) if i in (0, 1) else x
        logits, sides = self.head(x).split([len(CLASSES) - 1, 4], dim=1)
        return logits, F.softplus(sides) * self.STRIDE

    def middles(self, device):
        places = (torch.arange(SIZE // self.STRIDE, device=device) + 0.5) * self.STRIDE
        return torch.meshgrid(places, places, indexing="ij")

    def forward(self, images):
        """What torchvision's detectors give: for each image a dict of boxes, labels and scores."""
        logits, sides = self.maps(torch.stack(list(images)))
        y, x = self.middles(logits.device)
        boxes = torch.stack([x - sides[:, 0], y - sides[:, 1], x + sides[:, 2], y + sides[:, 3]], dim=-1)
        scores = logits.sigmoid()
        # A place counts where no class has a higher score around it: neighbours see the same object.
        best = scores.amax(1, keepdim=True)
        scores = torch.where((scores == best) & (best == F.max_pool2d(best, 5, stride=1, padding=2)), scores, 0.0)
        found = []
        for image_scores, image_boxes in zip(scores, boxes, strict=True):
            top, place = image_scores.flatten().topk(10)
            top, place = top[top > 0.05], place[top > 0.05]
            cells = image_boxes.flatten(0, 1)
            found.append({"boxes": cells[place % len(cells)], "labels": place // len(cells) + 1, "scores": top})
        return found

    def training_step(self, batch, batch_idx):
        images, targets = batch
        return self.loss_of(*self.maps(torch.stack(list(images))), targets)

    def validation_step(self, batch, batch_idx):
        images, targets = batch
        self(images)
        self.log("val/loss", self.loss_of(*self.maps(torch.stack(list(images))), targets), batch_size=len(images))

    def loss_of(self, logits, sides, targets):
        y, x = self.middles(logits.device)
        wanted, there = torch.zeros_like(logits), torch.zeros_like(sides[:, 0], dtype=torch.bool)
        distances = torch.zeros_like(sides)
        for i, target in enumerate(targets):
            for box, label in zip(target["boxes"], target["labels"], strict=True):
                away = torch.stack([x - box[0], y - box[1], box[2] - x, box[3] - y])
                middle = ((box[:2] + box[2:]) / 2).flip(0)
                near = (away.amin(0) > 0) & ((torch.stack([y, x]) - middle[:, None, None]).abs().amax(0) <= self.STRIDE)
                wanted[i, label - 1][near] = 1
                there[i] |= near
                distances[i] = torch.where(near, away, distances[i])
        share = torch.where(wanted > 0, 1 - logits.sigmoid(), logits.sigmoid())
        focal = F.binary_cross_entropy_with_logits(logits, wanted, reduction="none") * share**2
        number = there.sum().clamp(min=1)
        apart = ((sides - distances).abs() * there[:, None]).sum() / self.STRIDE
        return (focal.sum() + 0.5 * apart) / number


def parts(task: str, batch_size: int = 32):
    """The module, the loaders and the callbacks for a task, and the number that says how good it is."""
    train, val = (640, 0), (160, 1)
    if task == "boxes":
        module, score, sets, collate = Detector(), "val/loss", [Scenes(*train), Scenes(*val)], as_lists
        callbacks = [
            lw.BoxGrid(16, CLASSES),
            lw.GradientHistogram(every_n_train_steps=25),
            lw.CheckpointArtifact(missing_ok=True),
        ]
    elif task == "multilabel":
        module, score, sets, collate = Tagger(), "val/f1", [tags(shapes(*train)), tags(shapes(*val))], None
        callbacks = lw.presets.multilabel(len(CLASSES) - 1, CLASSES[1:], logits=True, every_n_train_steps=25)
    else:
        module, score, sets, collate = Segmenter(), "val/iou", [shapes(*train), shapes(*val)], None
        callbacks = lw.presets.segmentation(len(CLASSES), CLASSES, every_n_train_steps=25)
    loaders = [DataLoader(data, batch_size, shuffle=i == 0, collate_fn=collate) for i, data in enumerate(sets)]
    return module, *loaders, callbacks, score
