"""The models that wait and stream, as files that `mlflow.pyfunc.log_model` takes."""
