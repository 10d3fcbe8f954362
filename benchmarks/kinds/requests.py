"""The requests that a model is asked with.

Runs in the environments of the models, too: the standard library is all that it may import.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

ROWS = 1000
BODIES = 200


@dataclass(frozen=True, slots=True)
class Requests:
    """Rows, and how MLflow's scoring protocol has them.

    Attributes:
        format: The key of the body.
        rows: As JSON has them: a list of cells each in `dataframe_split`, any value in `inputs`.
        columns: Their names in `dataframe_split`.
        tensor: The name that `inputs` has them under; none for a tensor without a name.
    """

    format: Literal["dataframe_split", "inputs"]
    rows: list[Any]
    columns: Sequence[str] = ()
    tensor: str | None = None

    def body(self, first: int, count: int) -> dict[str, Any]:
        """The request for so many rows from `first` on."""
        rows = self.rows[first : first + count]
        if self.format == "dataframe_split":
            return {"dataframe_split": {"columns": list(self.columns), "data": rows}}
        return {"inputs": rows if self.tensor is None else {self.tensor: rows}}

    def bodies(self) -> list[dict[str, Any]]:
        """Requests of one row each, which all differ."""
        return [self.body(number, 1) for number in range(BODIES)]

    def save(self, path: Path) -> None:
        """Write them to a file, which `load` reads."""
        path.write_text(json.dumps(asdict(self)))

    @classmethod
    def load(cls, path: Path) -> "Requests":
        """Read what `save` wrote."""
        return cls(**json.loads(path.read_text()))
