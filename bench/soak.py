"""Ask a server at random for as long as wanted, cancel at random, and see that nothing is lost.

    python bench/soak.py --minutes 20

Workers ask in several dialects: streams and whole answers, shared and new prompts, several answers at once, vectors;
many leave in the middle, some do not read. The cache has few pages, so that sequences also give way and pages are
evicted. Prints memory, pages and the lateness of the server's event loop now and then. Exit code 1: a request failed,
memory grew, or a page was lost. Units: MB, seconds.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import load_client
import load_servers
import race_runs

GROWTH_MB = 16.0  # from the first quarter to the last: fragments, caches of texts
WORDS = "the dog and the girl went to the big garden to see a red bird that could sing about the sun".split()
PLACES = ("--parallel", "2", "--ctx-size", "512", "--queue-size", "64", "--write-timeout", "30", "--metrics")


@dataclass
class Found:
    """What happened so far."""

    asked: Counter[str] = field(default_factory=Counter)
    failures: list[str] = field(default_factory=list)
    memory: list[float] = field(default_factory=list)

    def check(self, reply: httpx.Response, what: str) -> None:
        """Note a reply; a full queue is an answer too."""
        self.asked[f"{what} {reply.status_code}"] += 1
        if reply.status_code not in (200, 503):
            self.failures.append(f"{what}: {reply.status_code}")


class Asker:
    """One client that asks at random."""

    def __init__(self, client: httpx.AsyncClient, port: int, seed: int, found: Found) -> None:
        self.client = client
        self.port = port
        self.draw = random.Random(seed)
        self.found = found
        self.kinds: list[Callable[[], Any]] = [self.stream, self.stream, self.whole, self.several, self.vectors]
        self.kinds += [self.stream_messages, self.leave_unread]

    async def run(self, end: float) -> None:
        """Ask until then."""
        while time.monotonic() < end:
            await self.draw.choice(self.kinds)()

    def text(self) -> str:
        """A prompt: half of them begin alike."""
        start = "Once upon a time there was a little girl who " * 4 if self.draw.random() < 0.5 else ""
        return start + " ".join(self.draw.choices(WORDS, k=self.draw.randrange(1, 120)))

    def body(self, **more: Any) -> dict[str, Any]:
        """A request with a random length."""
        return {"max_tokens": self.draw.randrange(1, 120), "seed": self.draw.randrange(9), **more}

    async def events(self, path: str, body: dict[str, Any]) -> None:
        """Read a stream, or a part of it."""
        leave = self.draw.randrange(1, 60) if self.draw.random() < 0.5 else -1
        async with self.client.stream("POST", path, json={**body, "stream": True}) as reply:
            self.found.check(reply, path)
            seen = 0
            async for line in reply.aiter_lines():
                seen += line.startswith("data: ")
                if seen == leave:
                    self.found.asked["left in the middle"] += 1
                    return

    async def stream(self) -> None:
        """A streamed chat."""
        body = self.body(messages=[{"role": "user", "content": self.text()}], ignore_eos=self.draw.random() < 0.5)
        await self.events("/v1/chat/completions", body)

    async def stream_messages(self) -> None:
        """Anthropic's."""
        messages = [{"role": "user", "content": self.text()}]
        await self.events("/v1/messages", {"model": "default", "max_tokens": 40, "messages": messages})

    async def whole(self) -> None:
        """An answer at once."""
        reply = await self.client.post("/completion", json={"prompt": self.text(), "n_predict": 30, "n_probs": 3})
        self.found.check(reply, "/completion")

    async def several(self) -> None:
        """Several answers to one prompt, some of whose clients do not wait for them."""
        body = self.body(prompt=self.text(), n=self.draw.randrange(2, 5))
        try:
            patience = self.draw.choice((0.05, 60))
            self.found.check(await self.client.post("/v1/completions", json=body, timeout=patience), "/v1/completions")
        except httpx.TimeoutException:
            self.found.asked["did not wait"] += 1

    async def vectors(self) -> None:
        """Embeddings."""
        reply = await self.client.post("/v1/embeddings", json={"input": [self.text(), self.text()]})
        self.found.check(reply, "/v1/embeddings")

    async def leave_unread(self) -> None:
        """Ask for a long answer, read nothing for a while, and go."""
        body = {"prompt": self.text(), "n_predict": 400, "ignore_eos": True, "stream": True}
        _, writer = await asyncio.open_connection("127.0.0.1", self.port, limit=1024)
        writer.write(load_client.request_bytes("/completion", body))
        await asyncio.sleep(self.draw.random())
        writer.close()
        self.found.asked["read nothing"] += 1


