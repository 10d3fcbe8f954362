"""Benchmarks of throughput, swaps, payloads and workers, on one machine over loopback."""
