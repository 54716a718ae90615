"""A tiny Mistral learns: the loss falls, questions are answered in words never trained on, the committed files are what is made here."""

import contextlib
import hashlib
import io
import json
import os
import shutil
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path
from typing import Any
from unittest import mock

from blake3 import blake3
from safetensors.torch import load_file

import fixture
import reference
import synthetic
import train
from conversations import Refused

HERE = Path(__file__).parent
COMMITTED = HERE.parent.parent / "inference/candle/tests/fixtures/lora"


def quietly(*given: str) -> str:
    """Trains and returns what it said."""
    with contextlib.redirect_stdout(io.StringIO()) as said:
        train.run(list(given))
    return said.getvalue()


class Training(unittest.TestCase):
    folder: Path
    made: Path
    card: dict[str, Any]
    common: list[str]

    @classmethod
    def setUpClass(cls) -> None:
        cls.folder = Path(cls.enterClassContext(tempfile.TemporaryDirectory()))
        cls.made = cls.folder / "made"
        with contextlib.redirect_stdout(io.StringIO()):
            fixture.make(cls.made)
        cls.card = json.loads((cls.made / "adapter/training-card.json").read_text())
        cls.common = ["--data", str(cls.made / "export"), "--base", str(cls.made / "base")]

    def test_the_loss_falls_on_what_is_learned_and_on_what_was_never_seen(self) -> None:
        steps = [step["loss"] for step in self.card["loss"]["train"]]
        valid = self.card["loss"]["valid"]
        self.assertGreater(steps[0], 4)
        self.assertLess(steps[-1], 0.2)
        self.assertGreater(valid[0], 4)
        self.assertLess(min(valid[1:]), 0.2)

    def test_questions_in_words_never_trained_on_are_answered_and_the_base_cannot(self) -> None:
        prompts, _ = reference.compute(self.made / "base", self.made / "adapter")
        for prompt, answer in zip(prompts, synthetic.FACTS.values(), strict=False):
            self.assertEqual(prompt["adapted"], f"{answer}.")
            self.assertNotEqual(prompt["base"], f"{answer}.")

    def test_the_same_seed_gives_the_same_bytes_and_another_gives_others(self) -> None:
        hashes = []
        for number, seed in enumerate(["3", "3", "4"]):
            out = self.folder / f"seed{number}"
            quietly(*self.common, "--out", str(out), "--epochs", "1", "--seed", seed)
            hashes.append(hashlib.sha256((out / "adapter_model.safetensors").read_bytes()).hexdigest())
            self.assertEqual((out / "adapter_config.json").read_text(), (self.folder / "seed0/adapter_config.json").read_text())
        self.assertEqual(hashes[0], hashes[1])
        self.assertNotEqual(hashes[0], hashes[2])

    def test_small_batches_in_steps_and_checkpointing_train_the_same_as_one_batch(self) -> None:
        found = []
        for name, more in [
            ("one", ["--batch", "64", "--accumulation", "1"]),
            ("steps", ["--batch", "7", "--accumulation", "10", "--checkpointing"]),
        ]:
            out = self.folder / name
            quietly(*self.common, "--out", str(out), "--epochs", "4", "--rate", "5e-3", "--dropout", "0", "--warmup", "0", *more)
            found.append([step["loss"] for step in json.loads((out / "training-card.json").read_text())["loss"]["train"]])
        # All 64 rows in one batch, or in ten of 7 and fewer: the same steps, but for rounding.
        self.assertEqual(len(found[0]), 4)
        self.assertLess(found[0][3], found[0][0] - 1)
        for one, other in zip(*found, strict=True):
            self.assertAlmostEqual(one, other, places=2)

    def test_the_card_names_data_base_and_adapter_by_their_hashes(self) -> None:
        self.assertEqual(self.card["data"]["content_hash"], blake3((self.made / "export/manifest.json").read_bytes()).hexdigest())
        for name in ("train.jsonl", "valid.jsonl"):
            self.assertEqual(self.card["data"]["blake3"][name], blake3((self.made / "export" / name).read_bytes()).hexdigest())
        # As `ajatus model add` names them: over the base's hash and the adapter's files (docs/models.md).
        files = [(self.made / "adapter" / name).read_bytes() for name in ("adapter_config.json", "adapter_model.safetensors")]
        base = blake3((self.made / "base/model.safetensors").read_bytes())
        self.assertEqual(self.card["base"]["weights"], base.hexdigest()[:16])
        self.assertEqual(self.card["adapter"]["weights"], blake3(base.digest() + files[0] + files[1]).hexdigest()[:16])
        self.assertEqual(list(self.card["adapter"]["blake3"].values()), [blake3(file).hexdigest() for file in files])
        self.assertEqual(
            self.card["base"]["tokenizer_sha256"], hashlib.sha256((self.made / "base/tokenizer.json").read_bytes()).hexdigest()
        )
        self.assertEqual(self.card["data"]["splits"]["valid"]["conversations"], len(synthetic.FACTS) * len(synthetic.HELD_OUT))
        # What people said stands nowhere in it, nor where the base lay on this machine.
        files = "".join(file.read_text() for file in (self.made / "adapter").glob("*.json"))
        self.assertNotIn("Rekku", files)
        self.assertNotIn(str(self.folder), files)

    def test_the_committed_numbers_are_what_pytorch_computes(self) -> None:
        prompts, tensors = reference.compute(COMMITTED / "base", COMMITTED / "adapter")
        committed = load_file(COMMITTED / "reference.safetensors")
        self.assertEqual(tensors.keys(), committed.keys())
        for name, values in tensors.items():
            self.assertLess(float((values - committed[name]).abs().max()), 1e-4, name)
        said = json.loads((COMMITTED / "reference.json").read_text())["prompts"]
        self.assertEqual(
            [(prompt["text"], prompt["adapted"]) for prompt in prompts], [(prompt["text"], prompt["adapted"]) for prompt in said]
        )

    def test_the_committed_base_and_export_are_what_is_made_here(self) -> None:
        for name in (
            "export/train.jsonl",
            "export/valid.jsonl",
            "export/manifest.json",
            "base/tokenizer.json",
            "base/tokenizer_config.json",
            "base/config.json",
        ):
            self.assertEqual((COMMITTED / name).read_text(), (self.made / name).read_text(), name)
        ours, theirs = (load_file(folder / "base/model.safetensors") for folder in (self.made, COMMITTED))
        self.assertEqual(ours.keys(), theirs.keys())
        for name in ours:
            self.assertTrue(ours[name].equal(theirs[name]), name)

    def test_a_killed_run_leaves_no_adapter_and_does_not_hinder_the_next(self) -> None:
        out = self.folder / "killed"
        with mock.patch.object(train.card, "write", side_effect=KeyboardInterrupt), self.assertRaises(KeyboardInterrupt):
            quietly(*self.common, "--out", str(out), "--epochs", "1")
        self.assertFalse(out.exists())
        quietly(*self.common, "--out", str(out), "--epochs", "1")
        self.assertTrue((out / "training-card.json").is_file())
        self.assertFalse(out.with_name("killed.new").exists())


