"""Runs Dagster's services for `dev`: one child, started, waited for, stopped whole."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType

import click

from tenant_migration.cli.failures import Failure
from tenant_migration.resources import resource_path

START_TIMEOUT_S = 120
STOP_TIMEOUT_S = 30
_STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def serve(host: str, port: int, environment: dict[str, str], home: Path) -> None:
    """Run Dagster until it ends or we are told to.

    1. `dagster dev` starts the code server, the webserver and the daemon. It has a session of its own, so
       that Ctrl-C reaches us alone and it is told once: a second interrupt would end it in the middle of its
       clearing up.
    2. The address is printed when somebody answers there.
    3. At the end everything in that session is gone.
    """
    command = [
        *(sys.executable, "-W", "ignore", "-m", "dagster", "dev"),
        *("--workspace", str(resource_path("workspace.yaml"))),
        *("--host", host, "--port", str(port)),
        *("--log-level", "warning", "--code-server-log-level", "warning"),
    ]
    with _stop_signals_interrupt():
        process = subprocess.Popen(  # noqa: S603 - Dagster's own command
            command, env=environment, cwd=home, stdin=subprocess.DEVNULL, start_new_session=True
        )
        try:
            _wait_until_answered(process, host, port)
            click.echo(f"Dagster's UI: http://{_in_url(host)}:{port}    (Ctrl-C stops it)")
            code = process.wait()
        except KeyboardInterrupt:
            click.echo("Stopping.", err=True)
            _stop(process)
            return
        finally:
            _kill_session(process)
    raise Failure(f"Dagster ended by itself with exit code {code}; its reason is above")


@contextmanager
def _stop_signals_interrupt() -> Iterator[None]:
    """Make a request to end, by whatever signal, an interrupt."""

    def interrupt(_number: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = {number: signal.signal(number, interrupt) for number in _STOP_SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _wait_until_answered(process: subprocess.Popen[bytes], host: str, port: int) -> None:
    deadline = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise Failure(f"Dagster did not start (exit code {process.returncode}); its reason is above")
        try:
            socket.create_connection((_reachable(host), port), timeout=1).close()
        except OSError:
            time.sleep(0.2)
        else:
            return
    raise Failure(f"Dagster did not answer on {host}:{port} within {START_TIMEOUT_S} seconds")


def _reachable(host: str) -> str:
    return {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 - what was asked for


def _in_url(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.send_signal(signal.SIGINT)
    try:
        process.wait(timeout=STOP_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        click.echo("Dagster does not end; it is killed.", err=True)


def _kill_session(process: subprocess.Popen[bytes]) -> None:
    """End whatever is left of the session, a second Ctrl-C included."""
    with suppress(ProcessLookupError):  # all of it is gone, as it should be
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
