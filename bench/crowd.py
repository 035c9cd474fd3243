"""How late the event loop of a server is while 1000 connections are idle, 16 sequences run and 128 wait.

    python bench/crowd.py --seconds 20

The server measures itself, ten times a second: how much later than asked a timer fires. All 144 requests come at once,
again and again, once the idle connections are there. Prints the bound of the 99 % quantile, how many sequences ran and
waited at most; exits with 1 when it is above --limit.
Units: seconds.
"""

from __future__ import annotations

import argparse
import socket
import sys
import threading
import time
import urllib.request

import load
import load_client
import load_servers
import race_runs
import soak

IDLE, RUNNING, WAITING = 1000, 16, 128
PROMPT, ANSWER = 32, 200
# Pages for sixteen sequences of the length that is asked for.
PLACES = ("--parallel", str(RUNNING), "--ctx-size", "256", "--queue-size", "256", "--metrics", "--idle-timeout", "600")


def numbers(port: int) -> dict[str, float]:
    """The server's metrics now."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=60) as reply:
        return soak.metrics(reply.read().decode())


def crowd(port: int, seconds: float) -> tuple[float, float, float]:
    """Lateness, and the most that ran and waited."""
    idle = [socket.create_connection(("127.0.0.1", port)) for _ in range(IDLE)]
    before = numbers(port)
    ran = waited = 0.0
    end, turn = time.monotonic() + seconds, 0
    case = load.Case("storyteller", RUNNING + WAITING, "unshared", PROMPT, ANSWER)
    while time.monotonic() < end:
        streams = threading.Thread(target=load_client.run, args=(port, load.bodies(case, turn, 2048), 300))
        streams.start()
        while streams.is_alive():
            streams.join(0.5)
            found = numbers(port)
            ran = max(ran, found['pacos_sequences_running{model="storyteller"}'])
            waited = max(waited, found['pacos_sequences_waiting{model="storyteller"}'])
        turn += 1
    for connection in idle:
        connection.close()
    since = {name: value - before.get(name, 0.0) for name, value in numbers(port).items()}
    return soak.lag_quantile(since, 0.99), ran, waited


def main() -> None:
    """Parse, crowd a server, tell."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("--limit", type=float, default=0.05)
    options = parser.parse_args()
    port = load_servers.free_port()
    command = race_runs.pacos("serve", "storyteller", "--port", str(port), "-t", "2", "--no-log-requests", *PLACES)
    with load_servers.running(command, port):
        lag, ran, waited = crowd(port, options.seconds)
    print(f"event loop: 99 % at most {lag:g} s late; {ran:.0f} ran and {waited:.0f} waited at most, {IDLE} idle")
    sys.exit(lag > options.limit)


if __name__ == "__main__":
    main()
