"""Code that runs inside the servers that this one is compared with."""
