"""Pacos from opening a file to the first token of a prompt, and what it occupies then: peer.py --first-token's twin.

Units: seconds and bytes. "anonymous_bytes" is memory of the process's own, "file_bytes" pages of mapped files.
"""

from __future__ import annotations

import argparse
import json
import resource
import time
from pathlib import Path

import pacos

STARTED = time.perf_counter()
CONTEXT_TOKENS = 4096


def resident() -> dict[str, int]:
    """Resident bytes by kind, where the system tells them."""
    path = Path("/proc/self/smaps_rollup")
    if not path.exists():
        return {}
    lines = [line.split() for line in path.read_text(encoding="ascii").splitlines()[1:]]
    sizes = {words[0].rstrip(":"): int(words[1]) * 1024 for words in lines}
    return {"anonymous_bytes": sizes["Anonymous"], "file_bytes": sizes["Rss"] - sizes["Anonymous"]}


def main() -> None:
    """Parse, open, generate one token, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model")
    parser.add_argument("-p", type=int, default=20, help="tokens of the prompt")
    parser.add_argument("-t", type=int, default=2)
    options = parser.parse_args()
    with pacos.load(options.model, threads=options.t, ctx_size=CONTEXT_TOKENS) as llm:
        llm.generate(range(3, 3 + options.p), n_predict=1, temp=0.0)
        seconds = time.perf_counter() - STARTED
        memory = resident()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    print(json.dumps({"engine": "pacos", "seconds": seconds, "peak_bytes": peak, **memory}))


if __name__ == "__main__":
    main()
