"""How a request's body is read where its content type can't say so, and by which models.

The names stand in place of the content type in a PREDICT frame. A newline can't come in a header,
so no client can spell them.
"""

from collections.abc import Mapping

FORMATS = frozenset({"dataframe_split", "dataframe_records", "instances", "inputs"})
"""The keys of which one holds the rows in a request of MLflow's."""

LARGEST_MERGED_BODY = 256 * 1024
"""In bytes. Larger ones take long to parse and predict by themselves, and would hold up their
neighbours."""

OPENAI_CHAT = b"\nopenai.chat"
"""The body of a request to OpenAI's `/v1/chat/completions`."""

OPENAI_RESPONSES = b"\nopenai.responses"
"""The body of a request to OpenAI's `/v1/responses`."""

SPOKEN: Mapping[bytes, frozenset[str]] = {
    OPENAI_CHAT: frozenset({"chat", "agent"}),
    OPENAI_RESPONSES: frozenset({"responses"}),
}
"""What a model speaks that can answer it, see `server.worker.conversations.speaks`."""

_CLASSES = {"chat": "ChatModel", "agent": "ChatAgent", "responses": "ResponsesAgent"}
_ROUTES = {OPENAI_CHAT: "/v1/chat/completions", OPENAI_RESPONSES: "/v1/responses"}


def why_unspoken(codec: bytes, speaks: str | None) -> str | None:
    """Why a model can't answer such requests, and what to ask instead; None if it can."""
    spoken = SPOKEN[codec]
    if speaks in spoken:
        return None
    wanted = " or ".join(name for kind, name in _CLASSES.items() if kind in spoken)
    route = next((_ROUTES[one] for one, kinds in SPOKEN.items() if speaks in kinds), "/invocations")
    kind = f"a {_CLASSES[speaks]}" if speaks in _CLASSES else "none"
    return f"{_ROUTES[codec]} is for a {wanted}, and the model that serves is {kind}: use {route}"
