"""Models of texts: a function with type hints, and transformers with weights as they are
initialised, whose vocabulary is the corpus's."""

import tempfile
from pathlib import Path
from typing import Any

import mlflow.pyfunc
import numpy as np
import pandas as pd
from mlflow.models import ModelSignature, infer_signature
from mlflow.types import Schema, TensorSpec

from benchmarks.kinds.requests import Requests
from benchmarks.kinds.saving.data import CODE, SEED, texts, vocabulary

_WORDS = 5000
_LONGEST = 64


def typed(path: str) -> Requests:
    """A function of `list[str]`, from which MLflow makes the signature."""
    mlflow.pyfunc.save_model(
        path, python_model=str(CODE / "words.py"), input_example=texts(1), pip_requirements=[]
    )
    return Requests("inputs", texts())


def classifier(path: str) -> Requests:
    """A pipeline of transformers: DistilBERT of two layers, 64 wide."""
    import mlflow.transformers
    from transformers import (
        DistilBertConfig,
        DistilBertForSequenceClassification,
        pipeline,
        set_seed,
    )

    set_seed(SEED)
    config = DistilBertConfig(
        vocab_size=_WORDS, dim=64, hidden_dim=256, n_layers=2, n_heads=4, num_labels=4
    )
    model = DistilBertForSequenceClassification(config).eval()
    mlflow.transformers.save_model(
        pipeline("text-classification", model=model, tokenizer=_tokenizer()),
        path,
        signature=infer_signature(
            pd.DataFrame({"text": texts(1)}), pd.DataFrame({"label": ["a"], "score": [0.5]})
        ),
        input_example=pd.DataFrame({"text": texts(1)}),
        pip_requirements=[],
    )
    return Requests("dataframe_split", [[text] for text in texts()], ["text"])


def embeddings(path: str) -> Requests:
    """384 numbers for each text, as the small models of sentence-transformers give them: BERT of
    six layers, and the mean of its words."""
    from transformers import BertConfig, BertModel, set_seed

    set_seed(SEED)
    config = BertConfig(
        vocab_size=_WORDS,
        hidden_size=384,
        intermediate_size=1536,
        num_hidden_layers=6,
        num_attention_heads=12,
    )
    with tempfile.TemporaryDirectory() as directory:
        BertModel(config).save_pretrained(directory)
        _tokenizer().save_pretrained(directory)
        mlflow.pyfunc.save_model(
            path,
            python_model=str(CODE / "embedding.py"),
            artifacts={"bert": directory},
            signature=ModelSignature(
                inputs=infer_signature(pd.DataFrame({"text": texts(1)})).inputs,
                outputs=Schema([TensorSpec(np.dtype(np.float32), (-1, 384))]),
            ),
            input_example=pd.DataFrame({"text": texts(1)}),
            pip_requirements=[],
        )
    return Requests("dataframe_split", [[text] for text in texts()], ["text"])


def _tokenizer() -> Any:
    from transformers import BertTokenizerFast

    words = vocabulary(_WORDS)
    words += [f"[unused{number}]" for number in range(_WORDS - len(words))]
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "vocab.txt"
        path.write_text("\n".join(words))
        return BertTokenizerFast(vocab_file=str(path), model_max_length=_LONGEST)
