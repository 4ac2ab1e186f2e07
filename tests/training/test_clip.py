import torch

from training.clip import Said, contrastive_loss, fitting, train_tokenizer
from training.gallery import attributes
from training.queries import Claim
from training.world import Scene, Thing


def scene(colour: str) -> Scene:
    red = Thing("circle", colour, "big", "left", (215, 38, 40), (15, 32), 14, 0)  # type: ignore[arg-type]
    return Scene("blue", (40, 78, 212), (red,))


def test_a_caption_fits_its_own_scene_and_a_query_every_scene_it_is_true_of() -> None:
    said = [Said("a red circle on blue", full=True), Said("circle", full=False, claim=Claim(shape="circle"))]
    classes = torch.stack([attributes(scene("red")), attributes(scene("green"))])
    assert fitting(said, classes).tolist() == [[True, False], [True, True]]


def test_a_query_is_not_punished_for_fitting_another_image() -> None:
    logits = torch.tensor([[20.0, 0.0], [20.0, 20.0]])
    alone = contrastive_loss(logits, torch.eye(2, dtype=torch.bool))
    shared = contrastive_loss(logits, torch.tensor([[True, False], [True, True]]))
    assert shared < alone / 1.5


def test_unknown_letters_are_spelled_in_bytes() -> None:
    tokenizer = train_tokenizer(captions=300)
    for text in ("a red circle", "빨간 뷁", "赤い鬱", "🙂 é"):
        ids = tokenizer(text)["input_ids"]
        assert tokenizer.unk_token_id not in ids
        assert tokenizer.decode(ids, skip_special_tokens=True).strip() == text
