"""Fields of `POST /v1/embeddings` (docs/http-api.md, "Embeddings")."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Discriminator, Field, Tag

from deployments.ingress.requests.body import Fields

MAX_INPUTS = 2048
MAX_EMBEDDED_IMAGES = 32
MAX_CHARACTERS = 100_000
"""Of one text; how many tokens it may have is known only where it is embedded."""
Text = Annotated[str, Field(min_length=1, max_length=MAX_CHARACTERS)]
TokenId = Annotated[int, Field(strict=True)]
TokenIds = Annotated[list[TokenId], Field(min_length=1, max_length=MAX_CHARACTERS)]
"""Ids of OpenAI's `cl100k_base` instead of a text."""


class EmbeddingInput(Fields):
    """One of the two."""

    text: Text | None = None
    image: str | None = Field(None, min_length=1, description="data URL, or http(s) where fetching is allowed")


def _shape(value: object) -> str:
    if isinstance(value, list):
        return "tokens" if value and isinstance(value[0], int) else "several"
    return "object" if isinstance(value, dict) else "text"


def _item_shape(value: object) -> str:
    return "tokens" if isinstance(value, list) else "object" if isinstance(value, dict) else "text"


# among others an empty text is one: who splits documents has them, and they have a vector like any other
Item = Annotated[
    Annotated[str, Field(max_length=MAX_CHARACTERS), Tag("text")]
    | Annotated[EmbeddingInput, Tag("object")]
    | Annotated[TokenIds, Tag("tokens")],
    Discriminator(_item_shape),
]
Several = Annotated[list[Item], Field(min_length=1, max_length=MAX_INPUTS)]
# the shape decides before anything is validated, so that a fault is one of the shape that was sent
Inputs = Annotated[
    Annotated[Text, Tag("text")]
    | Annotated[EmbeddingInput, Tag("object")]
    | Annotated[TokenIds, Tag("tokens")]
    | Annotated[Several, Tag("several")],
    Discriminator(_shape),
]


class Embeddings(Fields):
    """`POST /v1/embeddings`."""

    input: Inputs
    model: str | None = Field(None, description="alias of a model of kind clip")
    encoding_format: Literal["float", "base64"] = Field("float", description="base64 is of little-endian float32")
    dimensions: int | None = Field(None, ge=1, description="so many of the first numbers; at most the model's own")
    user: str | None = None  # read, without effect
