"""A chat endpoint as OpenAI's: retries with back-off, a budget of requests, a key never shown."""

from __future__ import annotations

import json
import random
import threading
import time
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from pizero_ros.errors import PlannerError
from pizero_ros.planner.http_post import Poster, PostFault, PostRefused, PostTimedOut

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pizero_ros.planner.http_post import Endpoint, Response

ResponseFormat = Literal['json_schema', 'json_object', 'none']

RETRIED = frozenset({408, 425, 429, 500, 502, 503, 504})
"""What may pass; every other error status says that the request itself is wrong."""

FIRST_PAUSE_S = 0.5
LONGEST_PAUSE_S = 8.0
_SHOWN = 200


class Unanswered(PlannerError):
    """A question without a usable answer.

    Attributes:
        permanent: Whether asking again makes no sense.
    """

    def __init__(self, reason: str, *, permanent: bool = False) -> None:
        """Say why."""
        super().__init__(reason)
        self.permanent = permanent


@dataclass(frozen=True)
class ChatSettings:
    """How an endpoint is asked.

    Attributes:
        model: Its name there.
        timeout_s: For one request [s].
        patience_s: For one question with all its retries [s].
        attempts: Requests for one question, at most.
        budget: Requests for one instruction, at most.
        response_format: How the endpoint is told the form of the answer.
        options: Further fields of the request, such as ``temperature``.
    """

    model: str
    timeout_s: float
    patience_s: float
    attempts: int
    budget: int
    response_format: ResponseFormat
    options: Mapping[str, Any]


class ChatClient:
    """Asks one model; ``ask`` is for one thread, ``counts`` and ``close`` for any."""

    def __init__(self, endpoint: Endpoint, settings: ChatSettings, key: str = '') -> None:
        """Send nothing yet.

        Args:
            endpoint: Where it is.
            settings: How it is asked.
            key: Its key; empty: none is sent.
        """
        headers = {'Content-Type': 'application/json', 'Accept': 'application/json'}
        if key:
            headers['Authorization'] = f'Bearer {key}'
        self._poster = Poster(endpoint, headers)
        self._settings = settings
        self._key = key
        self._spent = 0
        self._closed = threading.Event()
        self._counts: Counter[str] = Counter()
        self._lock = threading.Lock()

    def renew_budget(self) -> None:
        """Begin another instruction."""
        self._spent = 0

    def ask(self, messages: list[dict[str, Any]], name: str, schema: Mapping[str, Any]) -> str:
        """Return the text of the model's answer.

        Args:
            messages: Of the chat.
            name: Of the schema.
            schema: JSON schema that the text has to fulfil, which the caller checks.

        Raises:
            Unanswered: There is none.
        """
        body = json.dumps(self._request(messages, name, schema)).encode()
        deadline_s = time.monotonic() + self._settings.patience_s
        response = self._respond(body, deadline_s)
        return self._text(response.body)

    def count(self, event: str) -> None:
        """Count what happened."""
        with self._lock:
            self._counts[event] += 1

    def counts(self) -> dict[str, int]:
        """Return event → how often."""
        with self._lock:
            return dict(self._counts)

    def close(self) -> None:
        """End a question that is under way."""
        self._closed.set()
        self._poster.close()

    def _request(
        self, messages: list[dict[str, Any]], name: str, schema: Mapping[str, Any]
    ) -> dict[str, Any]:
        request = {**self._settings.options, 'model': self._settings.model, 'messages': messages}
        if self._settings.response_format == 'json_schema':
            named = {'name': name, 'strict': True, 'schema': schema}
            request['response_format'] = {'type': 'json_schema', 'json_schema': named}
        elif self._settings.response_format == 'json_object':
            request['response_format'] = {'type': 'json_object'}
        return request

    def _respond(self, body: bytes, deadline_s: float) -> Response:
        """Return the first good response, after as many attempts as there may be."""
        reason, attempts = '', 0
        while True:
            left_s = deadline_s - time.monotonic()
            if attempts == self._settings.attempts or left_s <= 0.0:
                raise Unanswered(f'{reason} ({attempts} requests)')
            if self._spent >= self._settings.budget:
                self.count('questions beyond the budget')
                msg = (
                    f'the budget of {self._settings.budget} requests for one instruction is spent'
                )
                raise Unanswered(msg, permanent=True)
            self._spent += 1
            attempts += 1
            self.count('requests' if attempts == 1 else 'retries')
            pause_s = 0.0
            try:
                response = self._poster.post(body, min(self._settings.timeout_s, left_s))
                if response.status == 200:
                    return response
                reason = self._refused(response)
                pause_s = _asked_pause(response.retry_after)
            except PostTimedOut as error:
                self.count('time-outs')
                reason = str(error)
            except PostRefused as error:
                raise Unanswered(self._safe(str(error)), permanent=True) from None
            except PostFault as error:
                self.count('failed connections')
                reason = self._safe(str(error))
            self._pause(attempts, pause_s, deadline_s)

    def _refused(self, response: Response) -> str:
        """Return what a status other than 200 says that may pass.

        Raises:
            Unanswered: It says that trying again makes no sense.
        """
        self.count(f'HTTP {response.status}')
        said = self._safe(response.body[: 4 * _SHOWN].decode('utf-8', 'replace'))
        reason = f'HTTP {response.status}: {said}' if said else f'HTTP {response.status}'
        if response.status not in RETRIED:
            raise Unanswered(reason, permanent=True)
        return reason

    def _pause(self, attempts: int, asked_s: float, deadline_s: float) -> None:
        """Wait before the next attempt: twice as long each time, and not in step with others."""
        pause_s = min(FIRST_PAUSE_S * 2 ** (attempts - 1), LONGEST_PAUSE_S)
        pause_s = max(pause_s * random.uniform(0.5, 1.0), asked_s)
        if attempts < self._settings.attempts:
            self._closed.wait(min(pause_s, max(deadline_s - time.monotonic(), 0.0)))

    def _text(self, body: bytes) -> str:
        try:
            (choice,) = json.loads(body)['choices']
            finish, message = choice.get('finish_reason'), choice['message']
            text = message['content']
            if finish not in (None, 'stop') or message.get('refusal') or type(text) is not str:
                found = f'finish_reason {finish!r}, content of type {type(text).__name__}'
                raise self.malformed(found)
        except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
            raise self.malformed(body[: 4 * _SHOWN].decode('utf-8', 'replace')) from None
        return text

    def malformed(self, found: str) -> Unanswered:
        """Count an answer that is not what was asked for, and return the error that says so."""
        self.count('malformed answers refused')
        return Unanswered(f'a malformed answer: {self._safe(found)}')

    def _safe(self, text: str) -> str:
        """Shorten what a server said, without the key: some repeat it."""
        shown = ' '.join(text.split())
        if self._key:
            shown = shown.replace(self._key, '(the key)')
        return shown if len(shown) <= _SHOWN else f'{shown[:_SHOWN]}…'


def _asked_pause(retry_after: str) -> float:
    """Return the seconds that a server asks for; dates are left to our own back-off."""
    return float(retry_after) if retry_after.isascii() and retry_after.isdecimal() else 0.0
