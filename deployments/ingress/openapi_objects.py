"""Objects that the examples of routes show: a model, a picture's record, a response and the like."""

from __future__ import annotations

from typing import Final

PICTURE: Final = (
    "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAABAAAAAQCAIAAACQkWg2AAAAHklEQVR42mPQ8LtCEmIY5Bquq2lgRaMa6KthiKYlAPCG"
    "QNC8pAYqAAAAAElFTkSuQmCC"
)
"""A red square on blue, 16x16, as a whole PNG, so that "Try it out" works as it stands."""
AT: Final = 1795566770
UUID: Final = "e98616b7-924b-484c-82ce-10dca81c28c3"
B64: Final = "iVBORw0KGgoAAAANSUhEUgAA…"
MODEL: Final = {
    "id": "image-gen", "object": "model", "created": 1760000000, "owned_by": "atelier", "kind": "image",
    "state": "cold", "checkpoint": "builtin:image",
    "capabilities": ["image.generate", "image.edit", "image.mask", "image.variation"],
    "limits": {
        "max_n": 10, "min_side": 64, "max_side": 2048, "side_multiple": 16, "max_pixels": 4194304,
        "default_size": "128x128", "max_images": 1, "loras": [],
    },
    "licence": "Apache-2.0",
}  # fmt: skip
CHAT_MODEL: Final = {
    **MODEL, "id": "vlm-fast", "kind": "vlm", "checkpoint": "builtin:describer",
    "capabilities": ["chat", "chat.vision", "caption"], "limits": {"max_images": 16},
}  # fmt: skip
OMNI_MODEL: Final = {
    **CHAT_MODEL, "id": "atelier", "kind": "omni",
    "capabilities": ["chat", "chat.vision", "image.generate", "image.edit", "speech"],
    "parts": {"chat": "vlm-fast", "image": "image-gen", "voice": "voice"},
}  # fmt: skip
RECORD: Final = {
    "project_id": "default", "id": UUID, "r2_key": f"AI/SEARCH/default/images/{UUID}.png",
    "original_filename": "square.png", "content_type": "image/png", "size_bytes": 87, "width": 16, "height": 16,
    "created_at": "2026-11-25T00:32:56.277Z", "dominant_color": "#2a3fd4",
    "sha256": "6f1ed002ab5595859014ebf0951522d9a5f2fcb2c4c3a1f5c2a7c3b2d1e0f9a8",
}  # fmt: skip
MADE: Final = {
    "created": AT,
    "data": [{"revised_prompt": "a big red circle on a blue background", "seed": 7, "b64_json": B64}],
    "background": "opaque", "output_format": "png", "quality": "medium", "size": "128x128", "model": "image-gen",
    "usage": {
        "input_tokens": 0, "output_tokens": 0, "total_tokens": 0,
        "input_tokens_details": {"image_tokens": 0, "text_tokens": 0}, "latency": 0.325, "seed": 7,
    },
}  # fmt: skip
JOB: Final = {
    "id": UUID, "object": "job", "state": "running", "progress": 0.25, "step": 5, "steps": 20, "model": "image-gen",
    "created": AT, "result": {**MADE},
}  # fmt: skip
BACKUP: Final = {
    "key": "image_search.db.versions/20261125T080000Z-2cd081f8.db",
    "sha256": "d2a84f4b8b650937ec8f73cd8be2c74add5a911ba64df27458ed8229da804a26", "size": 118784, "schema": 2,
    "rows": {
        "projects": 2, "images": 12, "counters": 1, "embedders": 1, "embedding_failures": 0, "vectors": 12,
        "graphs": 0, "tombstones": 0,
    },
    "created_at": "2026-11-25T08:00:00Z", "asked": False,
}  # fmt: skip
CONSENT: Final = {
    "id": "cons_00064434b91edb8b2bd9d0f0f5b64b4c0d3", "object": "audio.voice_consent", "name": "Ann agrees",
    "language": "en-US", "created_at": AT,
}  # fmt: skip
VOICE: Final = {
    "id": "voice_00064434b92bf0e5d2b3b4b1c64a7be01c9", "object": "audio.voice", "name": "Ann", "created_at": AT,
    "type": "audio_sample", "consent": CONSENT["id"],
}  # fmt: skip
RESPONSE: Final = {
    "id": "resp_054b02a76de34b3b8052c9f15a56e7e1", "object": "response", "created_at": AT, "completed_at": AT,
    "status": "completed", "background": False, "error": None, "incomplete_details": None, "instructions": None,
    "max_output_tokens": None, "max_tool_calls": None, "metadata": {}, "model": "vlm-fast",
    "output": [
        {
            "id": "msg_87313aa9ab954604b3d7b6be2aadd6f0", "type": "message", "status": "completed", "role": "assistant",
            "content": [{"type": "output_text", "text": "Red", "annotations": [], "logprobs": []}],
        }
    ],
    "parallel_tool_calls": True, "previous_response_id": None, "presence_penalty": 0, "frequency_penalty": 0,
    "prompt_cache_key": None, "reasoning": {"effort": None, "summary": None}, "safety_identifier": None,
    "service_tier": "default", "store": True, "temperature": 0.0,
    "text": {"format": {"type": "text"}, "verbosity": "medium"}, "tool_choice": "auto", "tools": [], "top_logprobs": 0,
    "top_p": 1.0, "truncation": "disabled", "user": None,
    "usage": {
        "input_tokens": 32,
        "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0, "image_tokens": 16},
        "output_tokens": 2, "output_tokens_details": {"reasoning_tokens": 0}, "total_tokens": 34,
    },
}  # fmt: skip
