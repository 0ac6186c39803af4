"""One HTTP POST with JSON that ends by its deadline, whatever the server does.

Not urllib: its time-out is for each read, so that a server which sends a byte now and then is
never given up, and it repeats the key to whatever address a server redirects to.
"""

from __future__ import annotations

import http.client
import re
import ssl
import threading
import time
from contextlib import closing, suppress
from socket import SHUT_RDWR
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import urlsplit

from pizero_ros.errors import PlannerError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from socket import socket

LARGEST_BYTES = 1 << 20
"""An answer is a few hundred bytes."""

_LOOPBACK = re.compile(r'localhost|127(\.[0-9]+){3}|::1')


class Endpoint(NamedTuple):
    """Where requests go."""

    secure: bool
    host: str
    port: int | None
    path: str

    @property
    def on_this_machine(self) -> bool:
        """Whether nothing leaves the machine."""
        return _LOOPBACK.fullmatch(self.host) is not None


class Response(NamedTuple):
    """What a server answered: status, ``Retry-After`` as it came, body."""

    status: int
    retry_after: str
    body: bytes


class PostFault(Exception):
    """A request without a response."""


class PostTimedOut(PostFault):
    """There was none in time."""


class PostRefused(PostFault):
    """There will be none: a certificate that cannot be trusted, or the client is closed."""


def parse_endpoint(url: str, ending: str, where: str, key: str) -> Endpoint:
    """Read the address of an API.

    Args:
        url: As ``http://localhost:8000/v1``, with or without ``ending``.
        ending: Path of the resource in the API, as ``/chat/completions``.
        where: For errors, where the address is written down.
        key: For errors, its key there.

    Raises:
        PlannerError: It is none.
    """
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        parts, host, port = urlsplit(''), None, None
    plain = not (parts.username or parts.password or parts.query or parts.fragment)
    if parts.scheme not in ('http', 'https') or not host or not plain or not url.isascii():
        # Not shown if it may hold a secret.
        found = repr(url) if '@' not in url and '?' not in url else 'another kind of address'
        raise PlannerError.at(
            where,
            key,
            found=found,
            expected='an address such as http://localhost:8000/v1, without user, key or query',
            remedy='The key goes into an environment variable.',
        )
    path = parts.path.rstrip('/')
    return Endpoint(parts.scheme == 'https', host, port, path.removesuffix(ending) + ending)


class Poster:
    """Posts to one address; ``close`` may be called from any thread."""

    def __init__(self, endpoint: Endpoint, headers: Mapping[str, str]) -> None:
        """Connect to nothing yet.

        Args:
            endpoint: Where to.
            headers: Sent with each request; never logged.
        """
        self._endpoint = endpoint
        self._headers = dict(headers)
        self._context = ssl.create_default_context() if endpoint.secure else None
        self._lock = threading.Lock()
        self._socket: socket | None = None
        self._closed = False

    def post(self, body: bytes, timeout_s: float) -> Response:
        """Send a body and return the response.

        Args:
            body: JSON.
            timeout_s: For all of it: connecting, sending, waiting and reading.

        Raises:
            PostTimedOut: It took longer.
            PostRefused: It makes no sense to try again.
            PostFault: The connection failed, or what came is no HTTP, or too much.
        """
        deadline_s = time.monotonic() + timeout_s
        watchdog = threading.Timer(timeout_s, self._cut)
        watchdog.daemon = True
        watchdog.start()
        try:
            with closing(self._connection(timeout_s)) as connection:
                response = self._exchange(connection, body)
        except ssl.SSLCertVerificationError as error:
            msg = f'the certificate of {self._endpoint.host}: {error.verify_message}'
            raise PostRefused(msg) from None
        except (OSError, http.client.HTTPException) as error:
            self._refuse_if_closed()
            if isinstance(error, TimeoutError) or time.monotonic() >= deadline_s:
                raise PostTimedOut(f'no answer in {timeout_s:.1f} s') from None
            reason = str(error) or type(error).__name__
            raise PostFault(reason) from None
        finally:
            watchdog.cancel()
            self._socket = None
        self._refuse_if_closed()
        # A connection that was cut while its body was read looks like the end of the body.
        if time.monotonic() >= deadline_s:
            raise PostTimedOut(f'no answer in {timeout_s:.1f} s')
        if len(response.body) > LARGEST_BYTES:
            msg = f'more than {LARGEST_BYTES} bytes'
            raise PostFault(msg)
        return response

    def close(self) -> None:
        """End a request that is under way, and refuse further ones."""
        self._closed = True
        self._cut()

    def _connection(self, timeout_s: float) -> http.client.HTTPConnection:
        host, port = self._endpoint.host, self._endpoint.port
        if self._context is None:
            return http.client.HTTPConnection(host, port, timeout=timeout_s)
        return http.client.HTTPSConnection(host, port, timeout=timeout_s, context=self._context)

    def _exchange(self, connection: http.client.HTTPConnection, body: bytes) -> Response:
        connection.connect()
        with self._lock:
            # Kept here: the connection forgets its socket when the response has begun.
            self._socket = connection.sock
        self._refuse_if_closed()
        connection.request('POST', self._endpoint.path, body, self._headers)
        with connection.getresponse() as response:
            after = response.getheader('Retry-After', '')
            content = response.read(LARGEST_BYTES + 1)
            if response.length and len(content) <= LARGEST_BYTES:
                raise http.client.IncompleteRead(content, response.length)
            return Response(response.status, after, content)

    def _cut(self) -> None:
        with self._lock:
            if self._socket is not None:
                with suppress(OSError):
                    self._socket.shutdown(SHUT_RDWR)

    def _refuse_if_closed(self) -> None:
        if self._closed:
            msg = 'the planner is ending'
            raise PostRefused(msg)
