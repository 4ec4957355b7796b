"""What a browser may send to the queue of the page: read strictly, and passed on as it was read."""

from collections.abc import Callable, Container, Mapping
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from starlette.datastructures import MutableHeaders
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

# Characters of the names to choose from.
MOST_TEXT = 20_000

_Session = Annotated[str, Field(pattern=r"^[0-9A-Za-z-]{1,40}$")]

_Event = Annotated[str, Field(pattern=r"^[0-9a-f]{1,40}$")]


class _Body(BaseModel):
    model_config = ConfigDict(strict=True)


class _File(_Body):
    path: Annotated[str, Field(max_length=4096, pattern=r"^[^\x00]*$")]
    meta: dict[Literal["_type"], Literal["gradio.FileData"]]


class _Join(_Body):
    """A question: the file, the names, and what else is looked at, in the order of the page."""

    data: tuple[_File | None, Annotated[str, Field(max_length=MOST_TEXT)] | None, list[Literal["when", "where"]]]
    fn_index: Literal[0]
    session_hash: _Session
    trigger_id: Annotated[int, Field(ge=0, le=10_000)] | None = None


class _Cancel(_Body):
    session_hash: _Session
    fn_index: Literal[0]
    event_id: _Event


class _Reset(_Body):
    event_id: _Event


class QueueRequests:
    """ASGI middleware that answers what the page itself would not send to Gradio's queue with one line and status 4xx.

    Gradio takes any function, inputs and session there, and finds out later what it cannot do with them.

    Args:
        api: the beginning of the queue's addresses.
        sessions: returns those whose answers can be read.
    """

    def __init__(self, app: ASGIApp, api: str, sessions: Callable[[], Container[str]]):
        self._app = app
        self._answers = f"{api}queue/data"
        self._bodies: Mapping[str, type[_Body]] = {
            f"{api}queue/join": _Join,
            f"{api}cancel": _Cancel,
            f"{api}reset": _Reset,
        }
        self._sessions = sessions

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on a request that the page could have made."""
        body = self._bodies.get(scope["path"]) if scope["type"] == "http" and scope["method"] == "POST" else None
        if body is not None:
            await self._pass_body(body, scope, receive, send)
        elif scope["type"] == "http" and scope["path"] == self._answers and not self._is_known(scope):
            await PlainTextResponse("no such session: load the page again", 404)(scope, receive, send)
        else:
            await self._app(scope, receive, send)

    def _is_known(self, scope: Scope) -> bool:
        return Request(scope).query_params.get("session_hash", "") in self._sessions()

    async def _pass_body(self, kind: type[_Body], scope: Scope, receive: Receive, send: Send) -> None:
        try:
            read = kind.model_validate_json(await Request(scope, receive).body())
        except ValidationError as error:
            first = error.errors(include_url=False, include_context=False, include_input=False)[0]
            place = ".".join(map(str, first["loc"]))
            response = PlainTextResponse(f"not what the page sends ({place}: {first['msg']}): load it again", 400)
            await response(scope, receive, send)
            return
        data = read.model_dump_json().encode()
        headers = MutableHeaders(raw=list(scope["headers"]))
        headers.update({"content-type": "application/json", "content-length": str(len(data))})
        messages: list[Message] = [{"type": "http.request", "body": data, "more_body": False}]

        async def receive_read() -> Message:
            return messages.pop() if messages else await receive()

        await self._app({**scope, "headers": headers.raw}, receive_read, send)
