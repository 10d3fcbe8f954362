"""Asks the Model Registry what should be served, and notices when that changes.

Knows nothing of HTTP: `server` composes it.
"""
