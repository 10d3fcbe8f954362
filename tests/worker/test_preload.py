"""Modules that workers find imported."""

from tests.conftest import StartServer
from tests.support.models import TEXT_REQUEST, SavedModels
from tests.support.registry import Registry


def test_a_module_that_can_not_be_imported_is_warned_of_and_left_out(
    registry: Registry, model_name: str, saved: SavedModels, start_server: StartServer
) -> None:
    registry.create(model_name)
    path = saved.save("import sys; return [str('xmlrpc.client' in sys.modules)] * len(model_input)")
    registry.promote(model_name, registry.add(model_name, path))
    server = start_server(
        f"models:/{model_name}/Production", PRELOAD="no_such_module, xmlrpc.client"
    )
    server.wait_healthy()
    assert server.predict(TEXT_REQUEST).json == {"predictions": ["True"]}
    (warning,) = [event["message"] for event in server.find("worker_output", process="fork server")]
    assert "can't preload no_such_module" in warning
