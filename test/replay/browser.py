"""A headless Chromium that tests drive: its DevTools protocol over pipes, no other software."""

from __future__ import annotations

import json
import os
import select
import shutil
import subprocess
import sys
import time

CHROMIUM = next(filter(None, map(shutil.which, ('chromium', 'chromium-browser'))), None)
DEADLINE_S = 60.0

_LAUNCH = """
import fcntl, os, sys
ends = [fcntl.fcntl(int(end), fcntl.F_DUPFD, 10) for end in sys.argv[1:3]]
os.dup2(ends[0], 3)
os.dup2(ends[1], 4)
os.execvp(sys.argv[3], sys.argv[3:])
"""


class Browser:
    """One browser with one page; a context manager."""

    def __init__(self, profile):
        # The browser reads commands from descriptor 3 and writes answers to 4, each ended by a 0.
        theirs_in, self._to = os.pipe()
        self._from, theirs_out = os.pipe()
        command = [CHROMIUM, '--headless=new', '--no-sandbox', '--remote-debugging-pipe']
        command += [f'--user-data-dir={profile}', '--disable-gpu', '--no-first-run']
        command += ['--disable-dev-shm-usage', '--window-size=1300,1000', 'about:blank']
        self._process = subprocess.Popen(
            [sys.executable, '-c', _LAUNCH, str(theirs_in), str(theirs_out), *command],
            pass_fds=(theirs_in, theirs_out),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(theirs_in)
        os.close(theirs_out)
        self._unread = b''
        self._number = 0
        self._session = None
        self.events = []

    def __enter__(self):
        try:
            pages = self.call('Target.getTargets')['targetInfos']
            target = next(each['targetId'] for each in pages if each['type'] == 'page')
            attached = self.call('Target.attachToTarget', targetId=target, flatten=True)
            self._session = attached['sessionId']
            for domain in ('Page', 'Runtime', 'Log', 'Network'):
                self.call(f'{domain}.enable')
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        os.close(self._to)
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        os.close(self._from)

    def call(self, method, **parameters):
        """Send a command and return its result; events that come meanwhile are kept."""
        self._number += 1
        number = self._number
        message = {'id': number, 'method': method, 'params': parameters}
        if self._session:
            message['sessionId'] = self._session
        os.write(self._to, json.dumps(message).encode() + b'\0')
        answer = self._until(lambda each: each.get('id') == number)
        assert 'error' not in answer, answer
        return answer['result']

    def open(self, url):
        """Load a page and forget what happened before."""
        self.events.clear()
        self.call('Page.navigate', url=url)
        if not self.happened('Page.loadEventFired'):
            self._until(lambda each: each.get('method') == 'Page.loadEventFired')

    def evaluate(self, expression):
        """Return the value of a JavaScript expression."""
        answer = self.call('Runtime.evaluate', expression=expression, returnByValue=True)
        assert 'exceptionDetails' not in answer, answer
        return answer['result'].get('value')

    def click(self, selector):
        """Click with the mouse on the middle of an element."""
        where = self.evaluate(
            f"""(() => {{
              const element = document.querySelector({json.dumps(selector)});
              element.scrollIntoView({{block: 'center', inline: 'center'}});
              const box = element.getBoundingClientRect();
              return [box.x + box.width / 2, box.y + box.height / 2];
            }})()"""
        )
        for kind in ('mousePressed', 'mouseReleased'):
            self.call(
                'Input.dispatchMouseEvent',
                type=kind,
                x=where[0],
                y=where[1],
                button='left',
                clickCount=1,
            )

    def press_enter(self):
        """Press and release the Enter key on whatever has the focus."""
        key = {'key': 'Enter', 'code': 'Enter', 'windowsVirtualKeyCode': 13}
        self.call('Input.dispatchKeyEvent', type='keyDown', text='\r', **key)
        self.call('Input.dispatchKeyEvent', type='keyUp', **key)

    def happened(self, *methods):
        """Return the parameters of the events of some kinds since the page was opened."""
        return [each['params'] for each in self.events if each['method'] in methods]

    def _until(self, wanted):
        deadline = time.monotonic() + DEADLINE_S
        while True:
            while b'\0' in self._unread:
                text, self._unread = self._unread.split(b'\0', 1)
                message = json.loads(text)
                if 'method' in message:
                    self.events.append(message)
                if wanted(message):
                    return message
            ready, _, _ = select.select([self._from], [], [], deadline - time.monotonic())
            assert ready, 'the browser does not answer'
            received = os.read(self._from, 1 << 20)
            assert received, 'the browser has ended'
            self._unread += received
