"""Serve everything under a path, such as /llm, behind a proxy that gives the rest to others."""

from __future__ import annotations

from starlette.responses import RedirectResponse
from starlette.types import ASGIApp, Receive, Scope, Send


class Prefix:
    """Passes what lies under the prefix on to `app`, all else to `outside`."""

    def __init__(self, app: ASGIApp, prefix: str, outside: ASGIApp) -> None:
        self.app = app
        self.prefix = prefix
        self.outside = outside

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request. The prefix itself leads to the page under it, whose links are relative."""
        if scope["type"] != "http" or not self.prefix:
            await self.app(scope, receive, send)
        elif scope["path"].startswith(f"{self.prefix}/"):
            await self.app({**scope, "root_path": self.prefix}, receive, send)
        elif scope["path"] == self.prefix:
            query = scope.get("query_string", b"").decode("latin-1")
            await RedirectResponse(f"{self.prefix}/{'?' if query else ''}{query}")(scope, receive, send)
        else:
            await self.outside(scope, receive, send)
