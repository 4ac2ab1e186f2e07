"""An example of every route, as `/docs` shows it: what is sent and what comes back.

The tests send each of them to a running server and compare what it answers. The objects that they show stand in
openapi_objects.py.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from deployments.ingress.openapi_objects import (
    AT,
    BACKUP,
    CHAT_MODEL,
    CONSENT,
    JOB,
    MADE,
    MODEL,
    OMNI_MODEL,
    PICTURE,
    RECORD,
    RESPONSE,
    UUID,
    VOICE,
)


@dataclass(frozen=True)
class Example:
    """`sent` is a JSON body, or the text fields of a form; `files` are the names of files that its file parts bring.

    `answer` is JSON; None where `media_type` is another.
    """

    answer: dict[str, Any] | None = None
    sent: dict[str, Any] | None = None
    files: Mapping[str, str] = field(default_factory=dict)
    media_type: str | None = "application/json"


_QUESTION: Final = {
    "model": "vlm-fast",
    "messages": [
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "What colour is the square?"},
                {
                    "type": "image",
                    "source": {"type": "base64", "media_type": "image/png", "data": PICTURE.partition(",")[2]},
                },
            ],
        }
    ],
}
_PROMPT: Final = {"prompt": "a big red circle on a blue background", "seed": 7}
_PNG: Final = Example(sent=_PROMPT, media_type="image/png")
_IMAGES: Final = {
    "GET": Example({"images": [RECORD], "has_more": False, "next": None}),
    "POST": Example(RECORD, files={"file": "square.png"}),
}
_SEARCH: Final = Example({"results": [{**RECORD, "score": 0.4456}]}, sent={"query": "a red square on blue", "limit": 3})
_NOTHING: Final = Example(media_type=None)
_BYTES: Final = Example(media_type="image/*")
_THUMBNAIL: Final = Example(media_type="image/webp")

_ASKED: Final = {"type": "input_text", "text": "What colour is the square?"}
PATHS: Final = {
    "alias": "vlm-fast", "consent_id": CONSENT["id"], "fid": "87313aa9ab954604b3d7b6be2aadd6f0.png",
    "image_id": UUID, "job_id": UUID, "key": f"images/generated/{UUID}.png", "name": "image-gen",
    "project_id": "holiday-2026", "response_id": RESPONSE["id"], "voice_id": VOICE["id"],
}  # fmt: skip
"""What stands in the paths of routes, by the name of the parameter."""

EXAMPLES: Final[dict[str, dict[str, Example]]] = {
    "/healthz": {"GET": Example({"status": "ok", "timestamp": AT})},
    "/metrics": {"GET": Example(media_type="text/plain")},
    "/readyz": {
        "GET": Example(
            {
                "ready": True, "server_ready": True, "models": {"image-gen": "starting", "vlm-fast": "cold"},
                "reasons": {"image-gen": "is being loaded"},
                "image_search": True, "image_search_state": {"state": "ready"}, "image_search_ready": True,
                "zimage_turbo_ready": True, "qwen3_tts_ready": True,
            }
        )
    },
    "/v1/system/status": {
        "GET": Example(
            {
                "workers": {
                    "image-gen": {
                        "model_path": "builtin:image", "model_type": "image", "memory_gb": 0.712,
                        "uptime_seconds": 320.4, "idle_seconds": 12.1, "request_count": 41,
                        "pid": 4211, "state": "ready", "queue": 0, "loads": 1, "evictions": {}, "reason": None,
                        "downloaded_bytes": 0, "download_bytes": 0,
                        "replicas": [
                            {
                                "pid": 4211, "node": "bd9f…", "gpus": [], "state": "ready", "memory_gb": 0.712,
                                "uptime_seconds": 320.4, "idle_seconds": 12.1, "request_count": 41, "active": 0,
                            }
                        ],
                    }
                },
                "memory": {
                    "total_gb": 33.4, "used_gb": 9.2, "available_gb": 24.2, "used_percent": 27.5,
                    "usage_percent": 27.5, "models_loaded_gb": 0.712,
                },
                "config": {
                    "idle_timeout_seconds": 300.0, "max_requests_before_restart": 0, "safety_margin_gb": 10.1,
                },
                "image_search": {
                    work: {"running": 0, "waiting": 0, "waiting_bytes": 0}
                    for work in ("lookups", "changes", "files", "upkeep")
                },
                "known_seconds_ago": 0.3, "dashboard": "http://127.0.0.1:8265",
            }
        )
    },
    "/v1/system/requests": {
        "GET": Example(
            {
                "requests": [
                    {
                        "id": UUID, "at": 1795566770.251, "method": "POST", "path": "/v1/images/generations",
                        "status": 200, "seconds": 0.331, "model": "image-gen",
                    }
                ]
            }
        )
    },
    "/v1/system/load/{alias}": {"POST": Example({"status": "ready", "alias": "vlm-fast", "seconds": 2.9})},
    "/v1/system/evict/{alias}": {"POST": Example({"status": "evicted", "alias": "vlm-fast"})},
    "/v1/models": {"GET": Example({"object": "list", "data": [OMNI_MODEL, CHAT_MODEL, MODEL]})},
    "/v1/models/{name}": {"GET": Example(MODEL)},
    "/v1/chat/completions": {
        "POST": Example(
            {
                "id": "chatcmpl-054b02a76de34b3b8052c9f15a56e7e1", "object": "chat.completion", "created": AT,
                "model": "vlm-fast",
                "choices": [
                    {
                        "index": 0, "message": {"role": "assistant", "content": "Red", "refusal": None},
                        "logprobs": None, "finish_reason": "stop",
                    }
                ],
                "usage": {
                    "prompt_tokens": 32, "completion_tokens": 2, "total_tokens": 34,
                    "prompt_tokens_details": {"image_tokens": 16},
                },
            },
            sent={
                "model": "vlm-fast",
                "messages": [
                    {
                        "role": "user",
                        "content": [
                            {"type": "text", "text": "What colour is the square?"},
                            {"type": "image_url", "image_url": {"url": PICTURE}},
                        ],
                    }
                ],
            },
        )
    },
    "/v1/messages": {
        "POST": Example(
            {
                "id": f"msg_{UUID}", "type": "message", "role": "assistant", "model": "vlm-fast",
                "content": [{"type": "text", "text": "Red"}], "stop_reason": "end_turn", "stop_sequence": None,
                "usage": {
                    "input_tokens": 32, "cache_creation_input_tokens": 0, "cache_read_input_tokens": 0,
                    "output_tokens": 2,
                },
            },
            sent={**_QUESTION, "max_tokens": 100},
        )
    },
    "/v1/messages/count_tokens": {"POST": Example({"input_tokens": 32}, sent=_QUESTION)},
    "/v1/embeddings": {
        "POST": Example(
            {
                "object": "list",
                "data": [{"object": "embedding", "index": 0, "embedding": [0.0514, -0.0278, 0.1134]}],
                "model": "clip", "usage": {"prompt_tokens": 5, "total_tokens": 5},
            },
            sent={"model": "clip", "input": ["a red circle", {"image": PICTURE}]},
        )
    },
    "/v1/vision/tasks": {"GET": Example({"tasks": [{"id": "caption", "description": "one short sentence"}]})},
    "/v1/responses": {
        "POST": Example(
            RESPONSE,
            sent={
                "model": "vlm-fast",
                "input": [{"role": "user", "content": [_ASKED, {"type": "input_image", "image_url": PICTURE}]}],
            },
        )
    },
    "/v1/responses/{response_id}": {
        "GET": Example(RESPONSE),
        "DELETE": Example({"id": RESPONSE["id"], "object": "response", "deleted": True}),
    },
    "/v1/responses/{response_id}/cancel": {"POST": Example(RESPONSE)},
    "/v1/responses/{response_id}/input_items": {
        "GET": Example(
            {
                "object": "list", "first_id": "msg_1", "last_id": "msg_1", "has_more": False,
                "data": [
                    {"id": "msg_1", "type": "message", "role": "user", "content": [_ASKED], "status": "completed"}
                ],
            }
        )
    },
    "/v1/vision/analyze": {
        "POST": Example(
            {
                "task": "objects", "result": "Big red square", "created": AT, "model": "vlm-fast",
                "usage": {"latency": 0.037, "prompt_used": "List the objects in this image, one per line."},
                "objects": ["Big red square"],
            },
            sent={"image": PICTURE, "task": "objects"},
        )
    },
    "/api/caption-images": {
        "POST": Example(
            {
                "results": [
                    {
                        "filename": "square.png", "caption": "a big red square in the centre of a blue background",
                        "tags": ["big", "red", "square", "big_red", "red_square"], "flagged": False, "cache": False,
                    }
                ]
            },
            files={"images": "square.png"},
        )
    },
    "/api/caption-collective-images": {
        "POST": Example(
            {
                "collective_caption": "a big red square in the centre of a blue background", "count": 1,
                "tags": ["big", "red", "square", "big_red", "red_square"], "flagged": False,
            },
            files={"images": "square.png"},
        )
    },
    "/api/admin/reset-cache": {"POST": Example({"message": "Redis cache cleared"})},
    "/v1/images/generations": {"POST": Example(MADE, sent=_PROMPT)},
    "/v1/images/edits": {"POST": Example(MADE, sent={"prompt": "make the square yellow", "image": PICTURE})},
    "/v1/images/variations": {"POST": Example(MADE, sent={"image": PICTURE, "strength": 0.6})},
    "/v1/images/generate": {"POST": _PNG},
    "/v1/r2/images/generate": {"POST": Example({"key": f"images/generated/{UUID}.png"}, sent=_PROMPT)},
    "/process": {
        "POST": Example(
            {
                "mode": "generate", "input_image": None, "prompt": _PROMPT["prompt"], "seed": 7,
                "guidance_scale": 2.0, "num_inference_steps": 12, "width": 128, "height": 128, "model": "image-gen",
                "loras": [], "result_image_url": "http://127.0.0.1:8000/i/2cd081f8e52e4b34ad9ad34648c41c6f.png",
            },
            sent=_PROMPT,
        )
    },
    "/process/raw": {"POST": _PNG},
    "/v1/jobs/{job_id}": {"GET": Example(JOB), "DELETE": Example({**JOB, "state": "cancelled"})},
    "/v1/jobs/{job_id}/events": {"GET": Example(media_type="text/event-stream")},
    "/upload": {
        "POST": Example({"url": "/i/87313aa9ab954604b3d7b6be2aadd6f0.png"}, files={"file": "square.png"})
    },
    "/i/{fid}": {"GET": _BYTES},
    "/latest": {
        "GET": Example(
            {
                "url": "http://127.0.0.1:8000/i/87313aa9ab954604b3d7b6be2aadd6f0.png",
                "updated_at": "2026-11-25T09:32:50+09:00",
            }
        )
    },
    "/latest/raw": {"GET": _BYTES},
    "/files/{key}": {"GET": _BYTES},
    "/v1/images": _IMAGES,
    "/v1/projects/{project_id}/images": _IMAGES,
    "/v1/images/search": {"POST": _SEARCH},
    "/v1/projects/{project_id}/images/search": {"POST": _SEARCH},
    "/v1/images/{image_id}": {"GET": Example(RECORD), "DELETE": _NOTHING},
    "/v1/projects/{project_id}/images/{image_id}": {"GET": Example(RECORD), "DELETE": _NOTHING},
    "/v1/images/{image_id}/thumbnail": {"GET": _THUMBNAIL},
    "/v1/projects/{project_id}/images/{image_id}/thumbnail": {"GET": _THUMBNAIL},
    "/v1/images/{image_id}/file": {"GET": _NOTHING},
    "/v1/projects/{project_id}/images/{image_id}/file": {"GET": _NOTHING},
    "/v1/projects": {
        "GET": Example(
            {"projects": [{"project_id": "default", "image_count": 1, "created_at": "2026-11-24T23:47:58.342Z"}]}
        )
    },
    "/v1/projects/{project_id}": {"DELETE": _NOTHING},
    "/api/admin/search/gc": {
        "POST": Example(
            {"orphans": [], "deleted": 0, "set_aside": 0, "indexes_set_aside": [], "missing": []},
            sent={"delete": False},
        )
    },
    "/api/admin/search/backup": {"POST": Example(BACKUP)},
    "/api/admin/search/backups": {"GET": Example({"backups": [BACKUP]})},
    "/api/admin/search/restore": {"POST": Example(BACKUP, sent={})},
    "/v1/voice/generate": {
        "POST": Example(sent={"text": "Good morning, and welcome.", "voice": "nova"}, media_type="audio/mpeg")
    },
    "/v1/r2/voice/generate": {
        "POST": Example(
            {"key": f"AI/VOICE/voice/generated/{UUID}.mp3"},
            sent={"text": "Good morning, and welcome.", "voice": "nova", "key": "AI/VOICE/welcome.mp3"},
        )
    },
    "/v1/audio/speech": {
        "POST": Example(
            sent={"model": "tts-1", "input": "Good morning, and welcome.", "voice": "alloy"}, media_type="audio/mpeg"
        )
    },
    "/v1/audio/transcriptions": {
        "POST": Example(
            {"text": "Good morning, and welcome.", "usage": {"type": "duration", "seconds": 2.4}},
            sent={"model": "whisper-1"}, files={"file": "morning.wav"},
        )
    },
    "/v1/audio/translations": {
        "POST": Example(
            {"text": "Good morning, and welcome."}, sent={"model": "whisper-1"}, files={"file": "morning.wav"}
        )
    },
    "/v1/audio/voice_consents": {
        "POST": Example(
            CONSENT, sent={"name": "Ann agrees", "language": "en-US"}, files={"recording": "ann-agrees.wav"}
        ),
        "GET": Example(
            {
                "object": "list", "data": [CONSENT], "has_more": False, "first_id": CONSENT["id"],
                "last_id": CONSENT["id"],
            }
        ),
    },
    "/v1/audio/voice_consents/{consent_id}": {
        "GET": Example(CONSENT),
        "POST": Example(CONSENT, sent={"name": "Ann agreed"}),
        "DELETE": Example({"id": CONSENT["id"], "deleted": True, "object": "audio.voice_consent"}),
    },
    "/v1/audio/voices": {
        "POST": Example(
            VOICE, sent={"name": "Ann", "consent": CONSENT["id"]}, files={"audio_sample": "ann.wav"}
        ),
        "GET": Example({"object": "list", "data": [VOICE], "voices": [{"id": VOICE["id"], "name": "Ann"}]}),
    },
    "/v1/audio/voices/{voice_id}": {
        "GET": Example(VOICE),
        "DELETE": Example({"id": VOICE["id"], "deleted": True, "object": "audio.voice.deleted"}),
    },
}  # fmt: skip
ERROR: Final = {
    "error": {
        "message": "prompt is required", "type": "invalid_request_error", "param": "prompt",
        "code": "missing_required_parameter",
    }
}  # fmt: skip
"""What every 4xx and 5xx looks like."""
