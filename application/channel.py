"""The application process's end of the two pipes to the worker."""

import os
import queue
import threading
from contextlib import suppress

from pydantic import BaseModel

from application.protocol import Stop, ToApplication, encode, to_application

_WORKER_GONE = 1  # exit status


class Channel:
    """Sends and receives messages.

    The process ends at once, in the middle of whatever it does, when the worker closes its end of
    a pipe or dies. No evaluation runs for nobody.

    Args:
        read: File descriptor of the pipe that the worker writes to.
        write: File descriptor of the pipe that the worker reads.
    """

    def __init__(self, read: int, write: int) -> None:
        for descriptor in (read, write):
            os.set_inheritable(descriptor, False)  # else a program it starts keeps the pipe open
        self._received: queue.SimpleQueue[ToApplication | Exception] = queue.SimpleQueue()
        self._stopped = threading.Event()
        self._write = open(write, "wb")  # noqa: SIM115 (until the process ends)
        self._lock = threading.Lock()
        threading.Thread(target=self._read_from, args=(read,), daemon=True).start()

    def send(self, message: BaseModel) -> None:
        """Send a message; any thread may."""
        with self._lock:
            try:
                self._write.write(encode(message))
                self._write.flush()
            except BrokenPipeError:
                os._exit(_WORKER_GONE)

    def receive(self) -> ToApplication:
        """Wait for the next message.

        Raises:
            ValueError: The worker sent something else, as one of another version may.
        """
        message = self._received.get()
        if isinstance(message, Exception):
            raise message
        return message

    def is_stopped(self) -> bool:
        """Whether ``Stop`` has arrived, even if it has not been received yet."""
        return self._stopped.is_set()

    def _read_from(self, descriptor: int) -> None:
        with suppress(OSError), open(descriptor, "rb") as lines:
            for line in lines:
                try:
                    message = to_application(line)
                except ValueError as error:
                    self._received.put(error)
                    continue
                if isinstance(message, Stop):
                    self._stopped.set()
                self._received.put(message)
        os._exit(_WORKER_GONE)
