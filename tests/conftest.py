"""Fixtures that several test modules share."""

import os
import sys
from pathlib import Path

import numpy as np
import pytest


@pytest.fixture(scope="session")
def data_home() -> Path:
    """Folder with the real data sets, named by the environment variable PLMLEARN_DATA."""
    home = os.environ.get("PLMLEARN_DATA")
    if not home:
        pytest.skip("PLMLEARN_DATA is unset: no real data to test on")
    return Path(home)


@pytest.fixture(scope="session", autouse=True)
def _cache_folder(tmp_path_factory: pytest.TempPathFactory):
    """Activations of the tests go to a folder of their own, never to the user's cache."""
    folder = tmp_path_factory.mktemp("plmlearn-cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PLMLEARN_CACHE", str(folder))
        if "plmlearn.cache" in sys.modules:  # read the variable when it was imported
            sys.modules["plmlearn.cache"].limit(folder=folder)
        yield


@pytest.fixture
def empty_cache():
    """plmlearn.cache with nothing in it, and no warning given yet."""
    from plmlearn import cache

    cache.clear()
    cache._warned.clear()
    yield cache
    cache.clear()
    cache._warned.clear()


@pytest.fixture(scope="session")
def esm_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """ESM-2 in miniature (3 layers, width 32, 4 heads, random weights) with its tokenizer."""
    return write_esm(tmp_path_factory.mktemp("esm"))


def write_esm(folder: Path, *, seed: int = 0, **changes) -> Path:
    """A folder written by ``save_pretrained`` that holds a small ESM and the true tokenizer.

    Weights are drawn wide enough that attention is far from uniform; biases and norms are drawn too.
    """
    import torch
    import transformers
    from transformers import EsmConfig, EsmForMaskedLM, EsmTokenizer

    import plmlearn.assets

    settings = {
        "vocab_size": 33,
        "mask_token_id": 32,
        "pad_token_id": 1,
        "hidden_size": 32,
        "num_hidden_layers": 3,
        "num_attention_heads": 4,
        "intermediate_size": 64,
        "max_position_embeddings": 258,
        "position_embedding_type": "rotary",
        "token_dropout": True,
        "emb_layer_norm_before": False,
        "hidden_dropout_prob": 0.0,
        "attention_probs_dropout_prob": 0.0,
    }
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = EsmForMaskedLM(EsmConfig(**(settings | changes)))
        with torch.no_grad():
            for name, tensor in model.named_parameters():
                centre = 1.0 if name.endswith("LayerNorm.weight") or "layer_norm" in name else 0.0
                tensor.normal_(centre, 0.3 if tensor.ndim > 1 else 0.1)
    bars = transformers.utils.logging.is_progress_bar_enabled()
    transformers.utils.logging.disable_progress_bar()
    model.save_pretrained(folder)
    if bars:
        transformers.utils.logging.enable_progress_bar()
    vocabulary = Path(plmlearn.assets.__file__).parent / "mini" / "vocab.txt"
    EsmTokenizer(str(vocabulary)).save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def make_esm():
    """:func:`write_esm`, for tests that need another seed or another architecture."""
    return write_esm


@pytest.fixture(scope="session")
def draw_proteins():
    """A function from a number of rows and a seed to that many random, distinct short proteins."""

    def draw(n_rows: int, seed: int = 0, *, shortest: int = 8, longest: int = 40) -> list[str]:
        rng = np.random.default_rng(seed)
        letters = np.array(list("ACDEFGHIKLMNPQRSTVWY"))
        lengths = rng.integers(shortest, longest + 1, n_rows)
        return ["".join(rng.choice(letters, length)) for length in lengths]

    return draw
