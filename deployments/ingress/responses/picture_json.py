"""JSON that has pictures in it, whose base64 is only made when it is written."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from deployments.ingress.responses.base64_json import with_base64


@dataclass(frozen=True)
class PictureJson:
    """An object in which some of the inner ones get `name`: the base64 of a picture.

    `pictures` are those inner objects, in the order in which they stand, each with its encoded picture. They are
    changed by writing.
    """

    value: Mapping[str, Any]
    pictures: tuple[tuple[dict[str, Any], bytes], ...] = ()
    name: str = field(default="result")

    async def text(self) -> str:
        """The JSON."""
        if not self.pictures:
            return json.dumps(self.value, ensure_ascii=False)
        items, data = zip(*self.pictures, strict=True)
        return (await with_base64(self.value, items, self.name, data)).decode()
