"""`python -m server`: serve one MLflow model, configured by the environment."""

import sys


def main(arguments: list[str]) -> int:
    """Run the server and return the exit code, 2 where other modules are in the way of its own."""
    from server.intruders import describe_failed_import, find_intruder

    if problem := find_intruder():
        print(f"server: {problem}", file=sys.stderr)
        return 2
    try:
        from server import command
    except Exception as error:
        problem = describe_failed_import(error)
        if problem is None:
            raise
        print(f"server: {problem}", file=sys.stderr)
        return 2
    return command.main(arguments)


if __name__ == "__main__":
    if not __package__:
        # Modules would be looked for in this directory, and before the standard library's.
        print("server: start it as `python -m server`, or `mlflow-live-server`", file=sys.stderr)
        sys.exit(2)
    sys.exit(main(sys.argv[1:]))
