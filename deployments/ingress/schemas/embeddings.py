"""Fields of `POST /v1/embeddings` (docs/http-api.md, "Embeddings")."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Discriminator, Field, Tag

from deployments.ingress.errors import invalid
from deployments.ingress.requests.body import Fields

MAX_INPUTS = 2048
MAX_EMBEDDED_IMAGES = 32
Text = Annotated[str, Field(min_length=1, max_length=8000)]


class EmbeddingInput(Fields):
    """One of the two."""

    text: Text | None = None
    image: str | None = Field(None, min_length=1, description="data URL, or http(s) where fetching is allowed")


def _no_token_ids(value: list[Any]) -> list[Any]:
    if value and isinstance(value[0], (int, list)):
        raise invalid(
            "input", "input: token ids are of another model's tokenizer; send the text itself", "invalid_type"
        )
    return value


def _shape(value: object) -> str:
    return "several" if isinstance(value, list) else "object" if isinstance(value, dict) else "text"


Input = Text | EmbeddingInput
Several = Annotated[list[Input], Field(min_length=1, max_length=MAX_INPUTS), BeforeValidator(_no_token_ids)]
# the shape decides before anything is validated, so that a fault is one of the shape that was sent
Inputs = Annotated[
    Annotated[Text, Tag("text")] | Annotated[EmbeddingInput, Tag("object")] | Annotated[Several, Tag("several")],
    Discriminator(_shape),
]


class Embeddings(Fields):
    """`POST /v1/embeddings`."""

    input: Inputs
    model: str | None = Field(None, description="alias of a model of kind clip")
    encoding_format: Literal["float", "base64"] = Field("float", description="base64 is of little-endian float32")
    dimensions: int | None = Field(None, ge=1, description="no other than the model's own")
    user: str | None = None  # read, without effect
