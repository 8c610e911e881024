"""The Kubernetes API server as plain JSON, through the official client, and its refusals as errors.

The client gives the connection: kubeconfig, service account, certificates, tokens and their renewal.
Objects stay the dictionaries that the API sends: its typed models would cost several times the memory.
"""

import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from threading import Lock
from typing import Any, TypeVar
from urllib.parse import urlencode

import orjson
import urllib3
from kubernetes import config
from kubernetes.client import ApiClient, Configuration
from kubernetes.client.exceptions import ApiException
from kubernetes.config import ConfigException

from tenants.provisioning.driver import NO_ANSWER, DriverError

log = logging.getLogger(__name__)

USER_AGENT = "flowstead"
CONNECTIONS = 64
PAGE = 250
# Bookmarks come about once a minute: a watch that is silent for longer is a dead connection.
SILENCE_SECONDS = 150
# What waits until something else has gone asks again this often: nobody tells it of the end of a namespace.
REMOVAL_SECONDS = 5

Object = dict[str, Any]
T = TypeVar("T")


class Refusal(DriverError):
    """An answer that is no success; ``status`` is its HTTP status."""

    def __init__(self, message: str, *, status: int, **kwargs: Any) -> None:
        super().__init__(message, **kwargs)
        self.status = status


class Gone(DriverError):
    """410: what we know is too old to go on from. List again."""


_SORTED = {
    400: ("invalid", True),
    401: ("unauthorized", False),  # a token that expired is renewed by the next request
    403: ("forbidden", True),
    404: ("not_found", False),
    405: ("invalid", True),
    409: ("conflict", False),
    413: ("invalid", True),
    415: ("invalid", True),
    422: ("invalid", True),
    429: ("too_many_requests", False),
}
_SENTENCES = {
    "invalid": "The cluster does not accept it",
    "unauthorized": "The cluster does not know us",
    "forbidden": "The cluster does not allow it",
    "not_found": "The cluster does not have it",
    "conflict": "Somebody else changed it at the same time",
    "too_many_requests": "The cluster is too busy",
    "cluster_error": "The cluster failed",
}


def refusal(status: int, body: bytes, headers: Mapping[str, str]) -> Refusal:
    """What an answer means for us, with the API server's own words where a person can use them."""
    told = _status_object(body)
    words = str(told.get("message") or body[:300].decode(errors="replace") or "no reason given")
    causes = {cause.get("reason") for cause in (told.get("details") or {}).get("causes") or []}
    if status == 403 and ("NamespaceTerminating" in causes or "being terminated" in words):
        return Refusal(
            "Its namespace is still being removed.",
            status=status,
            reason="being_removed",
            retry_after=REMOVAL_SECONDS,
        )
    if status == 403 and "status unknown for quota" in words:
        return Refusal(
            "The tenant's quota is being set up.", status=status, reason="conflict", retry_after=0.5
        )
    if status == 403 and "exceeded quota" in words:
        return Refusal(f"The tenant's quota is reached: {words}", status=status, reason="quota_reached")
    reason, permanent = _SORTED.get(status, ("cluster_error", False))
    return Refusal(
        f"{_SENTENCES[reason]}: {words}",
        status=status,
        reason=reason,
        permanent=permanent,
        retry_after=_seconds(headers.get("Retry-After")),
    )


def _status_object(body: bytes) -> Object:
    try:
        told = orjson.loads(body)
    except orjson.JSONDecodeError:
        return {}
    return told if isinstance(told, dict) else {}


def _seconds(text: str | None) -> float | None:
    return float(text) if text and text.isascii() and text.isdigit() else None


class Stream:
    """Lines of an answer that does not end. ``close`` may be called from another thread."""

    def __init__(self, response: urllib3.BaseHTTPResponse) -> None:
        self._response = response

    def __iter__(self) -> Iterator[bytes]:
        """Raises ``DriverError`` where the connection breaks; ends where the server ends it."""
        rest = b""
        try:
            with _as_no_answer():
                for chunk in self._response.stream(amt=64 * 1024):
                    *lines, rest = (rest + chunk).split(b"\n")
                    yield from lines
        except AttributeError as error:  # closed by another thread in this very moment
            raise DriverError("The connection was closed.", reason=NO_ANSWER) from error
        if rest:
            yield rest

    def close(self) -> None:
        with suppress(Exception):  # it may have ended by itself in this moment
            self._response.shutdown()
        with suppress(Exception):
            self._response.close()


