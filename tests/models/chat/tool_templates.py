"""How the chat templates of the usual families speak of tools: the parts that matter, in our own words.

Each knows plain messages, tools, calls and their results, and is as strict as its model's own.
"""

from __future__ import annotations

from typing import Final

_TEXT: Final = (
    "{% macro text(content) %}{% if content is string %}{{ content }}{% else %}{% for part in content %}"
    "{% if part.type == 'image' %}<IMAGE>{% else %}{{ part.text }}{% endif %}{% endfor %}{% endif %}{% endmacro %}"
)
_CHATML: Final = (
    _TEXT
    + "{% if tools %}<|im_start|>system\n<tools>{% for tool in tools %}\n{{ tool | tojson }}{% endfor %}\n</tools>"
    "<|im_end|>\n{% endif %}{% for m in messages %}{% if m.role == 'tool' %}<|im_start|>user\n<tool_response>\n"
    "{{ text(m.content) }}\n</tool_response><|im_end|>\n{% else %}<|im_start|>{{ m.role }}\n{{ text(m.content) }}"
    "{% for call in m.tool_calls or [] %}{% if m.content or not loop.first %}\n{% endif %}CALL{% endfor %}"
    "<|im_end|>\n{% endif %}{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
HERMES: Final = _CHATML.replace(
    "CALL",
    '<tool_call>\n{"name": "{{ call.function.name }}", "arguments": {{ call.function.arguments | tojson }}}\n'
    "</tool_call>",
)
"""Qwen 2.5, Qwen3, Qwen3-VL, Hermes 2 and 3."""
QWEN3_CODER: Final = _CHATML.replace(
    "CALL",
    "<tool_call>\n<function={{ call.function.name }}>\n{% for name, value in call.function.arguments | items %}"
    "<parameter={{ name }}>\n{{ value if value is string else value | tojson }}\n</parameter>\n{% endfor %}"
    "</function>\n</tool_call>",
)
"""Qwen3-Coder, Qwen 3.5."""
THINKING: Final = HERMES.replace("<|im_start|>assistant\n{% endif %}", "<|im_start|>assistant\n<think>\n{% endif %}")
"""A template that begins the answer itself."""

_MISTRAL: Final = (
    _TEXT + "{{ bos_token }}{% for m in messages %}{% if m.role == 'user' %}{% if tools %}[AVAILABLE_TOOLS]"
    "{{ tools | tojson }}[/AVAILABLE_TOOLS]{% endif %}[INST]{{ text(m.content) }}[/INST]{% elif m.role == 'system' %}"
    "[SYSTEM_PROMPT]{{ text(m.content) }}[/SYSTEM_PROMPT]{% elif m.role == 'tool' %}[TOOL_RESULTS]{{ m.tool_call_id }}"
    "[TOOL_CONTENT]{{ text(m.content) }}[/TOOL_RESULTS]{% elif m.tool_calls %}{% for call in m.tool_calls %}"
    "{% if call.id is not string or call.id | length != 9 %}{{ raise_exception('ids have nine characters') }}"
    "{% endif %}CALL{% endfor %}END{{ eos_token }}{% else %}{{ text(m.content) }}{{ eos_token }}{% endif %}{% endfor %}"
)
MISTRAL: Final = _MISTRAL.replace("END", "").replace(
    "CALL", "[TOOL_CALLS]{{ call.function.name }}[ARGS]{{ call.function.arguments | tojson }}"
)
"""Mistral Small 3.1 and later, with pictures."""
MISTRAL_WITH_IDS: Final = MISTRAL.replace("[ARGS]", "[CALL_ID]{{ call.id }}[ARGS]")
"""Mistral Small 3.2."""
MISTRAL_LIST: Final = _MISTRAL.replace("END", "]").replace(
    "CALL",
    "{{ '[TOOL_CALLS] [' if loop.first else ', ' }}"
    '{"name": "{{ call.function.name }}", "arguments": {{ call.function.arguments | tojson }}, "id": "{{ call.id }}"}',
)
"""Mistral 7B v0.3, Nemo, Pixtral."""

LLAMA3: Final = (
    _TEXT + "{{ bos_token }}{% if tools %}<|start_header_id|>system<|end_header_id|>\n\n{% for tool in tools %}"
    "{{ tool | tojson }}\n{% endfor %}<|eot_id|>{% endif %}{% for m in messages %}"
    "{% if m.role == 'tool' %}<|start_header_id|>ipython<|end_header_id|>\n\n{{ text(m.content) }}<|eot_id|>"
    "{% elif m.tool_calls %}{% if m.tool_calls | length != 1 %}{{ raise_exception('one call at a time') }}{% endif %}"
    "<|start_header_id|>assistant<|end_header_id|>\n\n"
    '{"name": "{{ m.tool_calls[0].function.name }}", "parameters": {{ m.tool_calls[0].function.arguments | tojson }}}'
    "<|eot_id|>{% else %}<|start_header_id|>{{ m.role }}<|end_header_id|>\n\n{{ text(m.content) }}<|eot_id|>{% endif %}"
    "{% endfor %}{% if add_generation_prompt %}<|start_header_id|>assistant<|end_header_id|>\n\n{% endif %}"
)
"""Llama 3.1 and 3.2, with pictures too."""

_GEMMA_VALUE: Final = (
    "{% macro value(v) %}{% if v is string %}QUOTE{{ v }}QUOTE{% elif v is mapping %}{{ '{' }}"
    "{% for k, x in v | items %}{{ ',' if not loop.first }}{{ k }}:{{ value(x) }}{% endfor %}{{ '}' }}"
    "{% else %}{{ v | tojson }}{% endif %}{% endmacro %}"
)
_GEMMA: Final = (
    _TEXT
    + _GEMMA_VALUE
    + "{{ bos_token }}{% if tools %}OPENdeveloper\n{% for tool in tools %}<declaration>{{ tool.function.name }}"
    "{{ value(tool.function.parameters) }}{% endfor %}CLOSE\n{% endif %}{% for m in messages %}"
    "{% if m.role == 'tool' %}<response>{{ m.name }}{{ text(m.content) }}{% else %}"
    "OPEN{{ 'model' if m.role == 'assistant' else m.role }}\n{{ text(m.content) }}{% for call in m.tool_calls or [] %}"
    "BEGINcall:{{ call.function.name }}{{ value(call.function.arguments) }}FINISH{% endfor %}CLOSE\n{% endif %}"
    "{% endfor %}{% if add_generation_prompt %}OPENmodel\n{% endif %}"
)


def _gemma(**words: str) -> str:
    template = _GEMMA
    for name, word in words.items():
        template = template.replace(name, word)
    return template


FUNCTION_GEMMA: Final = _gemma(
    QUOTE="<escape>",
    BEGIN="<start_function_call>",
    FINISH="<end_function_call>",
    OPEN="<start_of_turn>",
    CLOSE="<end_of_turn>",
)
GEMMA4: Final = _gemma(QUOTE='<|"|>', BEGIN="<|tool_call>", FINISH="<tool_call|>", OPEN="<|turn>", CLOSE="<turn|>")
_DEEPSEEK: Final = (
    _TEXT + "{{ bos_token }}{% for tool in tools or [] %}{{ tool | tojson }}\n{% endfor %}{% for m in messages %}"
    "{% if m.role == 'user' %}<｜User｜>{{ text(m.content) }}{% elif m.role == 'tool' %}<｜tool▁output▁begin｜>"
    "{{ text(m.content) }}<｜tool▁output▁end｜>{% elif m.tool_calls %}<｜Assistant｜>{{ text(m.content) }}"
    "<｜tool▁calls▁begin｜>{% for call in m.tool_calls %}{{ LIKE }}{% endfor %}<｜tool▁calls▁end｜>"
    "<｜end▁of▁sentence｜>{% else %}<｜Assistant｜>{{ text(m.content) }}<｜end▁of▁sentence｜>{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}<｜Assistant｜>{% endif %}"
)
DEEPSEEK_V3: Final = _DEEPSEEK.replace(
    "LIKE",
    "'<｜tool▁call▁begin｜>' + call.type + '<｜tool▁sep｜>' + call.function.name + '\n```json\n' + "
    "call.function.arguments + '\n```<｜tool▁call▁end｜>'",
)
"""DeepSeek V3 and R1: arguments are text."""
DEEPSEEK_V31: Final = _DEEPSEEK.replace(
    "LIKE",
    "'<｜tool▁call▁begin｜>' + call.function.name + '<｜tool▁sep｜>' + call.function.arguments | tojson "
    "+ '<｜tool▁call▁end｜>'",
)
UNKNOWN: Final = HERMES.replace("<tool_call>", "<invoke>")
"""Tells of tools, and writes calls in a way that is known nowhere."""

TOOL_TEMPLATES: Final = {
    "hermes": HERMES,
    "qwen3-coder": QWEN3_CODER,
    "mistral": MISTRAL,
    "mistral-list": MISTRAL_LIST,
    "llama3": LLAMA3,
    "functiongemma": FUNCTION_GEMMA,
    "gemma4": GEMMA4,
    "deepseek-v3": DEEPSEEK_V3,
    "deepseek-v3.1": DEEPSEEK_V31,
}
"""By the format in which their models write calls."""
SPECIAL: Final = (
    *("<|im_start|>", "<|im_end|>", "<s>", "</s>", "<|eot_id|>", "<|start_header_id|>", "<|end_header_id|>"),
    *("<|python_tag|>", "[TOOL_CALLS]", "[ARGS]", "[CALL_ID]", "[INST]", "[/INST]", "<start_of_turn>", "<end_of_turn>"),
    *("<start_function_call>", "<end_function_call>", "<escape>", "<|tool_call>", "<tool_call|>", '<|"|>', "<turn|>"),
    *("<｜User｜>", "<｜Assistant｜>", "<｜tool▁calls▁begin｜>", "<｜tool▁calls▁end｜>", "<｜tool▁call▁begin｜>"),
    *("<｜tool▁call▁end｜>", "<｜tool▁sep｜>", "<｜end▁of▁sentence｜>"),
)
"""Special tokens of these families."""
