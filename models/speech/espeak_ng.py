"""espeak-ng's C library (wheel espeakng-loader) as one function from text to samples.

The library is one global state per process, and what it has said flutters on into what it says next. So each call loads
it afresh and lets it go again (2 ms, against some 2 ms for a sentence): the same words always give the same samples.
"""

from __future__ import annotations

import _ctypes  # noqa: PLC2701 - ctypes has no other way
import ctypes
import threading
from typing import Any

import numpy as np

from models.errors import CheckpointError, InferenceFailed
from models.tasks import Audio

WORDS_PER_MINUTE = 175
"""espeak-ng's usual speed; it speaks 80 to 700."""

# espeak-ng/speak_lib.h
_OUTPUT_SYNCHRONOUS = 2
_INITIALIZE_DONT_EXIT = 0x8000
_RATE = 1
_POSITION_CHARACTER = 1
_CHARS_UTF8 = 0x0001
_END_PAUSE = 0x1000

_callback_type = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.c_void_p)
_one_at_a_time = threading.Lock()


def speak(text: str, voice: str, speed: float = 1.0, pause: bool = False) -> Audio:
    """Text spoken by one of espeak-ng's voices ("en-us", "ko" …), with a sentence's pause after it if wanted.

    Raises:
        CheckpointError: the wheel, its data or the voice is missing.
        InferenceFailed: the library refused the text.
    """
    import espeakng_loader

    data_path = espeakng_loader.get_data_path().encode()
    blocks: list[bytes] = []

    def keep(samples: Any, count: int, _events: Any) -> int:
        if samples and count > 0:
            blocks.append(ctypes.string_at(samples, 2 * count))
        return 0

    callback = _callback_type(keep)
    with _one_at_a_time:
        library = ctypes.CDLL(espeakng_loader.get_library_path())
        try:
            rate = library.espeak_Initialize(_OUTPUT_SYNCHRONOUS, 0, data_path, _INITIALIZE_DONT_EXIT)
            if rate <= 0:
                raise CheckpointError(f"espeak-ng could not start with the data in {data_path.decode()!r}")
            library.espeak_SetSynthCallback(callback)
            if library.espeak_SetVoiceByName(voice.encode()):
                raise CheckpointError(f"espeak-ng has no voice {voice!r}")
            library.espeak_ng_SetRandSeed(ctypes.c_long(1))
            library.espeak_SetParameter(_RATE, round(WORDS_PER_MINUTE * speed), 0)
            words = text.encode() + b"\0"
            flags = _CHARS_UTF8 | (_END_PAUSE if pause else 0)
            if library.espeak_Synth(words, len(words), 0, _POSITION_CHARACTER, 0, flags, None, None):
                raise InferenceFailed("espeak-ng refused the text")
            library.espeak_Terminate()
        finally:
            _ctypes.dlclose(library._handle)  # noqa: SLF001 - ctypes has no other way
    return Audio(np.frombuffer(b"".join(blocks), "<i2").astype(np.float32) / 32768, int(rate))
