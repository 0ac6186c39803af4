"""The faults of the simulated robot as a parameter, a service and a diagnosis."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rcl_interfaces.msg import SetParametersResult
from rclpy.parameter import Parameter
from std_srvs.srv import Trigger

from pizero_ros.errors import PizeroError
from pizero_ros.sim.faults import parse_fault

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from rclpy.node import Node

    from pizero_ros.sim.faults import Fault, RobotFaults

NONE = ['']
"""Value of the parameter without faults: an empty list has no type in rclpy."""


class FaultControls:
    """Lets faults come and go while the node runs.

    The parameter ``faults`` replaces all of them; ``~/clear_faults`` ends them. Both take effect
    at once or, if one text is wrong, not at all.
    """

    def __init__(
        self,
        node: Node,
        faults: RobotFaults,
        *,
        changed: Callable[[], int],
        report: Callable[[], None],
    ) -> None:
        """Take over the parameter ``faults``, which is declared already.

        Args:
            node: Owner of parameter and service.
            faults: What the sensors and controllers look at.
            changed: Called after each change; returns the time stamp from which it holds, ns.
            report: Called after that, to publish ``diagnosis``.
        """
        self._node = node
        self._faults = faults
        self._changed = changed
        self._report = report
        self._since_ns: dict[Fault, int] = {}
        self._note()
        node.add_on_set_parameters_callback(self._on_parameters)
        node.create_service(Trigger, '~/clear_faults', self._on_clear)

    def diagnosis(self) -> dict[str, str]:
        """Return fault → since when, in seconds."""
        return {
            str(fault): f'since {since_ns // 1_000_000_000}.{since_ns % 1_000_000_000:09d}'
            for fault, since_ns in self._since_ns.items()
        }

    def _on_parameters(self, parameters: Sequence[Parameter]) -> SetParametersResult:
        for parameter in parameters:
            if parameter.name != 'faults':
                continue
            try:
                self._faults.replace(parse_fault(text) for text in parameter.value or () if text)
            except PizeroError as error:
                return SetParametersResult(successful=False, reason=str(error))
            self._note()
            self._report()
        return SetParametersResult(successful=True)

    def _on_clear(self, _: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        ended = ', '.join(map(str, self._faults.faults))
        self._node.set_parameters([Parameter('faults', value=NONE)])
        response.success = True
        response.message = f'ended: {ended}' if ended else 'there were none'
        return response

    def _note(self) -> None:
        stamp_ns = self._changed()
        present = self._faults.faults
        for fault in present:
            if fault not in self._since_ns:
                self._node.get_logger().warning(f'fault: {fault}')
        for fault in self._since_ns.keys() - set(present):
            self._node.get_logger().info(f'fault ended: {fault}')
        self._since_ns = {fault: self._since_ns.get(fault, stamp_ns) for fault in present}
