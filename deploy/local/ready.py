"""Whether portal and registry answer where people will ask for them."""

import http.client
from types import ModuleType


def portal_answers(env: ModuleType) -> bool:
    return _says_ok(env.PORT, "/healthz", host=f"portal.{env.DOMAIN}:{env.PORT}")


def registry_answers(env: ModuleType) -> bool:
    return _says_ok(env.PORT, "/registry/-/ping", host=f"localhost:{env.PORT}")


def _says_ok(port: int, path: str, *, host: str) -> bool:
    """Whether the answer is 200, through the one public port."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=2)
    try:
        connection.request("GET", path, headers={"Host": host})
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()
