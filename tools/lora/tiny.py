"""Makes a tiny Mistral with random weights and a tokenizer of its own, in the files that Mistral-7B-Instruct-v0.3 comes in.

It knows nothing and is good for tests: the way is the same as with 7 billion weights, and takes seconds.

    python tiny.py FOLDER [--seed 7] [--width 64]
"""

import argparse
import json
from pathlib import Path

import torch
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import MistralConfig, MistralForCausalLM
from transformers.utils import logging

SPECIAL = ["<unk>", "<s>", "</s>", "[INST]", "[/INST]"]
VOCABULARY = 320
# As Mistral v0.3 writes conversations, without its tools: the system message stands in the last turn of the user.
TEMPLATE = (
    "{%- if messages[0]['role'] == 'system' %}{%- set system_message = messages[0]['content'] %}{%- set loop_messages = messages[1:] %}"
    "{%- else %}{%- set loop_messages = messages %}{%- endif %}{{- bos_token }}"
    "{%- for message in loop_messages %}"
    "{%- if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}{{- raise_exception('roles must alternate user and assistant') }}{%- endif %}"
    "{%- if message['role'] == 'user' %}"
    "{%- if loop.last and system_message is defined %}{{- '[INST] ' + system_message + '\\n\\n' + message['content'] + '[/INST]' }}"
    "{%- else %}{{- '[INST] ' + message['content'] + '[/INST]' }}{%- endif %}"
    "{%- else %}{{- ' ' + message['content'] + eos_token }}{%- endif %}"
    "{%- endfor %}"
)
# What the tokenizer learns its pieces of.
TEXT = """What is the name of my dog? Your dog is called Rekku. Do you remember where I live? You live in Turku, by the river.
What do I like to eat? You like rye bread and blueberries. When does my sister visit? She comes on Friday. Good morning, how are you?
Mikä koirani nimi on? Koirasi nimi on Rekku. Muistatko, missä asun? Asut Turussa, joen rannalla. Hyvää huomenta, mitä kuuluu?
You are a friendly companion who remembers what people have told. 0 1 2 3 4 5 6 7 8 9""".splitlines()


def tokenizer() -> Tokenizer:
    """A byte-fallback BPE as Mistral v0.3 has it: spaces are written ▁, one stands before the first word."""
    made = Tokenizer(models.BPE(unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    # Pieces are learned of words, and used on the whole text.
    made.pre_tokenizer = pre_tokenizers.Metaspace(replacement="▁", prepend_scheme="first", split=True)
    made.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)])
    special: list[AddedToken | str] = [AddedToken(token, special=True, normalized=False) for token in SPECIAL]
    special += [f"<0x{byte:02X}>" for byte in range(256)]
    trainer = trainers.BpeTrainer(vocab_size=VOCABULARY, special_tokens=special, show_progress=False, max_token_length=8)
    made.train_from_iterator(TEXT, trainer)
    made.pre_tokenizer = pre_tokenizers.Metaspace(replacement="▁", prepend_scheme="first", split=False)
    # The trainer makes every byte a special token, which text then finds as text; they are plain entries of the vocabulary.
    written = json.loads(made.to_str())
    written["added_tokens"] = [token for token in written["added_tokens"] if token["content"] in SPECIAL]
    return Tokenizer.from_str(json.dumps(written))


def write(folder: Path, seed: int = 7, width: int = 64) -> None:
    """Writes the model's folder. `width` is the length of its vectors, a multiple of 8."""
    folder.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(seed)
    logging.disable_progress_bar()
    pieces = tokenizer()
    config = MistralConfig(
        vocab_size=pieces.get_vocab_size(),
        hidden_size=width,
        intermediate_size=2 * width,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=512,
        sliding_window=None,
        # Ten times the usual width: with the usual one all logits are so near to 0 that any two models agree.
        initializer_range=0.2,
        bos_token_id=1,
        eos_token_id=2,
        tie_word_embeddings=False,
    )
    model = MistralForCausalLM(config)
    for name, values in model.named_parameters():
        if "norm" in name:
            # All ones at first, which would hide a norm that is left out.
            torch.nn.init.uniform_(values, 0.5, 1.5)
    # Stored as Mistral-7B is.
    model.to(torch.bfloat16).save_pretrained(folder)
    # As the files of the 7B have it; transformers 5 writes it one level down, where older readers do not look.
    written = json.loads((folder / "config.json").read_text("utf-8"))
    written.setdefault("rope_theta", 10_000.0)
    (folder / "config.json").write_text(json.dumps(written, indent=1) + "\n", "utf-8")
    (folder / "generation_config.json").unlink(missing_ok=True)
    pieces.save(str(folder / "tokenizer.json"), pretty=False)
    settings = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>", "chat_template": TEMPLATE}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings, indent=1) + "\n", "utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description="Makes a tiny Mistral with random weights, for tests.")
    parser.add_argument("folder", type=Path, help="where to put it")
    parser.add_argument("--width", type=int, default=64, help="length of its vectors, a multiple of 8 (default 64)")
    parser.add_argument("--seed", type=int, default=7, help="of the weights (default 7)")
    arguments = parser.parse_args()
    write(arguments.folder, arguments.seed, arguments.width)


if __name__ == "__main__":
    main()
