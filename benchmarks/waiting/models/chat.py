"""A ChatModel that waits 0.2 s."""

import time

from mlflow.models import set_model
from mlflow.pyfunc.model import ChatModel
from mlflow.types.llm import ChatChoice, ChatCompletionResponse, ChatMessage, ChatParams


class Chat(ChatModel):
    """Answers with the last message."""

    def predict(  # type: ignore[override]  # as ChatModel has it
        self, context: object, messages: list[ChatMessage], params: ChatParams
    ) -> ChatCompletionResponse:
        """What was said last, a while later."""
        time.sleep(0.2)
        answer = ChatMessage(role="assistant", content=messages[-1].content)
        return ChatCompletionResponse(choices=[ChatChoice(message=answer)])


set_model(Chat())
