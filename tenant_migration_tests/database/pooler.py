"""A relay before a real server that refuses connection options, as PgBouncer does by default.

Everything after the startup message is passed on untouched; only that message is looked at.
"""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
from collections.abc import Iterator
from pathlib import Path

_STARTUP_PROTOCOL = 196608
_REFUSAL = b"SFATAL\0C08P01\0Munsupported startup parameter: options\0\0"


@contextlib.contextmanager
def optionless_pooler(server_socket_folder: Path) -> Iterator[int]:
    """Yield the TCP port on 127.0.0.1 where the relay listens."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=_serve, args=(listener, server_socket_folder), daemon=True).start()
        yield listener.getsockname()[1]


def _serve(listener: socket.socket, server_socket_folder: Path) -> None:
    while True:
        try:
            client, _ = listener.accept()
        except OSError:
            return  # the listener was closed
        threading.Thread(target=_relay, args=(client, server_socket_folder), daemon=True).start()


def _relay(client: socket.socket, server_socket_folder: Path) -> None:
    with client:
        header = _read(client, 8)
        length, protocol = struct.unpack("!ii", header)
        body = _read(client, length - 8)
        if protocol >= _STARTUP_PROTOCOL and protocol >> 16 == 3 and b"options\0" in body:
            client.sendall(b"E" + struct.pack("!i", 4 + len(_REFUSAL)) + _REFUSAL)
            return
        with socket.socket(socket.AF_UNIX) as server:
            server.connect(str(server_socket_folder / ".s.PGSQL.5432"))
            server.sendall(header + body)
            back = threading.Thread(target=_copy, args=(server, client), daemon=True)
            back.start()
            _copy(client, server)
            back.join()


def _copy(source: socket.socket, target: socket.socket) -> None:
    with contextlib.suppress(OSError):  # one side hung up
        while data := source.recv(65536):
            target.sendall(data)
    with contextlib.suppress(OSError):
        target.shutdown(socket.SHUT_WR)


def _read(source: socket.socket, length: int) -> bytes:
    data = b""
    while len(data) < length:
        part = source.recv(length - len(data))
        if not part:
            raise ConnectionError("the client hung up during startup")
        data += part
    return data
