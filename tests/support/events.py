"""The events of the log that people alert on, and the fields that each must have."""

FIELDS: dict[str, set[str]] = {
    "server_started": {"host", "port", "model_uri"},
    "version_moved": {"old_version", "new_version"},
    "model_swapped": {
        *("old_version", "new_version", "trigger", "version_changed", "load_seconds", "rehearsed")
    },
    "reload_failed": {
        *("trigger", "serving_version", "failed_version", "phase", "error", "retry_in_seconds")
    },
    "version_missing": {"error", "serving_version"},
    "registry_unreachable": {"error", "serving_version"},
    "registry_recovered": {"failed_polls"},
    "worker_exited": {"version", "pid"},
    "worker_replaced": {"version", "pid"},
    "release_retired": {"version", "seconds"},
    "server_stopping": {"signal"},
    "server_stopped": set(),
}

EVERY_LINE = {"timestamp", "level", "event", "model_name"}