class Refusing(unittest.TestCase):
    def setUp(self) -> None:
        self.folder = Path(self.enterContext(tempfile.TemporaryDirectory()))
        self.base = self.folder / "base"
        shutil.copytree(COMMITTED / "base", self.base)

    def refusal(self, *more: str) -> str:
        with self.assertRaises(Refused) as refused:
            quietly("--data", str(COMMITTED / "export"), "--base", str(self.base), "--out", str(self.folder / "out"), *more)
        return str(refused.exception)

    def test_says_what_to_do(self) -> None:
        self.assertIn("raise --max-tokens", self.refusal("--max-tokens", "4"))
        (self.folder / "out").mkdir()
        self.assertIn("there already", self.refusal())
        (self.folder / "out").rmdir()
        settings = self.base / "tokenizer_config.json"
        settings.write_text('{"eos_token": "</s>"}')
        self.assertIn("--template", self.refusal())
        settings.write_text('{"chat_template": "x"}')
        self.assertIn("eos_token is missing", self.refusal())
        (self.base / "tokenizer.json").unlink()
        self.assertIn("there is no tokenizer.json", self.refusal())

    def test_a_base_that_is_no_folder_and_cannot_be_fetched_is_named(self) -> None:
        with mock.patch.dict(os.environ, {"HF_HUB_OFFLINE": "1"}), mock.patch("huggingface_hub.constants.HF_HUB_OFFLINE", True):
            said = self.refusal("--base", "nobody/nothing")
        self.assertIn("nobody/nothing is no folder", said)
        self.assertIn("hf auth login", said)

    def test_the_command_ends_with_one_line_and_no_trace(self) -> None:
        bad = self.folder / "bad.jsonl"
        bad.write_text("{\n")
        command = [sys.executable, str(HERE / "train.py"), "--data", str(bad), "--base", str(self.base), "--out", str(self.folder / "out")]
        ended = subprocess.run(command, capture_output=True, text=True, check=False)
        self.assertEqual(ended.returncode, 1)
        self.assertIn("line 1: it is not JSON", ended.stderr)
        self.assertNotIn("Traceback", ended.stderr)
        self.assertFalse((self.folder / "out").exists())


if __name__ == "__main__":
    unittest.main()
