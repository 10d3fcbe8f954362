"""Benchmarks: throughput, swaps under load and payload sizes, on one machine over loopback."""
