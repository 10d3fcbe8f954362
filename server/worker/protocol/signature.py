"""What a model's signature says about its input, looked up once."""

from dataclasses import dataclass
from typing import Any

from mlflow.pyfunc import PyFuncModel
from mlflow.types import DataType, Schema
from mlflow.types.schema import TensorSpec


@dataclass(frozen=True, slots=True)
class InputSignature:
    """The input side of a model's signature.

    Attributes:
        schema: The columns or tensors, `None` if the model declares none.
        param_names: The names of the parameters that it declares.
        from_type_hint: The signature comes from a type hint of `predict`; MLflow then hands the
            JSON under `inputs` on as it is, and validates it inside `predict`.
        scalar_columns: The type of each column, if the columns are named and hold scalars.
        stackable: Rows are converted one by one, so that those of several requests may be
            stacked without changing what the model gets for each.
    """

    schema: Schema | None
    param_names: frozenset[str]
    from_type_hint: bool
    scalar_columns: dict[str, DataType] | None
    stackable: bool

    @classmethod
    def of(cls, model: PyFuncModel) -> "InputSignature":
        """Read the signature of a loaded model."""
        metadata: Any = model.metadata
        schema: Schema | None = metadata.get_input_schema()
        params = metadata.get_params_schema()
        from_type_hint: bool = metadata._is_signature_from_type_hint()
        return cls(
            schema=schema,
            param_names=frozenset(spec.name for spec in params.params) if params else frozenset(),
            from_type_hint=from_type_hint,
            scalar_columns=_scalar_columns(schema),
            stackable=_stackable(schema, from_type_hint),
        )


def _scalar_columns(schema: Schema | None) -> dict[str, DataType] | None:
    if schema is None:
        return None
    types = {
        spec.name: spec.type
        for spec in schema.inputs
        if spec.name is not None and isinstance(spec.type, DataType)
    }
    return types if len(types) == len(schema.inputs) else None


def _stackable(schema: Schema | None, from_type_hint: bool) -> bool:
    return schema is None or from_type_hint or all(map(_converts_row_by_row, schema.inputs))


def _converts_row_by_row(spec: Any) -> bool:
    if isinstance(spec, TensorSpec):
        return bool(spec.shape) and spec.shape[0] == -1
    # mlflow/models/utils.py: `_enforce_schema` may take a whole list for one cell of an array,
    # object, map or any. pandas reads all dates of a column in the format of the first.
    return isinstance(spec.type, DataType) and spec.type is not DataType.datetime
