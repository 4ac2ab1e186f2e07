"""Which tool of the server a message calls for, and what a model that knows no tools has to write then."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from models.chat.call_head import decided
from models.tasks import ChatJob, ImagePart, Message, TextPart, Tool, ToolCall
from training.calls.messages import held_out

TOOLS = tuple(
    Tool(name, None, {"type": "object", "properties": {argument: {"type": "string"}}, "required": [argument]})
    for name, argument in (("generate_image", "prompt"), ("edit_image", "prompt"), ("speak", "text"))
)
PICTURE = ImagePart(b"picture")


def job(text: str, *before: Message, has_picture: bool = False, **more: Any) -> ChatJob:
    parts = (PICTURE, TextPart(text)) if has_picture else (TextPart(text),)
    return ChatJob((*before, Message("user", parts)), **{"tools": TOOLS, **more})


def words(decided_job: ChatJob) -> str:
    """What a call has to say."""
    (tool,) = decided_job.tools
    (held,) = tool.parameters["properties"].values()
    said: str = held["const"]
    return said


def test_of_the_held_out_messages_at_least_95_in_100_go_the_right_way() -> None:
    right = []
    for message in held_out():
        made = decided(job(message.text, has_picture=message.has_picture))
        right.append((made.must_call or ("none",))[0] == message.tool)
    assert len(right) == 300
    assert sum(right) >= 285


@pytest.mark.parametrize(
    "text",
    ["draw a cat in space", "Draw a house", "please draw a dog", "고양이 그려줘", "집을 그려 줘", "猫を描いて"],
)
def test_the_plainest_wish_is_drawn(text: str) -> None:
    assert decided(job(text)).must_call == ("generate_image",)


@pytest.mark.parametrize("text", ["make it blue", "파란색으로 바꿔줘", "青くして"])
def test_the_plainest_change_changes_the_picture(text: str) -> None:
    assert decided(job(text, has_picture=True)).must_call == ("edit_image",)


@pytest.mark.parametrize(
    ("text", "tool", "said"),
    [
        ("Draw a big red heart on a white background", "generate_image", "a big red heart on a white background"),
        ("초록색 별을 그려줘", "generate_image", "초록색 별"),
        ("大きな緑の星を描いてください", "generate_image", "大きな緑の星"),
        ("Say: good morning", "speak", "good morning"),
    ],
)
def test_the_words_of_a_wish_are_copied(text: str, tool: str, said: str) -> None:
    made = decided(job(text))
    assert made.must_call == (tool,)
    assert words(made).startswith(said)
    assert made.calls_several is False


def test_a_change_needs_a_picture() -> None:
    assert decided(job("make the star blue", has_picture=True)).must_call == ("edit_image",)
    assert decided(job("make the star blue")).must_call == ()
    drawn = Message("assistant", (), (ToolCall("a", "generate_image", '{"prompt": "a star"}'),))
    shown = Message("tool", (TextPart("Done"),), call_id="a")
    assert decided(job("make the star blue", drawn, shown)).must_call == ("edit_image",)


def test_a_question_is_for_the_chat_model_alone_which_sees_no_calls() -> None:
    drawn = Message("assistant", (), (ToolCall("a", "generate_image", '{"prompt": "a star"}'),))
    shown = Message("tool", (TextPart("Done"),), call_id="a")
    asked = job("What colour is the star?", drawn, shown, has_picture=True)
    made = decided(asked)
    assert (made.tools, made.must_call) == ((), ())
    assert made.messages == asked.messages[-1:]


def test_a_tool_that_is_not_offered_is_not_called() -> None:
    assert decided(job("Say: good morning", tools=TOOLS[:2])).must_call == ()


@pytest.mark.parametrize(("text", "answer"), [("draw a cat", "Here it is."), ("猫を描いて", "できました。")])
def test_after_the_result_of_a_call_a_sentence_says_so(text: str, answer: str) -> None:
    called = Message("assistant", (), (ToolCall("a", "generate_image", '{"prompt": "a cat"}'),))
    first = job(text)
    done = replace(first, messages=(*first.messages, called, Message("tool", (TextPart("Done: 1"),), call_id="a")))
    assert decided(done).form == (answer,)
    failed = replace(first, messages=(*first.messages, called, Message("tool", (TextPart("Error: no"),), call_id="a")))
    assert decided(failed).form != (answer,)


@pytest.mark.parametrize("changes", [{"form": {"type": "object"}}, {"must_call": ("speak",)}, {"tools": ()}])
def test_what_a_caller_decides_stays(changes: dict[str, Any]) -> None:
    asked = job("draw a cat", **changes)
    assert decided(asked) is asked


def test_tools_of_the_same_name_with_other_arguments_are_not_known() -> None:
    other = Tool("generate_image", None, {"type": "object", "properties": {"size": {"type": "string"}}})
    needs_more = replace(TOOLS[0], parameters={**TOOLS[0].parameters, "required": ["prompt", "size"]})
    for tool in (other, needs_more):
        asked = job("draw a cat", tools=(tool,))
        assert decided(asked) is asked


def test_a_long_wish_is_copied_to_its_end_and_has_room_for_it() -> None:
    wish = "a cat" + " and a dog" * 100
    made = decided(job(f"draw {wish}"))
    assert words(made).endswith(" and a dog" * 100)
    assert made.max_tokens > len(words(made)) > job("").max_tokens


def test_a_picture_in_the_result_of_a_call_that_is_left_out_is_still_seen() -> None:
    drawn = Message("assistant", (), (ToolCall("1", "generate_image", "{}"),))
    shown = Message("tool", (TextPart("Done: picture 1."), PICTURE), call_id="1")
    told = decided(job("What did you draw?", drawn, shown)).messages
    assert [(each.role, each.parts) for each in told[:-1]] == [("user", (PICTURE,))]
