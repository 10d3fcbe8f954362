"""`make demo`, from an empty directory to Ctrl-C, and once more."""

from typing import Any

import pytest

from demo.models import MODELS, SENTIMENTS, TOPICS
from tests.demo.running import Demo, run_curl
from tests.support.client import get_json, post_json
from tests.support.pages import HTTP_API, examples, python_blocks
from tests.support.registry import Registry
from tests.support.server import ended
from tests.support.waiting import wait_until

HEALTH_NEWS = "Doctors test a new vaccine on patients with asthma in three hospitals"


def test_the_first_run_shows_what_it_trains(demo: Demo) -> None:
    for version in (1, 2):
        assert demo.output.count(f"  version {version}: knows ") == len(MODELS)
    assert demo.output.count("held-out accuracy 0.") == 2 * len(MODELS)


def test_what_it_says_to_try_works(demo: Demo) -> None:
    topic, sentiment, info, *_ = demo.commands()
    assert run_curl(topic) == {"predictions": ["technology"]}
    assert run_curl(sentiment) == {"predictions": ["positive"]}
    assert run_curl(info)["metadata"]["version"] == "1"


@pytest.mark.parametrize("port", [5001, 5002])
def test_readmes_requests_are_answered_as_it_says(demo: Demo, port: int) -> None:
    example = examples()[port]
    answer, _ = post_json(f"{demo.server_urls[port]}/invocations", example.body)
    assert answer == example.answer


def test_what_an_application_is_told_to_do_works(
    demo: Demo, monkeypatch: pytest.MonkeyPatch
) -> None:
    (block,) = (one for one in python_blocks(HTTP_API) if "def label" in one)
    monkeypatch.setenv("CLASSIFICATION_SERVING_URL", demo.server_urls[5001])
    monkeypatch.setenv("SENTIMENT_SERVING_URL", demo.server_urls[5002])
    application: dict[str, Any] = {}
    exec(block, application)  # noqa: S102
    assert application["label"]("topic", TOPICS.example) == "unknown"
    monkeypatch.setenv("USE_MODEL_SERVING", "true")
    assert application["label"]("topic", TOPICS.example) == "technology"
    assert application["label"]("sentiment", SENTIMENTS.example) == "positive"


def test_a_promotion_moves_the_server_and_is_told(demo: Demo) -> None:
    url = demo.server_urls[5001]
    *_, transition, reload = demo.commands()
    try:
        assert run_curl(transition)["model_version"]["current_stage"] == "Production"
        demo.wait_for(f"{TOPICS.name}  model_swapped  v2 serves (trigger: watcher)")
        answer, headers = post_json(f"{url}/invocations", {"instances": [HEALTH_NEWS]})
        assert (answer, headers["X-Model-Version"]) == ({"predictions": ["health"]}, "2")
    finally:
        registry = Registry(demo.mlflow_url)
        registry.promote(TOPICS.name, "1")
        registry.client.transition_model_version_stage(TOPICS.name, "2", "None")
    assert run_curl(reload)["new_version"] == "v1"
    assert get_json(f"{url}/info")["metadata"]["version"] == "1"


def test_ctrl_c_ends_all_that_it_started_and_the_next_run_reuses_what_it_made(demo: Demo) -> None:
    family = demo.processes()
    # The demo itself, MLflow, and two servers with a worker each.
    assert len(family) >= 6
    assert demo.interrupt() == 0
    wait_until(lambda: ended(family), "no process is left", 10)

    demo.start()
    assert demo.output.count("registered before, reused") == 2 * len(MODELS)
    assert "accuracy" not in demo.output
    assert run_curl(demo.commands()[0]) == {"predictions": ["technology"]}
