"""DSPy: signatures by its JSON adapter; vectors."""

from typing import Literal

import dspy
from cases import MODEL, PNG_URL, QUESTION, case, main


def asked(url: str, signature: object, **fields: object) -> object:
    model = dspy.LM(f"openai/{MODEL}", api_base=url, api_key="none", num_retries=0, cache=False)
    with dspy.context(lm=model, adapter=dspy.JSONAdapter()):
        return dspy.Predict(signature)(**fields)


class Look(dspy.Signature):
    """Look at the picture."""

    picture: dspy.Image = dspy.InputField()
    question: str = dspy.InputField()
    colour: Literal["red", "blue", "green"] = dspy.OutputField()


@case
def picture(url: str) -> None:
    assert asked(url, Look, picture=dspy.Image(PNG_URL), question=QUESTION).colour in ("red", "blue", "green")


@case
def structured(url: str) -> None:
    assert isinstance(asked(url, "question -> sure: bool, count: int", question=QUESTION).sure, bool)


@case
def embeddings(url: str) -> None:
    embedder = dspy.Embedder("openai/text-embedding-3-small", api_base=url, api_key="none", caching=False)
    assert len(embedder(["a red circle", "a blue star"])) == 2


if __name__ == "__main__":
    main()
