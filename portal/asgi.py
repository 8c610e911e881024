"""What uvicorn serves: log streams through Django's ASGI handler, everything else through its WSGI handler.

All but the streams is synchronous. Under the ASGI handler each such request hops between threads for
every middleware and opens a database connection of its own; a small pool of threads that live on
serves it at a third of the cost (docs/adr/0011).
"""

import os
from typing import Any

from a2wsgi import WSGIMiddleware
from django.conf import settings
from django.core.asgi import get_asgi_application
from django.core.wsgi import get_wsgi_application

from portal.proxies import behind_proxies

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "portal.settings")

THREADS = 4
STREAMS = ("/logs", "/log/stream")

_streams: Any = get_asgi_application()
_requests: Any = WSGIMiddleware(get_wsgi_application(), workers=THREADS)


async def _divided(scope: Any, receive: Any, send: Any) -> None:
    is_stream = scope["type"] == "http" and scope["path"].endswith(STREAMS)
    await (_streams if is_stream else _requests)(scope, receive, send)


application = behind_proxies(_divided, settings.TRUSTED_PROXIES, "https" if settings.HTTPS else "http")
