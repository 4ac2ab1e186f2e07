"""The student's steps, and that what serves it says what it has learnt."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn import functional

from models.cells import cells_of, load_trunk
from models.describer import kinds, open_describer
from models.packed import unpacked
from models.picture_kinds import PictureKind
from models.sight import SIDE as SQUARE
from models.sight import TOKENS, Eyes, Reader
from tests.checkpoints.describers import SMALL_READER
from tests.training.describer.scenes import scene, shape, thing
from training.art.subjects import subjects
from training.composer.scene import Mix, Scene
from training.conversations import UNTOLD, Conversation, Rows, pack
from training.describer.folder import gate_features, is_of_shapes, learn_gate, write_folder
from training.describer.labels import THINGS, numbers, shown_in
from training.describer.measuring import Case, Describer, about_one
from training.describer.naming import words
from training.describer.photographs import Photographs
from training.describer.pool import pixels, scene_of, world
from training.describer.questions import SEVERAL, Asked
from training.describer.sight import SPELLS, TOLD, new_reader
from training.describer.student import Student, doubted, learn_words, of_a_kind
from training.describer.talks import ROW, SIDE, Talks
from training.describer.vocabulary import vocabulary
from training.eight_bits import packed
from training.embedder.lexicon import Lexicon
from training.loop import Schedule
from training.wordnet import WordNet
from training.world import PLACES


@pytest.fixture
def student(tokenizer: Any) -> Student:
    torch.manual_seed(0)
    return Student(tokenizer)


def encoder(tokenizer: Any) -> Any:
    return lambda text: tokenizer.backend_tokenizer.encode(text, add_special_tokens=False).ids


def picture() -> Image.Image:
    """Of the side that is looked at: others are squeezed to it by PIL in training and by torchvision in serving."""
    drawn = scene(thing("cat", "left"), thing("car", "right"), ground="beach")
    return Image.fromarray(world(unseen=False)[1].compose(drawn)).resize((SQUARE, SQUARE))


@torch.no_grad()
def loss_of(student: Student, photographs: Photographs) -> float:
    """The mean over batches that no step has seen."""
    scenes_of = partial(scene_of, unseen=False)
    talks = Talks(encoder(student.tokenizer), student.image_token, scenes_of, photographs)
    losses = []
    for seed in (101, 102):
        scenes, guesses, said = talks.draw(4, 1, 2, np.random.default_rng(seed))
        taken = student.reader.photographed(guesses)[:, None].expand(-1, TOKENS, -1)
        seen = torch.cat([told_of(student, *scenes), taken])
        losses.append(student.answer_loss(pack(said, student.padding, ROW), seen))
    return float(torch.stack(losses).mean())


def told_of(student: Student, *scenes: Scene) -> torch.Tensor:
    """Tokens, of beliefs that are sure."""
    shown = shown_in(scenes, words())
    return student.reader.told(shown, functional.one_hot(shown.things, THINGS).float())


def schedule(steps: int) -> Schedule:
    return Schedule(steps=steps, lr=2e-3, muon=8e-3, warmup=1, hold=steps, ema=0.5, seed=1, bf16=False)


def test_words_leave_what_finds_as_it_is(student: Student) -> None:
    before = {name: weight.clone() for name, weight in student.reader.state_dict().items()}
    learn_words(student, schedule(2), 2, "describer/beside")
    changed = {name for name, weight in student.reader.state_dict().items() if not torch.equal(weight, before[name])}
    assert changed == {name for name in before if name.startswith(("said.", "guess.", "tokens"))}


def test_what_is_found_is_told_by_its_names_at_first(student: Student) -> None:
    student.say_by_name()
    table = student.language_model.get_input_embeddings().weight
    assert {part: len(answers) for part, answers in vocabulary().items()} == {
        part: len(weight) for part, weight in said(student).items()
    }
    for part, answers in vocabulary().items():
        for number in (1, len(answers) - 2):
            tokens = student.tokenizer(answers[number][0], add_special_tokens=False)["input_ids"]
            likeness = functional.cosine_similarity(said(student)[part], table[tokens].mean(0)[None])
            assert likeness[number] > likeness.median() + 0.1, (part, answers[number])
    assert not said(student)["thing"][0].any()
    assert torch.equal(student.reader.get_parameter("said.other.weight"), said(student)["thing"])
    told = told_of(student, scene(thing("cat", "left"), ground="beach"))[0]
    for token, name in ((0, "cat"), (5, "beach"), (6, "1")):
        tokens = student.tokenizer(name, add_special_tokens=False)["input_ids"]
        likeness = functional.cosine_similarity(told[token], table)
        assert likeness[tokens].mean() > likeness.mean() + 1.5 * likeness.std(), name


def said(student: Student) -> dict[str, torch.Tensor]:
    held = student.reader.state_dict()
    places = held["tokens"][: len(PLACES)]
    return {part: held[f"said.{part}.weight"] if part != "place" else places for part in vocabulary()}


def test_some_heads_look_for_the_same_word_at_first(student: Student) -> None:
    attention = student.language_model.layers[0].self_attn

    @torch.no_grad()
    def likeness(head: int) -> float:
        queries, keys = attention.q_proj.weight[64 * head : 64 * head + 64], attention.k_proj.weight[:64]
        matched = queries.T @ keys
        return float(matched.diagonal().mean() / matched.std())

    assert likeness(0) < 0.5
    student.say_by_name()
    assert likeness(0) > 2
    assert likeness(1) > 2
    assert likeness(2) < 0.5


def test_what_finds_is_taken_over_from_two_and_what_is_told_stays(student: Student) -> None:
    torch.manual_seed(5)
    sight, spelling = new_reader().state_dict(), new_reader().state_dict()
    before = {name: weight.clone() for name, weight in student.reader.state_dict().items()}
    student.find_as(sight, spelling)
    for name, weight in student.reader.state_dict().items():
        whose = before if name.startswith(TOLD) else spelling if name.startswith(SPELLS) else sight
        assert torch.equal(weight, whose[name]), name


def asked_of(student: Student, *names: tuple[str, int]) -> tuple[Rows, torch.Tensor]:
    """A drawing of a cat on the left and a car on the right; where the things of some names are."""
    conversation = Conversation(encoder(student.tokenizer), student.image_token, side=4)
    conversation.begin()
    conversation.say("Hello")
    conversation.show(0)
    for name, at in names:
        conversation.begin(0)
        question = f"Where is the {name}?"
        conversation.refer(question, len(question) - 1, (at, numbers()[name], UNTOLD, UNTOLD))
        conversation.say(question)
        conversation.say("Somewhere", learnt=True)
    return pack([conversation], student.padding, ROW), told_of(
        student, scene(thing("cat", "left"), thing("car", "right"))
    )


def test_which_thing_is_asked_for_and_where_it_is_is_learnt_half_way(student: Student) -> None:
    rows, told = asked_of(student, ("car", 2), ("rocket", 0))
    loss = student.answer_loss(rows, told)
    loss.backward()  # type: ignore[no-untyped-call]
    for asked in (student.guide, student.meant):
        assert asked.weight.grad is not None
        assert asked.weight.grad.abs().sum() > 0


@torch.no_grad()
def test_a_head_is_to_look_from_a_name_to_the_place_of_its_thing(student: Student) -> None:
    rows, told = asked_of(student, ("car", 2), ("rocket", 0), ("cat", 1), ("chair", SEVERAL))
    shown = (rows.tokens[0] == student.image_token).nonzero().flatten()
    embeds = student.language_model.get_input_embeddings()(rows.tokens)
    embeds[0, shown] = told[0]
    student.language_model.set_attn_implementation("eager")
    output = student.language_model(
        inputs_embeds=embeds,
        position_ids=rows.positions,
        attention_mask={"full_attention": torch.zeros(rows.sees.shape).masked_fill(~rows.sees, -torch.inf)},
        use_cache=False,
        output_attentions=True,
        output_hidden_states=True,
    )
    looked, right = student._looked(rows, output.hidden_states[1])
    assert right.tolist() == [int(shown[place]) for place in (1, len(PLACES), 0)]
    torch.testing.assert_close(looked.softmax(-1), output.attentions[1][0, 0, rows.names[:3, 1]])


def test_doubts_are_about_what_is_there_and_oftener_take_it_for_something_of_its_kind() -> None:
    torch.manual_seed(1)
    alike = of_a_kind()
    things = torch.randint(1, len(subjects()), (300, 5))
    things[:, 3:] = 0
    beliefs = doubted(things, alike)
    assert (beliefs[:, 3:, 0] == 1).all()
    assert not beliefs[:, :3, 0].any()
    assert not beliefs[:, 3:, 1:].any()
    likeliest, there = beliefs[:, :3].argmax(-1), things[:, :3]
    wrong = likeliest != there
    assert 0.1 < float(wrong.float().mean()) < 0.35
    assert float(alike[there[wrong], likeliest[wrong]].float().mean()) > 0.5


def test_a_few_steps_lower_the_loss(student: Student, wordnet: WordNet) -> None:
    photographs = Photographs.of(load_trunk(), Lexicon.read(wordnet))
    before = loss_of(student, photographs)
    learn_words(student, schedule(6), 2, "describer/few-steps")
    assert loss_of(student, photographs) < 0.85 * before


def test_what_is_drawn_ahead_by_other_processes_is_what_is_drawn_here(student: Student) -> None:
    before = {name: weight.clone() for name, weight in student.state_dict().items()}
    learn_words(student, schedule(2), 2, "describer/drawn-here")
    here = {name: weight.clone() for name, weight in student.state_dict().items()}
    student.load_state_dict(before)
    learn_words(student.train(), schedule(2), 2, "describer/drawn-ahead", workers=2)
    assert all(torch.equal(weight, here[name]) for name, weight in student.state_dict().items())


@pytest.fixture
def served(student: Student, tmp_path: Path) -> Path:
    """The folder of a student whose weights are large enough that a wrong position shows; drawings are told as such."""
    for parameter in student.parameters():
        if parameter.ndim == 2:
            torch.nn.init.normal_(parameter, 0, 0.08)
    with torch.no_grad():
        student.reader.kinds.weight.zero_()
        student.reader.kinds.bias.copy_(torch.tensor([0.0, 1.0, 0.0]))
    # What serves has the weights in 8 bits: so has the student, to be compared with it.
    student.load_state_dict(unpacked(packed(student.state_dict())))
    write_folder(student.eval(), tmp_path)
    return tmp_path


def asked_alone(student: Student, seen: torch.Tensor, question: str, answer: str) -> float:
    """Its loss where a picture of these tokens and the question are all that there is."""
    conversation = Conversation(encoder(student.tokenizer), student.image_token, side=SIDE)
    conversation.begin()
    conversation.say("<|im_start|>user\n")
    conversation.show(0)
    conversation.say(f"{question}<|im_end|>\n<|im_start|>assistant\n")
    conversation.say(f"{answer}<|im_end|>", learnt=True)
    with torch.no_grad():
        return float(student.answer_loss(pack([conversation], student.padding, ROW), seen))


def served_loss(folder: Path, question: str, answer: str) -> float:
    model, processor = open_describer(folder, torch.float32)
    turn = {"role": "user", "content": [{"type": "image"}, {"type": "text", "text": question}]}
    text = processor.apply_chat_template([turn], tokenize=False, add_generation_prompt=True)
    inputs = processor(text=[f"{text}{answer}<|im_end|>"], images=[picture()], return_tensors="pt")
    length = len(processor.tokenizer(f"{answer}<|im_end|>")["input_ids"])
    with torch.no_grad():
        logits = model(**inputs).logits[0, -length - 1 : -1]
    return float(functional.cross_entropy(logits, inputs["input_ids"][0, -length:]))


def test_what_serves_sees_and_says_what_was_learnt(student: Student, served: Path) -> None:
    with torch.no_grad():
        seen = Eyes(load_trunk(), student.reader).drawn(pixels(picture())[None])[None]
    wanted = asked_alone(student, seen, "What is on the left?", "A cat")
    assert served_loss(served, "What is on the left?", "A cat") == pytest.approx(wanted, rel=1e-5)


def test_what_serves_tells_a_photograph_by_the_guess(student: Student, tmp_path: Path, served: Path) -> None:
    del served
    with torch.no_grad():
        student.reader.kinds.bias[PictureKind.PHOTOGRAPH] = 2
    write_folder(student, tmp_path)
    trunk = load_trunk()
    with torch.no_grad():
        guesses = trunk.classifier(cells_of(trunk, pixels(picture())[None]).coarse.mean((1, 2))).softmax(-1)
        seen = student.reader.photographed(guesses)[:, None].expand(-1, TOKENS, -1)
    wanted = asked_alone(student, seen, "What is it?", "A cat")
    assert served_loss(tmp_path, "What is it?", "A cat") == pytest.approx(wanted, rel=1e-5)


def test_a_written_folder_answers_in_batches_and_goes_on_from_what_is_begun(served: Path) -> None:
    describer = Describer(served)
    one = Case((picture(),), Asked("what", "en", "What is it?", ""))
    two = Case((picture(), picture()), Asked("same", "en", "Are these images identical?", ""))
    answers = describer.answers([one, two, one], longest=6)
    assert len(answers) == 3
    assert answers[0] == answers[2]
    assert describer.answers([one], ['{"name":'], longest=6) != describer.answers([one], longest=6)
    assert kinds(describer.model, [picture(), picture()]) == [PictureKind.DRAWING] * 2


def test_measured_cases_are_of_their_kind_and_in_designs_that_never_train() -> None:
    cases = about_one("where", Mix(figures=(0.0, 1.0, 0.0, 0.0)), 5, "ko")
    assert [case.said.kind for case in cases] == ["where"] * 5
    assert {case.pictures[0].size for case in cases} == {(128, 128)}


def _of_three_kinds(rng: np.random.Generator, count: int, kind: int) -> torch.Tensor:
    """Mean features, each kind with channels of its own that are high."""
    made = rng.random((count, 1280), np.float32) * 0.4
    made[:, 200 * kind : 200 * kind + 100] += 0.5
    return torch.from_numpy(made)


def test_the_gate_tells_shapes_drawings_and_photographs_apart(wordnet: WordNet) -> None:
    rng = np.random.default_rng(1)
    photographs = Photographs.of(load_trunk(), Lexicon.read(wordnet))
    torch.manual_seed(0)
    reader = Reader(32, **SMALL_READER)
    taught = (_of_three_kinds(rng, 300, 0), _of_three_kinds(rng, 300, 1), photographs.draw(600, rng)[0])
    learn_gate(reader, *taught, steps=120)
    fresh = (_of_three_kinds(rng, 100, 0), _of_three_kinds(rng, 100, 1), photographs.draw(100, rng)[0])
    for kind, features in enumerate(fresh):
        assert float((reader.kind(features) == kind).float().mean()) > 0.95


def test_scenes_that_could_be_of_the_world_of_shapes_do_not_teach_the_gate() -> None:
    assert is_of_shapes(scene(shape("star", "red")))
    assert not is_of_shapes(scene(thing("cat")))
    assert not is_of_shapes(scene(shape("star", "red"), ground="beach"))


def test_pictures_of_shapes_are_looked_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("training.describer.folder.FOLDER", tmp_path)
    monkeypatch.setattr("training.describer.folder._PHOTOGRAPHS", 50)
    monkeypatch.setattr("training.describer.folder._SHAPES", 20)
    monkeypatch.setattr("training.describer.folder._DRAWN", 12)
    shapes, drawn, taken = gate_features()
    assert shapes.shape == (20, 1280)
    assert drawn.shape == (12, 1280)
    assert taken.shape == (50, 1280)
    kept = tmp_path / "gate.pt"
    written = kept.stat().st_mtime_ns
    assert torch.equal(gate_features()[1], drawn)
    assert kept.stat().st_mtime_ns == written