def metrics(text: str) -> dict[str, float]:
    """The samples of a metrics page."""
    return {
        name: float(value) for name, _, value in (line.rpartition(" ") for line in text.splitlines() if line[0] != "#")
    }


def lag_quantile(numbers: dict[str, float], share: float) -> float:
    """The bound below which so large a share of the measured latenesses of the event loop lie."""
    head = 'pacos_event_loop_lag_seconds_bucket{le="'
    buckets = [(float(name[len(head) : -2]), count) for name, count in numbers.items() if name.startswith(head)]
    return min((bound for bound, count in buckets if count >= share * buckets[-1][1]), default=0.0)


def pages(numbers: dict[str, float]) -> dict[str, float]:
    """Pages by state, of all models."""
    return {
        state: sum(value for name, value in numbers.items() if name.startswith("pacos_pages{") and f'"{state}"' in name)
        for state in ("held", "cached", "free")
    }


def resident_mb(pid: int) -> float:
    """Memory of a process that is its own."""
    text = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    return int(text.partition("RssAnon:")[2].split()[0]) / 1e3


async def watch(client: httpx.AsyncClient, pid: int, end: float, interval: float, found: Found) -> None:
    """Print how the server does, now and then."""
    while time.monotonic() < end:
        await asyncio.sleep(min(interval, max(0.1, end - time.monotonic())))
        numbers = metrics((await client.get("/metrics")).text)
        found.memory.append(resident_mb(pid))
        lag = lag_quantile(numbers, 0.99)
        print(
            f"{found.memory[-1]:.1f} MB, pages {pages(numbers)}, lag p99 <= {lag:g} s, {found.asked.total()} requests"
        )
        sys.stdout.flush()


async def settled(client: httpx.AsyncClient, seconds: float) -> dict[str, float]:
    """The server's numbers, once nothing runs or waits."""
    end = time.monotonic() + seconds
    while True:
        numbers = metrics((await client.get("/metrics")).text)
        going = sum(value for name, value in numbers.items() if name.startswith("pacos_sequences_"))
        if not going or time.monotonic() > end:
            return numbers
        await asyncio.sleep(0.1)


def verdict(found: Found, before: dict[str, float], after: dict[str, float]) -> list[str]:
    """What is wrong, in words."""
    wrong = [f"{len(found.failures)} failures, first {found.failures[:3]}"] if found.failures else []
    if after["held"] or sum(after.values()) != sum(before.values()):
        wrong.append(f"pages were {before} and are {after}")
    quarter = max(1, len(found.memory) // 4)
    early, late = found.memory[quarter : 2 * quarter] or found.memory[:1], found.memory[-quarter:]
    growth = sum(late) / len(late) - sum(early) / len(early)
    print(f"memory: {min(early):.1f} MB in the second quarter, {max(late):.1f} in the last, {growth:+.1f} on average")
    return [*wrong, f"memory grew by {growth:.1f} MB"] if growth > GROWTH_MB else wrong


async def soak(port: int, pid: int, options: argparse.Namespace) -> list[str]:
    """Run the askers to the end. What is wrong, in words."""
    found = Found()
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=8)
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=120, limits=limits) as client:
        before = pages(await settled(client, 60))
        end = time.monotonic() + 60 * options.minutes
        askers = [Asker(client, port, options.seed + number, found) for number in range(options.askers)]
        watching = watch(client, pid, end, options.interval, found)
        await asyncio.gather(watching, *(asker.run(end) for asker in askers))
        numbers = await settled(client, 60)
    print(json.dumps(dict(found.asked)))
    print("preemptions", numbers['pacos_engine_preemptions_total{model="storyteller"}'])
    return verdict(found, before, pages(numbers))


def main() -> None:
    """Parse, start a server, soak it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=20)
    parser.add_argument("--askers", type=int, default=16)
    parser.add_argument("--interval", type=float, default=30, metavar="SECONDS", help="between lines of output")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    port = load_servers.free_port()
    command = race_runs.pacos("serve", "storyteller", "--port", str(port), "-t", "2", "--no-log-requests", *PLACES)
    with load_servers.running(command, port) as process:
        wrong = asyncio.run(soak(port, process.pid, options))
    for line in wrong:
        print(f"WRONG: {line}", file=sys.stderr)
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
