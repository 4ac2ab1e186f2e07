"""A serve_config.yaml for a machine, written from the table of models, with the reasons as comments."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from cli.config_table import CPU, OMNI, TABLE, Fit, Model, Omni

_HEADS: Final = {
    "cpu": """\
# The default: built-in models, on any CPU, nothing to download.
#
#   make run                       starts this file (HOST, PORT and ATELIER_HOME override it)
#   serve run serve_config.yaml    does too, inside the virtual environment
#
# `args:` is checked by settings/, every key. Models start with their first request and leave after `idle_timeout`
# seconds without one; one whose `memory` does not fit beside the others waits until they have left. What graph.py sets
# for Ray Serve can be overridden under `deployments:` of the application, in Serve's own words.
""",
    "gpu": """\
# Released picture models, a multilingual search model and a voice on one NVIDIA GPU of {size} GB; the other kinds stay
# built in.
#
#   make run CONFIG={name}      docs/gpu.md says what to choose
#   atelier config init --machine gpu:{other}        writes the file for a GPU of {other} GB
#
# No line of this file has been run on a GPU yet. Sizes of weights are computed from the numbers of parameters (2 bytes
# each in bfloat16, about 0.56 in nf4); the work on one picture of a megapixel comes on top. The makers of diffusers
# measured 14.9 GB for FLUX.1-dev in nf4, 12.1 GB with `offload: model`; the shares below follow that. Checkpoints come
# from the hub at the first request, or by `atelier pull`; where (licence) stands, it must be accepted there first.
#
# A picture model takes `gpus` of the GPU while it is loaded. One that does not fit beside the others waits until they
# have been idle for `idle_timeout` seconds.
""",
    "mac": """\
# Released models on a Mac of {size} GB with Apple silicon: pictures, chat and voices by MLX; captions stay built in.
#
#   make run CONFIG={name}
#   atelier config init --machine mac:{other}        writes the file for a Mac of {other} GB
#
# No line of this file has been run on a Mac yet: the engine vlm_mlx is tested on the CPU, where it answers as
# transformers does, and diffusion_mlx and mlx_audio there with random weights, from which diffusion_mlx draws what
# diffusers does. `memory` is computed from the numbers of parameters; a model that does not fit beside the others waits
# until they have been idle for `idle_timeout` seconds, and one that can never fit is never started. Checkpoints come
# from the hub at the first request, or by `atelier pull`.
""",
}
_OTHERS: Final = {"gpu:24": 48, "gpu:48": 24, "gpu:80": 48, "mac:16": 32, "mac:32": 16, "mac:64": 32}

_SERVER: Final = """
proxy_location: HeadOnly

http_options:
  host: 127.0.0.1
  port: 8000
  request_timeout_s: 3600

logging_config:
  log_level: INFO
  enable_access_log: false

applications:
  - name: atelier
    route_prefix: /
    import_path: graph:build
    autoscaling_policy: {policy_function: "deployments.residency:Residency"}  # which models are loaded

    args:
"""
_TIMES: Final = {
    "cpu": "      idle_timeout: 300\n",
    "gpu": """\
      idle_timeout: 60  # the GPU is shared
      start_timeout: 600  # loading some 20 GB takes minutes, a download longer
""",
    "mac": """\
      idle_timeout: 60  # the memory is shared
      start_timeout: 600  # loading takes a while, a download longer
""",
}
_TO_PICTURES: Final = {
    "cpu": ("gpt-image-*", "chatgpt-image-*", "dall-e-*", "schnell", "dev", "flux", "flux-*"),
    "gpu": ("image-gen", "dall-e-*", "gpt-image-*", "chatgpt-image-*", "flux", "flux-*"),
    "mac": ("image-gen", "dall-e-*", "gpt-image-*", "chatgpt-image-*", "schnell", "dev", "flux", "flux-*"),
}
_TO_CHAT: Final = ("gpt-*", "chatgpt-*", "o1*", "o3*", "o4*", "claude-*")
_TASKS: Final = {"mac": "{default: vlm-fast}"}
_ALL_TASKS: Final = "{describe: vlm-best, analyze: vlm-best, default: vlm-fast}"


def written(machine: str, name: str) -> str:
    """The whole file for one of `MACHINES`, which is to be called so."""
    kind, _, size = machine.partition(":")
    head = _HEADS[kind] if machine == CPU else _HEADS[kind].format(size=size, other=_OTHERS[machine], name=name)
    chosen = [(model, fit) for model in TABLE if (fit := model.fit(machine)) is not None]
    lines = [*_omni(OMNI[kind]), *(line for model, fit in chosen for line in _entry(model, fit, kind))]
    models = "".join(f"        {line}\n" for line in lines)
    return f"{head}{_SERVER}{_TIMES[kind]}      models:\n{models}{_routes(kind)}"


def _entry(model: Model, fit: Fit, kind: str) -> Iterator[str]:
    """The lines of a model, and of its other aliases, which have the same entry."""
    yield from (f"# {line}" for line in model.why.splitlines())
    yield f"{model.alias}:{f' &{_anchor(model)}' if model.also else ''}"
    yield f"  engine: {model.engine}"
    yield f"  checkpoint: {model.checkpoint}"
    if fit.memory is not None:
        yield f"  memory: {fit.memory:_}"
    if fit.gpus is not None:
        yield f"  gpus: {fit.gpus:g}"
    if kind in model.on_machine:
        yield f"  {model.on_machine[kind]}"
    yield from (f"  {line}" for line in model.settings)
    if options := (*model.options, *fit.options):
        yield "  options:"
        yield from (f"    {line}" for line in options)
    yield from (f"{alias}: *{_anchor(model)}" for alias in model.also)


def _omni(made: Omni) -> Iterator[str]:
    """The lines of an entry that is made of others."""
    yield f"{made.alias}:  # a chat that draws and speaks, by the models named here"
    yield "  engine: omni"
    yield f"  chat: {made.chat}"
    yield f"  image: {made.image}"
    yield f"  voice: {made.voice}"


def _anchor(model: Model) -> str:
    return model.alias.partition("-")[0]


def _routes(kind: str) -> str:
    """Which model answers to which names; one model behind several names is in memory once."""
    pictures = "image-gen" if kind == "cpu" else "klein"
    chats = ("vlm-best", "gemma", "intern_vlm", *_TO_CHAT) if kind == "mac" else _TO_CHAT
    routes = [
        *((name, pictures) for name in _TO_PICTURES[kind]),
        ("text-embedding-*", "clip"),
        ("tts-*", "voice"),
        ("gpt-*-tts", "voice"),
        ("*whisper*", "listen"),
        ("gpt-*transcribe*", "listen"),
        *((name, "vlm-fast") for name in chats),
    ]
    lines = (f"        {_quoted(name)}: {alias}\n" for name, alias in routes)
    return (
        f"      default_models: {{image: {pictures}, vlm: vlm-fast, captioner: blip, clip: clip, voice: voice, "
        "asr: listen}\n"
        f"      routes:\n{''.join(lines)}      tasks: {_TASKS.get(kind, _ALL_TASKS)}\n"
    )


def _quoted(name: str) -> str:
    return f'"{name}"' if "*" in name else name
