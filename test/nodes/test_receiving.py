"""A thread that receives beside the executor: real messages, errors, and its end."""

import threading

import pytest

pytest.importorskip('rclpy', reason='no ROS 2')

import rclpy
from rclpy.context import Context
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from std_msgs.msg import String

from pizero_ros.demo.installation import free_domain
from pizero_ros.nodes.receiving import Receiver


class Listener:
    """A node whose subscriptions a receiver serves, and publishers for them."""

    def __init__(self, callback):
        self.context = Context()
        rclpy.init(context=self.context, domain_id=free_domain())
        self.node = Node('listener', context=self.context)
        self.receiver = Receiver(self.node)
        self.publishers = [self.node.create_publisher(String, name, 10) for name in 'ab']
        self.subscriptions = [
            self.node.create_subscription(
                String, name, callback, 10, callback_group=self.receiver.group
            )
            for name in 'ab'
        ]
        self.receiver.start(self.subscriptions)

    def say(self, topic, text):
        publisher = self.publishers['ab'.index(topic)]
        while not publisher.get_subscription_count():
            pass
        publisher.publish(String(data=text))

    def spin(self):
        executor = SingleThreadedExecutor(context=self.context)
        executor.add_node(self.node)
        try:
            for _ in range(20):
                executor.spin_once(timeout_sec=0.5)
        finally:
            executor.shutdown()


def alive():
    return [t for t in threading.enumerate() if t.name == 'pizero_receiver']


@pytest.fixture
def listen():
    made = []

    def listening(callback):
        made.append(Listener(callback))
        return made[-1]

    yield listening
    for each in made:
        each.receiver.close()
        each.node.destroy_node()
        rclpy.try_shutdown(context=each.context)
    assert not alive()


def test_messages_arrive_without_an_executor_in_one_other_thread(listen):
    heard, threads, enough = [], set(), threading.Event()

    def callback(message):
        heard.append(message.data)
        threads.add(threading.current_thread().name)
        if len(heard) == 20:
            enough.set()

    listener = listen(callback)
    for k in range(10):
        listener.say('a', f'a{k}')
        listener.say('b', f'b{k}')
    assert enough.wait(20)
    assert [text for text in heard if text[0] == 'a'] == [f'a{k}' for k in range(10)]
    assert [text for text in heard if text[0] == 'b'] == [f'b{k}' for k in range(10)]
    assert threads == {'pizero_receiver'}


def test_executor_leaves_the_messages_to_the_receiver(listen):
    threads, enough = [], threading.Event()

    def callback(message):
        threads.append(threading.current_thread().name)
        enough.set()

    listener = listen(callback)
    listener.receiver.close()
    listener.say('a', 'nobody takes this')
    listener.node.create_timer(0.01, lambda: None)
    listener.spin()
    assert not enough.is_set()
    assert threads == []


def test_what_a_callback_raises_the_executor_raises(listen):
    def callback(message):
        raise ZeroDivisionError(message.data)

    listener = listen(callback)
    listener.say('a', 'no such number')
    with pytest.raises(ZeroDivisionError, match='no such number'):
        listener.spin()


def test_nothing_is_heard_after_the_end_and_a_second_end_is_none(listen):
    heard, first = [], threading.Event()

    def callback(message):
        heard.append(message.data)
        first.set()

    listener = listen(callback)
    listener.say('a', 'one')
    assert first.wait(20)
    listener.receiver.close()
    listener.receiver.close()
    assert not alive()
    listener.say('a', 'two')
    assert heard == ['one']


def test_thread_ends_with_its_context(listen):
    listener = listen(lambda message: None)
    assert alive()
    rclpy.shutdown(context=listener.context)
    assert not alive()
