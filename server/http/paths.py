"""The paths that a route answers under."""


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
