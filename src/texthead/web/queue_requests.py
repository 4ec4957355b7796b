"""Parse requests to the page's queue strictly, and forward only the parsed content."""

from collections.abc import Callable, Container, Mapping
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from starlette.datastructures import MutableHeaders
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

# Maximum length of the class names, in characters.
MOST_TEXT = 20_000

_Session = Annotated[str, Field(pattern=r"^[0-9A-Za-z-]{1,40}$")]

_Event = Annotated[str, Field(pattern=r"^[0-9a-f]{1,40}$")]


class _Body(BaseModel):
    model_config = ConfigDict(strict=True)


class _File(_Body):
    path: Annotated[str, Field(max_length=4096, pattern=r"^[^\x00]*$")]
    meta: dict[Literal["_type"], Literal["gradio.FileData"]]


class _Join(_Body):
    """A question: the file, the class names, and the extra parts of the answer, in the order of the page."""

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
    """ASGI middleware that rejects requests to Gradio's queue that the page itself never sends, with status 4xx.

    Gradio's queue accepts any function, inputs and session, and fails later.

    Args:
        api: prefix of the queue's addresses.
        sessions: returns the sessions whose answers can be read.
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
        """Forward a request if the page could have sent it."""
        body = self._bodies.get(scope["path"]) if scope["type"] == "http" and scope["method"] == "POST" else None
        if body is not None:
            await self._pass_body(body, scope, receive, send)
        elif scope["type"] == "http" and scope["path"] == self._answers and not self._is_known(scope):
            await PlainTextResponse("no such session; reload the page", 404)(scope, receive, send)
        else:
            await self._app(scope, receive, send)

    def _is_known(self, scope: Scope) -> bool:
        return Request(scope).query_params.get("session_hash", "") in self._sessions()

    async def _pass_body(self, kind: type[_Body], scope: Scope, receive: Receive, send: Send) -> None:
        try:
            parsed = kind.model_validate_json(await Request(scope, receive).body())
        except ValidationError as error:
            first = error.errors(include_url=False, include_context=False, include_input=False)[0]
            place = ".".join(map(str, first["loc"]))
            response = PlainTextResponse(f"invalid request ({place}: {first['msg']}); reload the page", 400)
            await response(scope, receive, send)
            return
        data = parsed.model_dump_json().encode()
        headers = MutableHeaders(raw=list(scope["headers"]))
        headers.update({"content-type": "application/json", "content-length": str(len(data))})
        messages: list[Message] = [{"type": "http.request", "body": data, "more_body": False}]

        async def receive_parsed() -> Message:
            return messages.pop() if messages else await receive()

        await self._app({**scope, "headers": headers.raw}, receive_parsed, send)
