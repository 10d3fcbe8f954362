"""Models that wait, and models that stream: this server beside `mlflow models serve`."""
