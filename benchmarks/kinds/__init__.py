"""Types of models, each in an environment with its library: this server beside `mlflow models
serve`."""
