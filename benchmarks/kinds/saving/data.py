"""What models are trained and asked with: the same every time."""

import itertools
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from benchmarks.kinds.requests import ROWS

SEED = 0
CODE = Path(__file__).parent / "code"
"""Models from code."""

_CORPUS = Path(__file__).parents[3] / "demo" / "corpora" / "topics.tsv"
_DECIMALS = 4


def numbers(columns: int, rows: int = ROWS) -> NDArray[np.float64]:
    """Normally distributed numbers, with few enough decimals for a body of the usual size."""
    return np.random.default_rng(SEED).normal(size=(rows, columns)).round(_DECIMALS)


def table(columns: int, rows: int = ROWS) -> pd.DataFrame:
    """The same in the columns c0, c1, ..."""
    return pd.DataFrame(numbers(columns, rows), columns=[f"c{i}" for i in range(columns)])


def classes(values: NDArray[np.float64]) -> NDArray[np.int64]:
    """Which of three classes each row is in: what a model can learn, but not too well."""
    noise = np.random.default_rng(SEED + 1).normal(size=len(values))
    scores = np.nansum(values[:, :4], axis=1) + noise
    found: NDArray[np.int64] = np.searchsorted(np.array([-1.0, 1.0]), scores)
    return found


def texts(count: int = ROWS) -> list[str]:
    """Headlines; beyond those that there are, the same ones again."""
    lines = itertools.cycle(_CORPUS.read_text().splitlines())
    return [line.partition("\t")[2] for line in itertools.islice(lines, count)]


def vocabulary(words: int) -> list[str]:
    """The words of the headlines, each once and in lower case, after what BERT's tokenizers
    need."""
    known = dict.fromkeys(word for text in texts() for word in text.lower().split())
    return ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *known][:words]
