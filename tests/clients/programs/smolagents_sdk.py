"""smolagents: a model by itself, and an agent that calls a tool."""

from __future__ import annotations

from cases import MODEL, PNG, QUESTION, case, main
from smolagents import OpenAIServerModel, ToolCallingAgent, tool


def model(url: str) -> OpenAIServerModel:
    return OpenAIServerModel(model_id=MODEL, api_base=url, api_key="none")


MESSAGES = [{"role": "user", "content": [{"type": "text", "text": QUESTION}]}]


@tool
def look(shape: str) -> str:
    """Look for a shape.

    Args:
        shape: the shape
    """
    return f"a red {shape}"


@case
def text(url: str) -> None:
    assert model(url).generate(MESSAGES).content


@case
def picture(url: str) -> None:
    import io

    from PIL import Image

    content = [*MESSAGES[0]["content"], {"type": "image", "image": Image.open(io.BytesIO(PNG))}]
    assert "red" in model(url).generate([{"role": "user", "content": content}]).content.lower()


@case
def stream(url: str) -> None:
    assert "".join(piece.content or "" for piece in model(url).generate_stream(MESSAGES))


@case
def tools(url: str) -> None:
    agent = ToolCallingAgent(tools=[look], model=model(url), max_steps=1, verbosity_level=0)
    agent.run(QUESTION)
    assert agent.memory.steps[1].tool_calls


if __name__ == "__main__":
    main()
