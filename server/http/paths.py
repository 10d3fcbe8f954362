"""The paths that a route answers under."""

# Under the first are routes of OpenAI's API, and the second is its `/v1/responses` as well.
_OPENAIS = ("/v1", "/responses")


def is_openais(path: str, root_path: str) -> bool:
    """Whether a path is one of OpenAI's, or would be if there were such a route."""
    path = path.removeprefix(root_path) if root_path else path
    return path.rstrip("/") in _OPENAIS or path.startswith("/v1/")


def spellings(path: str, root_path: str) -> tuple[str, ...]:
    """A route's path, with and without a slash at the end, and each under the prefix that a proxy
    keeps.

    MLflow's own server redirects from the first to the second; served at once, it works for
    clients as well that do not follow where a POST is redirected.

    Args:
        path: As the route is known, without a slash at the end.
        root_path: The prefix, or nothing.
    """
    plain = (path, f"{path}/")
    return (*plain, *(root_path + spelling for spelling in plain)) if root_path else plain