class ApiServer:
    """Every request that Flowstead makes to a cluster. Threads may share it.

    Each method raises ``Refusal`` where the API server said no, and a plain ``DriverError`` with the
    reason ``NO_ANSWER`` where it said nothing.
    """

    def __init__(self, configuration: Configuration, request_seconds: float) -> None:
        configuration.connection_pool_maxsize = CONNECTIONS
        configuration.keep_alive = True
        # What we send may be sent twice: applying is idempotent, deleting names the uid. Once more is
        # for a kept connection that the server has closed. After an answer nothing is sent again: who
        # asked decides when.
        configuration.retries = urllib3.Retry(
            total=1,
            connect=1,
            read=1,
            redirect=0,
            status=0,
            other=0,
            allowed_methods=None,
            respect_retry_after_header=False,
        )
        self._client = ApiClient(configuration)
        self._client.user_agent = USER_AGENT
        self.writer = USER_AGENT  # the field manager that the cluster notes beside what we apply
        self._seconds = request_seconds
        self._decoding = Lock()

    @classmethod
    def connect(cls, *, kubeconfig: str = "", context: str = "", request_seconds: float = 15) -> "ApiServer":
        """By the kubeconfig or context that is named, else by the service account of the pod that we
        run in, else by the user's kubeconfig. Raises ``DriverError`` where none can be used."""
        configuration = Configuration()
        try:
            if kubeconfig or context:
                _load_kubeconfig(configuration, kubeconfig, context)
            else:
                _load_what_is_there(configuration)
        except (ConfigException, OSError) as error:
            raise DriverError(f"No way into the cluster: {error}", reason="no_cluster") from error
        return cls(configuration, request_seconds)

    def get(self, path: str, **query: str) -> Object:
        return self._json("GET", path, query)

    def pages(self, path: str, selector: str, read: Callable[[Object], T]) -> Iterator[T]:
        """What ``read`` makes of each page of a consistent list, all of one resourceVersion. Raises
        ``Gone`` where it grew too old before its end."""
        query = {"labelSelector": selector, "limit": str(PAGE)}
        while True:
            try:
                body = self._bytes("GET", path, query)
            except Refusal as error:
                raise Gone(str(error)) if error.status == 410 else error from error
            # One page at a time, and nothing of it is kept: decoded it is many times as large.
            with self._decoding:
                with _as_no_answer():
                    page = orjson.loads(body)
                following = page["metadata"].get("continue")
                result = read(page)
                del page, body
            yield result
            if not following:
                return
            query["continue"] = following

    def watch(self, path: str, selector: str, version: str, seconds: int) -> Stream:
        """Changes since ``version``, one JSON document a line, for at most ``seconds``."""
        query = {
            "watch": "true",
            "allowWatchBookmarks": "true",
            "labelSelector": selector,
            "resourceVersion": version,
            "timeoutSeconds": str(seconds),
        }
        return self.stream(path, query, SILENCE_SECONDS)

    def stream(self, path: str, query: Mapping[str, str], silence_seconds: float | None) -> Stream:
        """An answer that comes bit by bit; after so much silence it counts as broken."""
        timeout = urllib3.Timeout(connect=self._seconds, read=silence_seconds)
        response = self._send("GET", path, query, timeout=timeout)
        if response.status == 200:
            return Stream(response)
        raise _refused(response)

    def apply(self, path: str, manifest: Object, *, force: bool) -> Object:
        """Server-side apply. With ``force`` we take over what other writers changed."""
        query = {"fieldManager": self.writer, "force": str(force).lower(), "fieldValidation": "Strict"}
        return self._json("PATCH", path, query, orjson.dumps(manifest), "application/apply-patch+yaml")

    def try_to_create(self, path: str, manifest: Object) -> None:
        """Raise ``Refusal`` where such an object, under another name, would not be accepted. Nothing is
        created."""
        metadata = {**manifest["metadata"], "name": f"{manifest['metadata']['name']}-try"}
        query = {"dryRun": "All", "fieldValidation": "Strict"}
        self._json("POST", path, query, orjson.dumps({**manifest, "metadata": metadata}), "application/json")

    def delete(self, path: str, uid: str, *, propagation: str) -> Object:
        """Delete this very object. Answers the object where it stays until its dependants or its
        finalizers have gone, else a ``Status``."""
        options = {"propagationPolicy": propagation, "preconditions": {"uid": uid}}
        return self._json("DELETE", path, {}, orjson.dumps(options), "application/json")

    def close(self) -> None:
        self._client.close()

    # --- Inside -----------------------------------------------------------------------------------

    def _json(
        self, method: str, path: str, query: Mapping[str, str], body: bytes = b"", content_type: str = ""
    ) -> Object:
        with _as_no_answer():
            answer: Object = orjson.loads(self._bytes(method, path, query, body, content_type))
        return answer

    def _bytes(
        self, method: str, path: str, query: Mapping[str, str], body: bytes = b"", content_type: str = ""
    ) -> bytes:
        response = self._send(method, path, query, body, content_type)
        if not 200 <= response.status < 300:
            raise _refused(response)
        with _as_no_answer():
            return response.read()

    def _send(
        self,
        method: str,
        path: str,
        query: Mapping[str, str],
        body: bytes = b"",
        content_type: str = "",
        timeout: urllib3.Timeout | None = None,
    ) -> urllib3.BaseHTTPResponse:
        headers = {"Accept": "application/json", "User-Agent": self._client.user_agent}
        if content_type:
            headers["Content-Type"] = content_type
        with _as_no_answer():
            self._client.update_params_for_auth(headers, [], ["BearerToken"], path, method, body)
            return self._client.rest_client.pool_manager.request(
                method,
                f"{self._client.configuration.host}{path}{'?' if query else ''}{urlencode(query)}",
                body=body or None,
                headers=headers,
                timeout=timeout or urllib3.Timeout(total=self._seconds),
                preload_content=False,
            )


def _refused(response: urllib3.BaseHTTPResponse) -> Refusal:
    with _as_no_answer():
        body = response.read()
    return refusal(response.status, body, response.headers)


@contextmanager
def _as_no_answer() -> Iterator[None]:
    """Whatever breaks on the way is no answer: it says nothing about what there is."""
    try:
        yield
    except (urllib3.exceptions.HTTPError, ApiException, OSError, ValueError) as error:
        log.debug("No answer", exc_info=True)
        cause = getattr(error, "reason", None)
        what = type(cause if isinstance(cause, BaseException) else error).__name__
        raise DriverError(f"The cluster does not answer ({what}).", reason=NO_ANSWER) from error


def _load_what_is_there(configuration: Configuration) -> None:
    try:
        config.load_incluster_config(client_configuration=configuration)
    except ConfigException:
        config.load_kube_config(client_configuration=configuration)


def _load_kubeconfig(configuration: Configuration, kubeconfig: str, context: str) -> None:
    config.load_kube_config(
        config_file=kubeconfig or None, context=context or None, client_configuration=configuration
    )
