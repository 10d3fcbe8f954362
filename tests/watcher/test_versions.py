"""What makes two versions the same."""

from dataclasses import replace

from watcher.versions import ModelVersion

SERVED = ModelVersion(
    load_uri="models:/demo/3",
    source="s3://bucket/3",
    version="3",
    run_id="run",
    model_id="m-1",
    stage="Production",
    status="READY",
)


def test_a_version_stays_the_same_when_its_stage_or_alias_changes() -> None:
    moved = replace(SERVED, stage="Archived", alias="old", status="PENDING_REGISTRATION")
    assert moved.identity == SERVED.identity


def test_another_number_run_or_source_is_another_version() -> None:
    others = [
        replace(SERVED, version="4"),
        replace(SERVED, run_id="another"),
        replace(SERVED, source="s3://bucket/4"),
    ]
    assert SERVED.identity not in {other.identity for other in others}


def test_it_is_called_by_the_best_name_that_it_has() -> None:
    assert (SERVED.label, SERVED.display) == ("3", "v3")
    logged = replace(SERVED, version=None)
    assert (logged.label, logged.display) == ("m-1", "m-1")
    of_a_run = replace(logged, model_id=None)
    assert (of_a_run.label, of_a_run.display) == ("run", "run")
    assert replace(of_a_run, run_id=None).label == "unversioned"
