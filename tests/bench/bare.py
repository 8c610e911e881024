"""The same Node-RED without Flowstead: its own settings and file storage, on a TCP port."""

import shutil
import subprocess
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from portal import env
from tests.bench.polling import wait_for_200
from tests.e2e.product import free_port

NODE = env.LOCAL_NODE
NODE_RED = env.LOCAL_NODE_RED_DIR / "node_modules" / "node-red" / "red.js"


@dataclass(slots=True)
class Bare:
    """One running process. ``seconds`` is from its start to the first 200 of ``GET /``."""

    process: subprocess.Popen[bytes]
    folder: Path
    seconds: float

    def end(self) -> None:
        """As a service manager ends it, which is when Node writes its compile cache."""
        self.process.terminate()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        shutil.rmtree(self.folder, ignore_errors=True)


def start_bare(compile_cache: Path | None = None, *node_options: str) -> Bare:
    """Start it on an empty user directory, with as small an environment as an instance has."""
    folder = Path(tempfile.mkdtemp(prefix="bare-"))
    environment = {"PATH": "/usr/local/bin:/usr/bin:/bin", "HOME": str(folder), "TMPDIR": str(folder)}
    if compile_cache is not None:
        environment["NODE_COMPILE_CACHE"] = str(compile_cache)
    port = free_port()
    program = [str(NODE), *node_options, str(NODE_RED)]
    arguments = ["--userDir", str(folder), "--port", str(port), "-D", "uiHost=127.0.0.1"]
    began = time.perf_counter()
    process = subprocess.Popen(
        [*program, *arguments],
        cwd=folder,
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    bare = Bare(process, folder, 0.0)
    try:
        bare.seconds = wait_for_200(port, "127.0.0.1") - began
    except BaseException:
        bare.end()
        raise
    return bare
