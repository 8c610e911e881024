"""The moment at which an address answers 200, seen to about 5 ms."""

import http.client
import time

PAUSE_SECONDS = 0.005
LIMIT_SECONDS = 60.0


def wait_for_200(port: int, host: str) -> float:
    """When ``GET /`` of ``host`` first answered 200, on the clock of ``time.perf_counter``.

    No ``Accept`` header, so that the proxy itself says that nothing is there yet.
    """
    deadline = time.perf_counter() + LIMIT_SECONDS
    while time.perf_counter() < deadline:
        if _status(port, host) == 200:
            return time.perf_counter()
        time.sleep(PAUSE_SECONDS)
    raise TimeoutError(f"{host} did not answer 200 within {LIMIT_SECONDS:.0f} s")


def _status(port: int, host: str) -> int:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request("GET", "/", headers={"Host": f"{host}:{port}"})
        response = connection.getresponse()
        response.read()
    except (OSError, http.client.HTTPException):
        return 0
    finally:
        connection.close()
    return response.status
