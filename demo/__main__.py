"""`python -m demo`: MLflow, two models and a server for each, until Ctrl-C."""

import argparse
import functools
import json
import sys
from typing import NoReturn

from demo.events import print_news
from demo.models import SENTIMENTS, TOPICS, DemoModel
from demo.processes import Failed, Interrupted, Processes, fetch
from demo.settings import DATA, REPOSITORY, BadSetting, Port, Ports, read_ports
from demo.stack import POLL_SECONDS, START_SECONDS, start_mlflow, start_server, train
from demo.tail import Tail

JSON_HEADER = "-H 'Content-Type: application/json'"


def main() -> int:
    """Run the demo and return the exit code: 0 after Ctrl-C, 1 if a process failed."""
    argparse.ArgumentParser(
        prog="python -m demo",
        description="Starts MLflow, trains two models in two versions each, and serves them.",
        epilog="The ports are 5000, 5001 and 5002, unless DEMO_MLFLOW_PORT, DEMO_TOPIC_PORT and "
        "DEMO_SENTIMENT_PORT in the environment say otherwise.",
    ).parse_args()
    try:
        ports = read_ports()
    except BadSetting as error:
        print(f"{error}\nNothing was started.", file=sys.stderr)
        return 2
    DATA.mkdir(exist_ok=True)
    with Processes(REPOSITORY, logs=DATA) as processes:
        try:
            run(processes, ports)
        except Interrupted:
            return 0
        except Failed as error:
            print(f"\n{error}\n", file=sys.stderr)
            return 1


def run(processes: Processes, ports: Ports) -> NoReturn:
    """Start everything, say what to try, and report what happens until the end.

    Raises:
        Interrupted: a signal came.
        Failed: a process ended, or didn't start in time.
    """
    say("Starting MLflow ...")
    start_mlflow(processes, ports.mlflow)
    say("Training and registering the models ...")
    train(processes, ports.mlflow)
    say("Starting the model servers ...")
    topics = start_server(processes, TOPICS, ports.topics, ports.mlflow)
    sentiments = start_server(processes, SENTIMENTS, ports.sentiments, ports.mlflow)
    with Tail(topics.log) as topics_log, Tail(sentiments.log) as sentiments_log:
        logs = {topics.name: topics_log, sentiments.name: sentiments_log}
        report = functools.partial(print_news, logs)
        processes.wait_until_healthy(topics, ports.topics.number, START_SECONDS, report)
        processes.wait_until_healthy(sentiments, ports.sentiments.number, START_SECONDS, report)
        report()
        say(what_to_try(ports, served_version(ports.topics)))
        while True:
            processes.tick()
            report()


def served_version(port: Port) -> str:
    """The number of the version that the server at `port` serves; empty if it doesn't say."""
    info = fetch(port.number, "/info")
    return str(json.loads(info)["metadata"]["version"]) if info else ""


def what_to_try(ports: Ports, served: str) -> str:
    """The text that greets the person.

    Args:
        ports: Where everything listens.
        served: The version that the topics' server serves now.
    """
    other = "1" if served == "2" else "2"
    stage = json.dumps(
        {
            "name": TOPICS.name,
            "version": other,
            "stage": "Production",
            "archive_existing_versions": True,
        }
    )
    transition = f"{ports.mlflow.url}/api/2.0/mlflow/model-versions/transition-stage"
    return f"""
Everything runs: {TOPICS.name} on port {ports.topics.number}, which serves version {served}, and
{SENTIMENTS.name} on port {ports.sentiments.number}.

Try:

  {prediction(TOPICS, ports.topics)}

  {prediction(SENTIMENTS, ports.sentiments)}

  curl -s {ports.topics.url}/info

Then put version {other} of {TOPICS.name} into Production and watch the server move to it. Either
in MLflow's UI: switch "New model registry UI" off at the top right, choose the stage "Production"

  {ports.mlflow.url}/#/models/{TOPICS.name}/versions/{other}

or with its API:

  curl -s -X POST {transition} {JSON_HEADER} -d '{stage}'

The server looks every {POLL_SECONDS} s. To have it look at once:

  curl -s -X POST {ports.topics.url}/reload

The logs are {DATA}/*.log. Ctrl-C ends everything.
"""


def prediction(model: DemoModel, port: Port) -> str:
    """The command that has the server at `port` label the model's example."""
    body = json.dumps({"instances": [model.example]})
    return f"curl -s {port.url}/invocations {JSON_HEADER} -d '{body}'"


def say(text: str) -> None:
    """Print at once, also into a pipe."""
    print(text, flush=True)


if __name__ == "__main__":
    sys.exit(main())
