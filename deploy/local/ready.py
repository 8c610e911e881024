"""Whether the portal answers where people will ask for it."""

import http.client
from types import ModuleType


def answers(env: ModuleType) -> bool:
    """Whether ``/healthz`` of the portal's host says 200, through the one public port."""
    connection = http.client.HTTPConnection("127.0.0.1", env.PORT, timeout=2)
    try:
        connection.request("GET", "/healthz", headers={"Host": f"portal.{env.DOMAIN}:{env.PORT}"})
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()
