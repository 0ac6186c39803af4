"""Service calls that may go unanswered: asked when the service appears, collected when done."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rcl_interfaces.srv import GetParameters, ListParameters
from rclpy.parameter import parameter_value_to_python

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from rclpy.node import Node


class Call:
    """One request to one service; nothing waits for it."""

    def __init__(self, node: Node, kind: type, service: str, request: object) -> None:
        """Prepare the call; ``poll`` sends it once the service is there."""
        self._client = node.create_client(kind, service)
        self._request = request
        self._future: Any = None

    def poll(self) -> None:
        """Send the request if that is possible by now."""
        if self._future is None and self._client.service_is_ready():
            self._future = self._client.call_async(self._request)

    @property
    def response(self) -> Any:
        """The response, None while there is none."""
        done = self._future is not None and self._future.done()
        return self._future.result() if done and self._future.exception() is None else None


class Parameters:
    """Reads those parameters of a node that it has, of those that matter.

    It asks for the list first: rclcpp answers with nothing at all where one of several names is
    not declared.
    """

    def __init__(self, node: Node, target: str, wanted: Collection[str]) -> None:
        """Begin to ask the node ``target``."""
        self._node, self._target, self._wanted = node, target, wanted
        self._list = Call(
            node, ListParameters, f'{target}/list_parameters', ListParameters.Request()
        )
        self._names: list[str] | None = None
        self._get: Call | None = None

    def poll(self) -> None:
        """Go on if an answer has come."""
        self._list.poll()
        if self._names is None and self._list.response is not None:
            names = self._list.response.result.names
            self._names = sorted(set(names) & set(self._wanted))
            request = GetParameters.Request(names=self._names)
            service = f'{self._target}/get_parameters'
            self._get = Call(self._node, GetParameters, service, request)
        if self._get is not None:
            self._get.poll()

    @property
    def values(self) -> dict[str, object] | None:
        """Name → value, None while there is no answer."""
        response = self._get.response if self._get is not None else None
        if response is None or self._names is None:
            return None
        values = map(parameter_value_to_python, response.values)
        # Unequal lengths: a parameter was undeclared between the two questions.
        pairs = zip(self._names, values, strict=False)
        return {name: value for name, value in pairs if value is not None}


class Once:
    """Starts one question per node, however often it is named."""

    def __init__(self, start: Callable[[str], Parameters]) -> None:
        """Ask with ``start(node)``."""
        self._start = start
        self.asked: dict[str, Parameters] = {}

    def about(self, node: str) -> None:
        """Ask a node if nobody has."""
        if node and node not in self.asked:
            self.asked[node] = self._start(node)

    def poll(self) -> None:
        """Go on with every question."""
        for each in self.asked.values():
            each.poll()

    def values(self, node: str) -> dict[str, object] | None:
        """Return what a node answered."""
        return self.asked[node].values if node in self.asked else None
