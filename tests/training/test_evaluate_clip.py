import numpy as np

from training.evaluate_clip import distinct_scenes, drawn_again, recall_at_1
from training.world import render


def test_no_two_of_the_scenes_are_described_alike() -> None:
    descriptions = {scene.description() for scene in distinct_scenes(200)}
    assert len(descriptions) == 200


def test_a_scene_drawn_again_is_another_picture_of_the_same_content() -> None:
    rng = np.random.default_rng(0)
    for scene in distinct_scenes(20):
        again = drawn_again(scene, rng)
        assert again.description() == scene.description()
        assert not np.array_equal(np.asarray(render(again)), np.asarray(render(scene)))


def test_recall_counts_the_queries_whose_own_image_is_nearest() -> None:
    images = np.eye(3, dtype=np.float32)
    assert recall_at_1(images, images) == 1.0
    assert recall_at_1(images[[0, 2, 2]], images) == 2 / 3
