"""What is between a browser and our servers: only their own pages may operate them.

A web page that somebody reads meanwhile can send requests to this machine, too; the browser says
whose it is.
"""

from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from starlette.websockets import WebSocketClose

LOOPBACK = ("127.0.0.1", "localhost")


def guard(ui: str) -> list[Middleware]:
    """The middleware of a server on this machine.

    A name that somebody's DNS points at this machine is no Host of ours, so it is refused.

    Parameters
    ----------
    ui : the address that business.yaml declares; it is let in where it is that of a proxy in front
        of us
    """
    host = urlsplit(ui).hostname or ""
    origins = () if host in LOOPBACK else (_origin(ui),)
    return [
        Middleware(TrustedHostMiddleware, allowed_hosts=[*LOOPBACK, host], www_redirect=False),
        Middleware(OwnPagesOnly, origins=origins),
    ]


class OwnPagesOnly:
    """Refuses what other pages ask, being framed by them, and GraphQL by GET, which needs no
    Origin.
    """

    def __init__(self, app: ASGIApp, origins: tuple[str, ...]) -> None:
        self.app, self.origins = app, origins

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """An ASGI call."""

        async def unframed(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message)["X-Frame-Options"] = "SAMEORIGIN"
            await send(message)

        if scope["type"] in ("http", "websocket") and (refusal := self._refusal(scope)):
            answer = (
                PlainTextResponse(refusal, 403)
                if scope["type"] == "http"
                else WebSocketClose(reason=refusal)
            )
            await answer(scope, receive, unframed)
        else:
            await self.app(scope, receive, unframed)

    def _refusal(self, scope: Scope) -> str | None:
        headers = Headers(scope=scope)
        own = {_origin(f"http://{host}:{scope['server'][1]}") for host in LOOPBACK} | {
            *self.origins
        }
        if foreign := set(headers.getlist("origin")) - own:
            return (
                f"a page of {', '.join(sorted(foreign))} may not ask this server; if that is the "
                "address of a proxy in front of it, declare it as `ui` in business.yaml\n"
            )
        if (
            scope["type"] == "http"
            and scope["method"] == "GET"
            and scope["path"].endswith("/graphql")
            and "text/html"
            not in headers.get("accept", "")  # that is the page GraphiQL, which runs nothing
        ):
            return "GraphQL is answered by POST only\n"
        return None


def _origin(address: str) -> str:
    """The Origin that a browser sends for the pages of an address.

    >>> _origin("https://Churn.example:443/ui"), _origin("http://127.0.0.1:3000")
    ('https://churn.example', 'http://127.0.0.1:3000')
    """
    parts = urlsplit(address)
    usual = {"http": 80, "https": 443}.get(parts.scheme)
    port = "" if parts.port in (None, usual) else f":{parts.port}"
    return f"{parts.scheme}://{parts.hostname}{port}"
