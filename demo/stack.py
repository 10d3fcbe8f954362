"""What runs in the demo, and with which settings."""

from demo.models import DemoModel
from demo.processes import Child, Processes
from demo.settings import DATA, HOST, REPOSITORY, Port

START_SECONDS = 120.0
POLL_SECONDS = 5


def start_mlflow(processes: Processes, port: Port) -> None:
    """Start an MLflow tracking server that keeps everything in DATA, and wait for it.

    Raises:
        Interrupted: a signal came.
        Failed: it ended, or didn't answer in time.
    """
    # Relative, since in an absolute path any character may occur, and these become URIs.
    data = DATA.relative_to(REPOSITORY)
    command = [
        "mlflow",
        "server",
        f"--host={HOST}",
        f"--port={port.number}",
        # More workers, and the executor of background jobs, cost a demo 2 GB and get it nothing.
        "--workers=1",
        f"--backend-store-uri=sqlite:///{data / 'mlflow.db'}",
        f"--artifacts-destination={data / 'artifacts'}",
    ]
    env = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    mlflow = processes.start("mlflow", command, env)
    processes.wait_until_healthy(mlflow, port.number, START_SECONDS)


def train(processes: Processes, mlflow: Port) -> None:
    """Train and register what is missing; its progress goes to the terminal.

    Raises:
        Interrupted: a signal came.
        Failed: it failed, or another process ended.
    """
    processes.run("training", ["demo.training"], _mlflow_env(mlflow))


def start_server(processes: Processes, model: DemoModel, port: Port, mlflow: Port) -> Child:
    """Start a model server that follows the Production version of `model`."""
    env = {
        **_mlflow_env(mlflow),
        "MODEL_URI": f"models:/{model.name}/Production",
        "MODEL_NAME": model.name,
        "HOST": HOST,
        "PORT": str(port.number),
        "POLL_INTERVAL_SECONDS": str(POLL_SECONDS),
        "LOG_FORMAT": "json",
    }
    return processes.start(model.name, ["server"], env)


def _mlflow_env(port: Port) -> dict[str, str]:
    return {"MLFLOW_TRACKING_URI": f"http://{HOST}:{port.number}"}
