"""A model that gives each text a place among others: the mean of what BERT gives its words."""

from typing import Any

import numpy as np
import pandas as pd
import torch
from mlflow.models import set_model
from mlflow.pyfunc.model import PythonModel
from transformers import AutoTokenizer, BertModel


class Embedding(PythonModel):
    """What sentence-transformers do for a model of this kind."""

    def load_context(self, context: Any) -> None:
        """Read the weights and the tokenizer."""
        self._tokenizer = AutoTokenizer.from_pretrained(context.artifacts["bert"])
        self._bert = BertModel.from_pretrained(context.artifacts["bert"]).eval()

    def predict(
        self, context: object, model_input: pd.DataFrame, params: object = None
    ) -> np.ndarray:
        """384 numbers for each row, of length 1."""
        words = self._tokenizer(
            model_input["text"].tolist(), padding=True, truncation=True, return_tensors="pt"
        )
        with torch.inference_mode():
            hidden = self._bert(**words).last_hidden_state
            mask = words["attention_mask"].unsqueeze(-1)
            mean = (hidden * mask).sum(1) / mask.sum(1)
            places: np.ndarray = torch.nn.functional.normalize(mean).numpy()
            return places


set_model(Embedding())
