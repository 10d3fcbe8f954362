"""Reading MODEL_URI, as MLflow reads it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mlflow.exceptions import MlflowException
from mlflow.store.artifact.utils.models import _parse_model_uri

from watcher.model_uri import Form, ModelUri, parse_model_uri

HEX = "0123456789abcdef0123456789abcdef"


@pytest.mark.parametrize(
    ("text", "form", "name", "selector"),
    [
        ("models:/demo/Production", Form.STAGE, "demo", "Production"),
        ("models:/demo/staging", Form.STAGE, "demo", "staging"),
        ("models:/demo@production", Form.ALIAS, "demo", "production"),
        ("models:/demo/3", Form.VERSION, "demo", "3"),
        ("models:/demo/latest", Form.LATEST, "demo", ""),
        ("models:/demo/Latest", Form.LATEST, "demo", ""),
        ("models:/a name.with 1@v2.0", Form.ALIAS, "a name.with 1", "v2.0"),
        ("models:/a@b@champ", Form.ALIAS, "a@b", "champ"),
        ("models:/demo/3/", Form.VERSION, "demo", "3"),
        ("models:/demo/Production//", Form.STAGE, "demo", "Production"),
        ("models:/demo@production/", Form.ALIAS, "demo", "production"),
        (f"models:/m-{HEX}", Form.MODEL_ID, "", f"m-{HEX}"),
        (f"runs:/{HEX}/model", Form.RUN, "", HEX),
        (f"runs:/{HEX}/deep/in/it", Form.RUN, "", HEX),
        ("/srv/models/demo", Form.LOCATION, "", ""),
        ("file:///srv/models/demo", Form.LOCATION, "", ""),
        ("s3://bucket/models/demo", Form.LOCATION, "", ""),
        ("relative/path", Form.LOCATION, "", ""),
    ],
)
def test_every_form_is_told_apart(text: str, form: Form, name: str, selector: str) -> None:
    assert parse_model_uri(text) == ModelUri(text, form, name, selector)


@pytest.mark.parametrize(
    "text",
    [
        *(
            "models:/",
            "models:",
            "models:/demo/a/b",
            "models:/demo@",
            "models:/demo/",
            "models://demo",
        ),
        *("runs:/", "runs:/0123", "runs:/0123/", "runs:"),
    ],
)
def test_what_mlflow_would_not_load_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"has the form (models|runs):/"):
        parse_model_uri(text)


def test_only_what_the_registry_can_move_is_watched() -> None:
    moving = ["models:/demo/Production", "models:/demo@live", "models:/demo/latest"]
    fixed = [f"models:/m-{HEX}", f"runs:/{HEX}/model", "/srv/models/demo"]
    assert all(parse_model_uri(text).moves for text in moving)
    assert not any(parse_model_uri(text).moves for text in fixed)
    # A registered model can be deleted and made anew; its version 1 is another one then.
    assert parse_model_uri("models:/demo/1").moves


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("models:/demo/Production", "demo"),
        ("models:/demo@live", "demo"),
        (f"runs:/{HEX}/my-model", "my-model"),
        ("/srv/models/demo/", "demo"),
        ("s3://bucket/demo", "demo"),
    ],
)
def test_there_is_a_name_to_show(text: str, name: str) -> None:
    assert parse_model_uri(text).default_model_name == name


names = st.text(st.sampled_from("aB1 ._-"), min_size=1)
suffixes = st.one_of(
    st.sampled_from(["", "@", "/latest", "/Latest", "/1@a", "@a/b", "/a/b", "@a@b"]),
    st.sampled_from(["/1/", "/Production//", "/latest/", "@a/", "@/", "/a/b/"]),
    st.tuples(st.sampled_from(["/", "@"]), names).map("".join),
)


@given(start=st.sampled_from(["models:/", "models:///"]), name=names, suffix=suffixes)
def test_it_agrees_with_mlflow(start: str, name: str, suffix: str) -> None:
    text = f"{start}{name}{suffix}"
    try:
        # Where it loads a model, it strips the slashes at the end first.
        theirs = _parse_model_uri(text.rstrip("/"))
    except MlflowException:
        theirs = None
    try:
        ours = parse_model_uri(text)
    except ValueError:
        ours = None
    if theirs is None or ours is None:
        assert (theirs is None) == (ours is None), text
        return
    expected: dict[Form, tuple[str | None, str | None]] = {
        Form.STAGE: (theirs.name, theirs.stage),
        Form.ALIAS: (theirs.name, theirs.alias),
        Form.VERSION: (theirs.name, theirs.version),
        Form.LATEST: (theirs.name, ""),
        Form.MODEL_ID: ("", theirs.model_id),
    }
    assert (ours.name, ours.selector) == expected[ours.form]
    assert (ours.form is Form.LATEST) == bool(
        theirs.name and not (theirs.stage or theirs.alias or theirs.version)
    )
