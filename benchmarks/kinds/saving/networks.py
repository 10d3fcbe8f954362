"""Networks of torch, of tensors, with weights as they are initialised."""

import mlflow.pytorch
import numpy as np
import torch
from mlflow.models import ModelSignature
from mlflow.types import Schema, TensorSpec
from torch import nn

from benchmarks.kinds.requests import ROWS, Requests
from benchmarks.kinds.saving.data import SEED, numbers

_CLASSES = 10
_IMAGE = (3, 32, 32)
_PIXEL_DECIMALS = 2


def dense(path: str) -> Requests:
    """256 hidden units and 10 logits, of 20 numbers."""
    torch.manual_seed(SEED)
    model = nn.Sequential(nn.Linear(20, 256), nn.ReLU(), nn.Linear(256, _CLASSES))
    return _save(model, path, numbers(20))


def images(path: str) -> Requests:
    """Two convolutions, of small pictures in three colours."""
    torch.manual_seed(SEED)
    model = nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(8, 16, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(16 * 8 * 8, _CLASSES),
    )
    pixels = np.random.default_rng(SEED).random((ROWS, *_IMAGE)).round(_PIXEL_DECIMALS)
    return _save(model, path, pixels)


def _save(model: nn.Module, path: str, values: np.ndarray) -> Requests:
    model.eval()
    mlflow.pytorch.save_model(
        model,
        path,
        signature=ModelSignature(
            inputs=Schema([TensorSpec(np.dtype(np.float32), (-1, *values.shape[1:]))]),
            outputs=Schema([TensorSpec(np.dtype(np.float32), (-1, _CLASSES))]),
        ),
        input_example=values[:2].astype(np.float32),
        pip_requirements=[],
    )
    return Requests("inputs", values.tolist())
