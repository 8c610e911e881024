"""The private npm registry over HTTP, as the portal reads it, and its errors."""

from typing import Any
from urllib.parse import quote

import httpx
import orjson

SECONDS = 20.0
PACKUMENT_BYTES = 64 * 2**20
_AWAY = {401, 403, 429, 502, 503, 504}  # of ours or of what is in between


class RegistryError(Exception):
    """The registry's answer is of no use. That a package is absent is no error."""


class RegistryAway(RegistryError):
    """The registry does not answer at all, or does not let us in: no package could be read."""


class TooLarge(Exception):
    """More bytes than were asked for at most."""


class Registry:
    """``url`` is where the portal reaches it, ``token`` the secret that both share."""

    def __init__(self, url: str, token: str) -> None:
        self._url = url.rstrip("/")
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        self._client = httpx.Client(headers=headers, timeout=SECONDS)

    def close(self) -> None:
        self._client.close()

    def revisions(self) -> dict[str, str]:
        """A mark for each package that is published here, another one after any change of it."""
        found = self._json("/-/flowstead/packages")
        packages = found.get("packages") if isinstance(found, dict) else None
        if not isinstance(packages, dict):
            raise RegistryError("The registry's list of packages cannot be read.")
        return {str(name): str(revision) for name, revision in packages.items()}

    def packument(self, name: str) -> Any | None:
        """All that the registry says of a package; None where there is none."""
        return self._json(f"/{quote(name, safe='@')}")

    def tarball(self, name: str, file: str, longest: int) -> bytes | None:
        """A version's tarball, always from here, whatever address its author gave; None where there is
        none. Raises ``TooLarge``."""
        return self._bytes(f"/{quote(name, safe='@/')}/-/{quote(file, safe='')}", longest)

    def _json(self, path: str) -> Any | None:
        try:
            body = self._bytes(path, PACKUMENT_BYTES)
            return None if body is None else orjson.loads(body)
        except (ValueError, TooLarge) as error:
            raise RegistryError(f"The registry's answer cannot be read ({path}).") from error

    def _bytes(self, path: str, longest: int) -> bytes | None:
        try:
            with self._client.stream("GET", f"{self._url}{path}") as response:
                if response.status_code == httpx.codes.NOT_FOUND:
                    return None
                if response.status_code in _AWAY:
                    raise RegistryAway(f"The registry answers with status {response.status_code}.")
                if response.status_code != httpx.codes.OK:
                    raise RegistryError(f"The registry answers with status {response.status_code}.")
                return _read(response, longest)
        except httpx.HTTPError as error:
            raise RegistryAway(f"The registry does not answer ({type(error).__name__}).") from error


def _read(response: httpx.Response, longest: int) -> bytes:
    read = bytearray()
    for chunk in response.iter_bytes():
        read += chunk
        if len(read) > longest:
            raise TooLarge(f"More than {longest} bytes.")
    return bytes(read)
