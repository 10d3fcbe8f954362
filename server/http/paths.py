"""The paths that a route answers under."""


def spellings(path: str, root_path: str) -> tuple[str, ...]:
    """A route's path, with and without a slash at the end, and each under the prefix that a proxy
    keeps.

    MLflow's own server redirects from the first to the second; served at once, it works for
    clients as well that do not follow where a POST is redirected.

    Args:
        path: As the route is known, without a slash at the end unless it is the root.
        root_path: The prefix, or nothing.
    """
    plain = (path,) if path == "/" else (path, f"{path}/")
    if not root_path:
        return plain
    prefixed = (root_path, f"{root_path}/") if path == "/" else tuple(root_path + p for p in plain)
    return (*plain, *prefixed)
