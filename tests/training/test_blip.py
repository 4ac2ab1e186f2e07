import torch

from training import eyes
from training.blip import build, renamed


@torch.inference_mode()
def test_blip_sees_what_the_tower_it_begins_with_sees() -> None:
    torch.manual_seed(0)
    tower = eyes.tower().eval()
    blip = build(50).eval()
    blip.vision_model.load_state_dict(renamed(tower.state_dict()))
    pixels = torch.rand(2, 3, 64, 64)
    whole, patches = eyes.look(tower, pixels)
    seen = blip.vision_model(pixels).last_hidden_state
    torch.testing.assert_close(seen, torch.cat([whole[:, None], patches], 1), atol=1e-4, rtol=1e-4)
