"""A model whose size, slowness and weakness are settings; see `Traits` in models.py."""

import os
import signal
import time
import zlib
from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
from mlflow.models import set_model
from mlflow.pyfunc.model import PythonModel

_COLUMNS = 1024
_WORD_BYTES = 128
"""What an entry of the dictionary takes: a string, a float, and its place in the table."""

_WORDS_ASKED = 10


class Configured(PythonModel):
    """Answers each text with a number that depends on it and on what the model holds."""

    def load_context(self, context: Any) -> None:
        """Take the time and the memory that were asked for."""
        self._traits = context.model_config
        time.sleep(self._traits["load_seconds"])
        rows = int(self._traits["array_mib"] * 2**20 / 8 / _COLUMNS)
        words = int(self._traits["objects_mib"] * 2**20 / _WORD_BYTES)
        self._array = np.random.default_rng(0).random((rows, _COLUMNS))
        self._weights = {f"word {number}": number / words for number in range(words)}

    def predict(
        self, context: object, model_input: pd.DataFrame, params: object = None
    ) -> list[float]:
        """A number for each text; a text that starts with `killer` ends the process."""
        time.sleep(self._traits["predict_seconds"])
        return [self._score(text) for text in model_input["text"]]

    def _score(self, text: str) -> float:
        if text.startswith("killer"):
            os.kill(os.getpid(), signal.SIGKILL)
        number = zlib.crc32(text.encode())
        row = float(self._array[number % len(self._array)].sum()) if len(self._array) else 0.0
        return row + sum(self._weights[word] for word in self._words(number))

    def _words(self, number: int) -> Iterator[str]:
        """Words all over the dictionary, as those of a text are."""
        if self._weights:
            for place in range(_WORDS_ASKED):
                yield f"word {zlib.crc32(b'%d %d' % (number, place)) % len(self._weights)}"


set_model(Configured())
