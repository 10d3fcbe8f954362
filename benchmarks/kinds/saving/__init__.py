"""Makes the models, in the environments that they are served in.

Of this package, the standard library and what these environments hold is all that it may import.
"""
