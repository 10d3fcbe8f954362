"""ONNX: a classifier of 20 numbers in two dense layers, as a graph."""

import mlflow.onnx
import numpy as np
from mlflow.models import ModelSignature
from mlflow.types import Schema, TensorSpec
from onnx import TensorProto, helper, numpy_helper

from benchmarks.kinds.requests import Requests
from benchmarks.kinds.saving.data import SEED, numbers

_IN, _HIDDEN, _OUT = 20, 128, 5
_OPSET = 17
_IR_VERSION = 8


def unnamed(path: str) -> Requests:
    """One whose signature is a tensor without a name."""
    return _save(path, None)


def named(path: str) -> Requests:
    """One whose signature gives the tensor the name that it has in the graph."""
    return _save(path, "x")


def _save(path: str, name: str | None) -> Requests:
    values = numbers(_IN)
    example = values[:1].astype(np.float32)
    mlflow.onnx.save_model(
        _graph(),
        path,
        signature=ModelSignature(
            inputs=Schema([TensorSpec(np.dtype(np.float32), (-1, _IN), name)]),
            outputs=Schema([TensorSpec(np.dtype(np.float32), (-1, _OUT), "y")]),
        ),
        input_example=example if name is None else {name: example},
        pip_requirements=[],
    )
    return Requests("inputs", values.tolist(), tensor=name)


def _graph() -> object:
    random = np.random.default_rng(SEED)
    weights = {
        "w1": random.normal(size=(_IN, _HIDDEN)),
        "b1": random.normal(size=_HIDDEN),
        "w2": random.normal(size=(_HIDDEN, _OUT)) * 0.5,
        "b2": random.normal(size=_OUT),
    }
    graph = helper.make_graph(
        [
            helper.make_node("Gemm", ["x", "w1", "b1"], ["dense"]),
            helper.make_node("Relu", ["dense"], ["hidden"]),
            helper.make_node("Gemm", ["hidden", "w2", "b2"], ["logits"]),
            helper.make_node("Softmax", ["logits"], ["y"], axis=1),
        ],
        "classifier",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", _IN])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", _OUT])],
        [numpy_helper.from_array(w.astype(np.float32), name) for name, w in weights.items()],
    )
    opset = helper.make_opsetid("", _OPSET)
    return helper.make_model(graph, opset_imports=[opset], ir_version=_IR_VERSION)
