"""Streams of generated text: bytes that end inside a character, text that may be the start of a stop string."""

from __future__ import annotations

import codecs
from collections import deque
from collections.abc import Iterable

from pacos.errors import UsageError


class Utf8Stream:
    """Decode UTF-8 that comes in pieces; what is not UTF-8 becomes U+FFFD, as in bytes.decode("replace")."""

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")

    def feed(self, data: bytes) -> str:
        """Give the characters that are complete now."""
        return self._decoder.decode(data)

    def flush(self) -> str:
        """End the stream: give what an incomplete character at the end stands for."""
        text = self._decoder.decode(b"", final=True)
        self._decoder.reset()
        return text


class StopStrings:
    """Watch a stream of text for the first stop string to become complete.

    Text that may yet become part of a stop string is held back. Of stop strings that end at the same character
    the longest counts. The result does not depend on how the text is cut into pieces, and takes linear time:
    an Aho-Corasick automaton, whose state is the longest held-back suffix.
    """

    def __init__(self, stops: Iterable[str]) -> None:
        self.stops = tuple(dict.fromkeys(stops))
        if "" in self.stops:
            raise UsageError("a stop string is empty", hint="leave it out")
        self.stop: str | None = None
        self._next: list[dict[str, int]] = [{}]
        self._fail = [0]
        self._depth = [0]
        self._hit: list[str | None] = [None]
        for stop in self.stops:
            self._insert(stop)
        self._link()
        self._state = 0
        self._held = ""

    def _insert(self, stop: str) -> None:
        state = 0
        for char in stop:
            following = self._next[state].get(char)
            if following is None:
                following = len(self._next)
                self._next[state][char] = following
                self._next.append({})
                self._fail.append(0)
                self._depth.append(self._depth[state] + 1)
                self._hit.append(None)
            state = following
        self._hit[state] = stop

    def _link(self) -> None:
        """Point each state to the longest proper suffix that is a state too, breadth first."""
        queue = deque(self._next[0].values())
        while queue:
            state = queue.popleft()
            self._hit[state] = self._hit[state] or self._hit[self._fail[state]]
            for char, following in self._next[state].items():
                self._fail[following] = self._step(self._fail[state], char)
                queue.append(following)

    def _step(self, state: int, char: str) -> int:
        while state and char not in self._next[state]:
            state = self._fail[state]
        return self._next[state].get(char, 0)

    def feed(self, text: str) -> tuple[str, bool]:
        """Give the text that is safe to show, and whether a stop string is complete; it is not shown.

        After a stop, `stop` names the string, and further text is swallowed.
        """
        if self.stop is not None:
            return "", True
        if not self.stops:
            return text, False
        state = self._state
        for index, char in enumerate(text):
            state = self._step(state, char)
            hit = self._hit[state]
            if hit is not None:
                self.stop = hit
                seen = self._held + text[: index + 1]
                self._held = ""
                return seen[: len(seen) - len(hit)], True
        self._state = state
        seen = self._held + text
        safe = len(seen) - self._depth[state]
        self._held = seen[safe:]
        return seen[:safe], False

    def flush(self) -> str:
        """End the stream: give the text that was held back for a stop string that never came."""
        held, self._held, self._state = self._held, "", 0
        return held
