"""How many connections fit into what this process may open."""

import resource

import structlog

# For workers and their pipes, two versions at a time, files, and what libraries open.
_RESERVED = 256
_UNLIMITED = 1 << 20

log = structlog.get_logger("server.http.descriptors")


def open_to(connections: int) -> int:
    """Raise this process's limit of open files as far as it may, and return how many connections
    it can hold at once.

    A server that has no descriptor left can't start the workers of a new version.

    Args:
        connections: How many there should be at most.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = connections + _RESERVED
    possible = _UNLIMITED if hard == resource.RLIM_INFINITY else hard
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(wanted, possible), hard))
    if wanted <= possible:
        return connections
    allowed = max(possible - _RESERVED, possible // 2)
    log.warning("connections_limited", connections=allowed, open_files=possible)
    return allowed
