"""What `python -m server --help` and the documentation say of the settings."""

from collections.abc import Iterator
from typing import Any

from server.settings import Settings, mlflow_version

REQUIRED = "required"


def help_text() -> str:
    """What `python -m server --help` prints."""
    lines = [
        "usage: python -m server",
        "",
        "Serves one MLflow model over HTTP and follows its Production version.",
        "All settings are environment variables:",
        "",
    ]
    for variable, default, description in reference():
        note = (
            f" ({default})" if default == REQUIRED else f" (default {default})" if default else ""
        )
        lines += [f"  {variable}{note}", f"      {description}"]
    lines += ["", f"mlflow {mlflow_version()}. Example:", ""]
    lines.append("  MLFLOW_TRACKING_URI=http://localhost:5000 MODEL_URI=models:/demo@production \\")
    lines.append("      python -m server")
    return "\n".join(lines)


def reference() -> Iterator[tuple[str, str, str]]:
    """Each variable, its default as a person would write it (REQUIRED where it must be set, empty
    where nothing is set), and what it is."""
    for name, field in Settings.model_fields.items():
        default = REQUIRED if field.is_required() else _written(field.default)
        yield name.upper(), default, field.description or ""


def _written(default: Any) -> str:
    if default is None:
        return ""
    if isinstance(default, tuple):
        return ",".join(default)
    return f"{default:g}" if isinstance(default, bool | float) else str(default)
