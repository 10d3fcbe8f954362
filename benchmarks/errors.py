"""What ends a benchmark early."""


class BenchmarkError(Exception):
    """Something that a benchmark needs is missing or failed; the message says what to do."""
