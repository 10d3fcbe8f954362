"""`python -m demo`: MLflow, two models and a server for each, until Ctrl-C."""

import argparse
import functools
import json
import sys
import urllib.parse
from typing import Any, NoReturn

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
        say(what_to_try(ports))
        while True:
            processes.tick()
            report()


def what_to_try(ports: Ports) -> str:
    """The text that greets the person, while everything runs."""
    served = served_version(ports.topics)
    other = other_version(ports.mlflow, TOPICS, served)
    stage = json.dumps(
        {
            "name": TOPICS.name,
            "version": str(other),
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


def served_version(port: Port) -> int:
    """The number of the version that the server at `port` serves."""
    return int(fetch_json(port, "/info")["metadata"]["version"])


def other_version(mlflow: Port, model: DemoModel, served: int) -> int:
    """The number of the newest version but `served`, or `served` where it is the only one."""
    query = urllib.parse.urlencode({"filter": f"name = '{model.name}'"})
    answer = fetch_json(mlflow, f"/api/2.0/mlflow/model-versions/search?{query}")
    numbers = {int(version["version"]) for version in answer["model_versions"]}
    return max(numbers - {served}, default=served)


def fetch_json(port: Port, path: str) -> Any:
    """What `GET path` answers.

    Raises:
        Failed: the server doesn't answer any more, or refuses.
    """
    body = fetch(port.number, path)
    if body is None:
        raise Failed(f"{port.url}{path} didn't answer.")
    return json.loads(body)


def prediction(model: DemoModel, port: Port) -> str:
    """The command that has the server at `port` label the model's example."""
    body = json.dumps({"instances": [model.example]})
    return f"curl -s {port.url}/invocations {JSON_HEADER} -d '{body}'"


def say(text: str) -> None:
    """Print at once, also into a pipe."""
    print(text, flush=True)


if __name__ == "__main__":
    sys.exit(main())
