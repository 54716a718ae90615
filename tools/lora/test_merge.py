"""A merged folder says what base and adapter say, and a wrong adapter is refused."""

import json
import shutil
import tempfile
import unittest
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

import base as bases
import reference
from conversations import Refused
from merge import merge

COMMITTED = Path(__file__).parent.parent.parent / "inference/candle/tests/fixtures/lora"
BASE, ADAPTER = COMMITTED / "base", COMMITTED / "adapter"


class Merging(unittest.TestCase):
    def setUp(self) -> None:
        self.folder = Path(self.enterContext(tempfile.TemporaryDirectory()))
        self.out = self.folder / "merged"
        self.wanted = load_file(COMMITTED / "reference.safetensors")
        self.prompts = json.loads((COMMITTED / "reference.json").read_text())["prompts"]

    def answers(self, folder: Path) -> tuple[list[str], float]:
        """What a merged folder answers, and how far its logits are from those of base and adapter."""
        model, tokenizer = reference.load(folder), bases.tokenizer(bases.find(str(folder), None), None)
        said, furthest = [], 0.0
        for number in range(len(self.prompts)):
            tokens = self.wanted[f"{number}.tokens"].tolist()
            off = reference.logits(model, tokens)[-reference.KEPT :] - self.wanted[f"{number}.adapted"]
            furthest = max(furthest, float(off.abs().max()))
            said.append(reference.answer(model, tokenizer, tokens)[0])
        return said, furthest

    def test_in_f32_it_is_the_same_and_in_bf16_it_answers_the_same(self) -> None:
        merge(BASE, ADAPTER, self.out, f32=True)
        said, furthest = self.answers(self.out)
        self.assertEqual(said, [prompt["adapted"] for prompt in self.prompts])
        self.assertLess(furthest, 1e-4)
        half = self.folder / "half"
        merge(BASE, ADAPTER, half, f32=False)
        self.assertEqual({weight.dtype for weight in load_file(half / "model.safetensors").values()}, {torch.bfloat16})
        self.assertEqual(self.answers(half)[0], said)

    def test_a_base_in_parts_stays_in_parts(self) -> None:
        parts = self.folder / "parts"
        shutil.copytree(BASE, parts)
        weights = load_file(parts / "model.safetensors")
        (parts / "model.safetensors").unlink()
        for number in (1, 2):
            save_file(
                {name: weight for at, (name, weight) in enumerate(weights.items()) if at % 2 == number - 1},
                parts / f"model-{number}.safetensors",
            )
        merge(parts, ADAPTER, self.out, f32=False)
        whole = self.folder / "whole"
        merge(BASE, ADAPTER, whole, f32=False)
        merged = {name: weight for number in (1, 2) for name, weight in load_file(self.out / f"model-{number}.safetensors").items()}
        for name, weight in load_file(whole / "model.safetensors").items():
            self.assertTrue(weight.equal(merged[name]), name)

    def test_refuses_what_does_not_belong_together(self) -> None:
        def refusal() -> str:
            with self.assertRaises(Refused) as refused:
                merge(BASE, adapter, self.out, f32=False)
            self.assertFalse(self.out.exists())
            return str(refused.exception)

        adapter = self.folder / "adapter"
        self.assertIn("there is no adapter_config.json", refusal())
        shutil.copytree(ADAPTER, adapter)
        good = load_file(adapter / "adapter_model.safetensors")
        some = "base_model.model.model.layers.0.self_attn.q_proj.lora_B.weight"
        for tensors, reason in [
            ({name: value for name, value in good.items() if name != some}, "are no"),
            ({**good, some: torch.zeros(8, 8)}, "another base"),
            ({name.replace("layers.1", "layers.7"): value for name, value in good.items()}, "the base has no"),
        ]:
            save_file(tensors, adapter / "adapter_model.safetensors")
            self.assertIn(reason, refusal())
        config = json.loads((adapter / "adapter_config.json").read_text())
        (adapter / "adapter_config.json").write_text(json.dumps({**config, "use_dora": True}))
        self.assertIn("use_dora", refusal())
        self.out.mkdir()
        with self.assertRaises(Refused):
            merge(BASE, ADAPTER, self.out, f32=False)


if __name__ == "__main__":
    unittest.main()
