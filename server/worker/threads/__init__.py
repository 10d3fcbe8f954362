"""How many threads a model's libraries get: as far as they can be told again, one until workers
are forked, as a process with a pool can't be; and then a worker's share of the cores."""

# Of libraries that can be told again. They are read when a library is loaded, which the model may
# do only at its first prediction.
THREAD_VARIABLES = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "BLIS_NUM_THREADS",
    "NUMEXPR_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
)

# Of pools that keep the size they are made with: Numba's, Polars', TensorFlow's, and Rayon's, which
# Hugging Face's tokenizers use.
POOL_VARIABLES = (
    "NUMBA_NUM_THREADS",
    "POLARS_MAX_THREADS",
    "RAYON_NUM_THREADS",
    "TF_NUM_INTEROP_THREADS",
    "TF_NUM_INTRAOP_THREADS",
)

# Read at each call: by joblib, whom scikit-learn asks how many cores there are where `n_jobs` is
# -1, and LightGBM's estimators always (loky/backend/context.py).
CORE_VARIABLES = ("LOKY_MAX_CPU_COUNT",)


def first_number(value: str) -> int | None:
    """The number of threads that a variable names, or None: OMP_NUM_THREADS may have one for each
    level of nested pools (OpenMP 5.2, section 21.2.1), of which the first counts here."""
    first = value.partition(",")[0].strip()
    return int(first) if first.isdecimal() and int(first) > 0 else None
