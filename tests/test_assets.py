"""The bundled encoder: small, whole, and described by the figures of its own training."""

import importlib.util
import json
from pathlib import Path

import transformers

import plmlearn

ROOT = Path(plmlearn.__file__).parents[1]
MINI = Path(plmlearn.__file__).parent / "assets" / "mini"


def load_tool():
    spec = importlib.util.spec_from_file_location("train_mini", ROOT / "tools" / "train_mini.py")
    tool = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tool)
    return tool


def test_the_package_is_small():
    files = [f for f in Path(plmlearn.__file__).parent.rglob("*") if "__pycache__" not in f.parts]
    assert sum(f.stat().st_size for f in files if f.is_file()) <= 12e6
    assert (MINI / "model.safetensors").stat().st_size <= 8e6


def test_the_card_says_what_training_wrote():
    """Every figure of training comes from ``training.json``."""
    tool = load_tool()
    text = (MINI / "README.md").read_text()
    between = text.partition(tool.FIRST)[2].partition(tool.LAST)[0]
    assert between.strip() == tool.card(json.loads((MINI / "training.json").read_text()))


def test_figures_fit_the_weights():
    figures = json.loads((MINI / "training.json").read_text())
    model, report = transformers.EsmForMaskedLM.from_pretrained(MINI, output_loading_info=True)
    assert not report["missing_keys"]
    assert not report["unexpected_keys"]
    # What the encoder has beside: positions that rotary models do not use, and the contact head.
    used = [p for n, p in model.named_parameters() if "position_embeddings" not in n and "contact" not in n]
    assert abs(figures["n_parameters"] - sum(p.numel() for p in used)) <= 0.15 * figures["n_parameters"]
    assert model.config.num_hidden_layers == figures["recipe"]["n_layers"]
    assert figures["held_out_loss"] < figures["unigram_loss"]


def test_held_out_proteins_are_never_trained_on(tmp_path):
    import lzma

    tool = load_tool()
    (tmp_path / "corpus").mkdir()
    proteins = [f"M{'A' * (i % 50 + 40)}{i:b}".replace("0", "C").replace("1", "D") for i in range(900)]
    for name, part in (("a", proteins[:500]), ("b", proteins[500:])):
        with lzma.open(tmp_path / "corpus" / f"natural_{name}.txt.xz", "wt") as file:
            file.write("\n".join(part) + "\n")
    training, held_out = tool.read_corpus(tmp_path)
    assert held_out == proteins[: tool.HELD_OUT]
    assert training == proteins[tool.HELD_OUT :]
