"""The demo: MLflow, two trained text classifiers, and a server for each, on one machine."""
