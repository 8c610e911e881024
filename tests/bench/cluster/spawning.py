"""Starts many pods with KubeSpawner, as a hub does. Runs in an environment of its own, which has it.

``python spawning.py COUNT``: prints the seconds until the last one was ready, as JSON.
"""

import asyncio
import json
import logging
import sys
import time
from types import SimpleNamespace

from kubernetes_asyncio import config
from kubespawner import KubeSpawner

IMAGE = "flowstead/custom-node-red:5.0.7"
AT_ONCE = 100  # JupyterHub's concurrent_spawn_limit


def spawner(number: int) -> KubeSpawner:
    user = SimpleNamespace(
        name=f"user-{number}", id=number, url=f"/user/{number}/", escaped_name=f"user-{number}"
    )
    hub = SimpleNamespace(public_host="", url="http://hub", base_url="/hub/", api_url="http://hub/hub/api")
    one = KubeSpawner(
        _mock=True,
        user=user,
        hub=hub,
        namespace="default",
        image=IMAGE,
        cmd=["start"],
        cpu_limit=0.5,
        cpu_guarantee=0.05,
        mem_limit="256M",
        mem_guarantee="256M",
        start_timeout=600,
        k8s_api_request_timeout=30,
        k8s_api_request_retry_timeout=300,
        events_enabled=False,
    )
    one.log.setLevel(logging.WARNING)
    return one


async def spawn(number: int, room: asyncio.Semaphore) -> None:
    async with room:
        await spawner(number).start()


async def main(count: int) -> None:
    await config.load_kube_config()
    room = asyncio.Semaphore(AT_ONCE)
    began = time.perf_counter()
    await asyncio.gather(*(spawn(number, room) for number in range(count)))
    print(json.dumps({"seconds": time.perf_counter() - began}))


if __name__ == "__main__":
    logging.basicConfig(level=logging.WARNING)
    asyncio.run(main(int(sys.argv[1])))
