"""The gateway: serves one MLflow model over HTTP and swaps versions underneath."""

__version__ = "0.1.0"
