"""What models do while they are loaded, and whether they can be shared after it."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Model:
    """What a model does while it is loaded, and when it predicts; each of its answers is "done".
    `says` is a pattern that stands in the reason where it can't be shared."""

    load: str
    predict: str = "pass"
    says: str = ""
    example: bool = True


ALONE = {
    "writes to temporary files that it has made": Model(
        "import tempfile; self.folder = tempfile.mkdtemp()",
        "open(f'{self.folder}/input', 'w').write('words')",
        says="temporary files that loading has made",
    ),
    "starts a thread": Model(
        """
        import threading, time
        threading.Thread(target=time.sleep, args=(1000,), daemon=True).start()
        """,
        says="thread",
    ),
    "starts a thread when it is asked": Model(
        "pass",
        """
        import threading, time
        threading.Thread(target=time.sleep, args=(1000,), daemon=True).start()
        """,
        says="thread",
    ),
    "keeps a pool of threads": Model(
        """
        from concurrent.futures import ThreadPoolExecutor
        self.pool = ThreadPoolExecutor(2)
        self.pool.submit(pow, 2, 2).result()
        """,
        "self.pool.submit(pow, 2, 2).result()",
        says="thread",
    ),
    "keeps a pool of processes": Model(
        "import multiprocessing; self.pool = multiprocessing.Pool(2)",
        "assert self.pool.map(abs, [-1]) == [1]",
        says="thread|process|pipe",
    ),
    "keeps an executor of processes": Model(
        """
        from concurrent.futures import ProcessPoolExecutor
        self.pool = ProcessPoolExecutor(2)
        assert self.pool.submit(abs, -1).result() == 1
        """,
        "assert self.pool.submit(abs, -1).result() == 1",
        says="thread|process|pipe",
    ),
    "leaves processes of joblib": Model(
        """
        import joblib
        assert joblib.Parallel(n_jobs=2)(joblib.delayed(abs)(n) for n in (-1, -2)) == [1, 2]
        """,
        says="thread|process|pipe",
    ),
    "keeps a socket": Model(
        "import socket; self.socket, self.other = socket.socketpair()",
        "self.socket.send(b'x'); self.other.recv(1)",
        says="socket",
    ),
    "listens": Model(
        "import socket; self.socket = socket.create_server(('127.0.0.1', 0))", says="socket"
    ),
    "keeps an event loop": Model(
        "import asyncio; self.loop = asyncio.new_event_loop()",
        "import asyncio; self.loop.run_until_complete(asyncio.sleep(0))",
        says="socket|event|epoll",
    ),
    "keeps a file that it reads": Model("self.file = open(__file__)", says="file"),
    "keeps a file that it writes": Model(
        "import tempfile; self.file = tempfile.TemporaryFile()",
        "self.file.write(b'x'); self.file.flush()",
        says="file",
    ),
    "keeps a database": Model(
        """
        import os, sqlite3, tempfile
        path = os.path.join(tempfile.mkdtemp(), "data.db")
        self.database = sqlite3.connect(path, check_same_thread=False)
        self.database.execute("create table words (word)")
        """,
        "self.database.execute('select * from words').fetchall()",
        says="file",
    ),
    "keeps a pipe": Model(
        "import os; self.pipe = os.pipe()",
        "import os; os.write(self.pipe[1], b'x'); os.read(self.pipe[0], 1)",
        says="pipe",
    ),
    "keeps an eventfd": Model("import os; self.event = os.eventfd(0)", says="descriptor|event"),
    "leaves a process": Model(
        "import subprocess; self.child = subprocess.Popen(['sleep', '1000'])", says="process"
    ),
    "leaves a process when it is asked": Model(
        "pass",
        """
        import subprocess
        subprocess.Popen(["sleep", "1000"], start_new_session=True)
        """,
        says="process",
    ),
    "keeps a lock of several processes": Model(
        "import multiprocessing; self.lock = multiprocessing.Lock()",
        "with self.lock: pass",
        says="memory",
    ),
    "keeps memory of several processes": Model(
        "import mmap; self.memory = mmap.mmap(-1, 4096)", "self.memory[0] = 1", says="memory"
    ),
    "closes standard output": Model(
        "import os, sys; sys.stdout.close(); os.close(2)", says="has closed"
    ),
    "maps a file to read": Model(
        """
        import numpy as np, os, tempfile
        path = os.path.join(tempfile.mkdtemp(), "array.npy")
        np.save(path, np.arange(1000))
        self.array = np.load(path, mmap_mode="r")
        """,
        "assert self.array[7] == 7",
        # Python's `mmap` keeps a descriptor, whose offset would be shared.
        says="file",
    ),
    "maps a file to write to": Model(
        """
        import numpy as np, os, tempfile
        path = os.path.join(tempfile.mkdtemp(), "array")
        self.array = np.memmap(path, dtype="float64", mode="w+", shape=(1000,))
        """,
        "self.array[0] += 1",
        says="memory|file",
    ),
}

TOGETHER = {
    "reads temporary files that it has made": Model(
        """
        import tempfile
        self.file = f"{tempfile.mkdtemp()}/weights"
        with open(self.file, "w") as file:
            file.write("1")
        """,
        "assert open(self.file).read() == '1'",
    ),
    "predicts by way of temporary files": Model(
        "pass",
        """
        import tempfile
        with tempfile.NamedTemporaryFile() as file:
            file.write(b"words")
        """,
    ),
    "nothing special": Model("self.word = 'done'"),
    "sets signal handlers": Model(
        """
        import signal
        for number in (signal.SIGUSR1, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, lambda *_: None)
        """
    ),
    "ignores how its children end": Model(
        "import signal; signal.signal(signal.SIGCHLD, signal.SIG_IGN)"
    ),
    "waits for whatever ends": Model(
        """
        import os, signal
        def wait(*_):
            try:
                while os.waitpid(-1, os.WNOHANG) != (0, 0):
                    pass
            except ChildProcessError:
                pass
        signal.signal(signal.SIGCHLD, wait)
        """
    ),
    "has other standard output": Model("import sys; sys.stdout = sys.stderr = object()"),
    "runs an event loop": Model(
        "import asyncio; asyncio.run(asyncio.sleep(0.01))",
        "import asyncio; asyncio.run(asyncio.sleep(0))",
    ),
    "runs threads": Model(
        """
        from concurrent.futures import ThreadPoolExecutor
        with ThreadPoolExecutor(4) as pool:
            assert list(pool.map(abs, range(-10, 0)))
        """
    ),
    "has not begun with its pool": Model(
        "from concurrent.futures import ThreadPoolExecutor; self.pool = ThreadPoolExecutor(2)"
    ),
    "runs a process": Model("import subprocess; subprocess.run(['true'], check=True)"),
    "runs a pool of processes": Model(
        """
        import multiprocessing
        with multiprocessing.Pool(2) as pool:
            assert pool.map(abs, [-1]) == [1]
        pool.join()
        """
    ),
    "reads a file": Model("assert open(__file__).read()"),
    "closes its standard output": Model("import sys; sys.stdout.close()"),
    "has no standard output": Model("import sys; sys.stdout = sys.stderr = None"),
    "prints to something that can only be written to": Model(
        """
        import sys
        class Tee:
            def write(self, text):
                return len(text)
        sys.stdout = Tee()
        """,
        "print('done')",
    ),
    "starts a thread at a request": Model(
        "pass",
        """
        import threading, time
        if model_input.text[0] == "now":
            threading.Thread(target=time.sleep, args=(1000,), daemon=True).start()
        """,
    ),
}
