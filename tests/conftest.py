"""Fixtures that several test modules share."""

import multiprocessing
import os
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import hypothesis
import numpy as np
import pytest

# The same examples in every run: what passes here passes for everyone with this commit.
hypothesis.settings.register_profile("repeatable", derandomize=True, database=None)
hypothesis.settings.load_profile("repeatable")


@pytest.fixture(scope="session")
def data_home() -> Path:
    """Folder with the real data sets, named by the environment variable PLMLEARN_DATA."""
    home = os.environ.get("PLMLEARN_DATA")
    if not home:
        pytest.skip("PLMLEARN_DATA is unset: no real data to test on")
    return Path(home)


@pytest.fixture(scope="session", autouse=True)
def _cache_folder(tmp_path_factory: pytest.TempPathFactory):
    """Activations and compiled programs of the tests go to a folder of their own, never to the user's caches.

    A program that torch compiled for other instructions of the processor ends a process without a word.
    """
    folder = tmp_path_factory.mktemp("plmlearn-cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PLMLEARN_CACHE", str(folder))
        patch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path_factory.mktemp("compiled")))
        if "plmlearn.cache" in sys.modules:  # read the variable when it was imported
            sys.modules["plmlearn.cache"].limit(folder=folder)
        yield


@pytest.fixture(scope="session")
def fresh_processes() -> multiprocessing.context.BaseContext:
    """A context whose processes begin with the imports that every estimator needs, and with nothing else.

    A process of ``subprocess`` spends many times as long on importing torch, peft and scikit-learn as most
    tests take. These are forked from a server that has imported them once; plmlearn they import themselves.
    """
    method = "forkserver" if "forkserver" in multiprocessing.get_all_start_methods() else "spawn"
    context = multiprocessing.get_context(method)
    context.set_forkserver_preload(["torch", "sklearn.model_selection", "scipy.stats", "peft", "skorch"])
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OMP_NUM_THREADS", "1")
        patch.setenv("HF_HUB_OFFLINE", "1")
        first = context.Process(target=int)
        first.start()  # and with it the server, which reads the environment now
        first.join()
    return context


@pytest.fixture
def empty_cache():
    """plmlearn.cache with nothing in it, and no warning given yet."""
    from plmlearn import cache

    cache.clear()
    cache._warned.clear()
    yield cache
    cache.clear()
    cache._warned.clear()


@pytest.fixture
def graphs(monkeypatch) -> Iterator[list]:
    """Every graph that torch.compile takes down, run as it is: no C++ compiler is wanted."""
    import torch

    from plmlearn.nn.encoders.base import _compiled_layer

    found: list = []

    def keep(graph, _):
        found.append(graph)
        return graph.forward

    torch._dynamo.reset()
    _compiled_layer.cache_clear()
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend=keep))
    yield found
    _compiled_layer.cache_clear()
    torch._dynamo.reset()


@pytest.fixture(scope="session")
def esm_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """ESM-2 in miniature (3 layers, width 32, 4 heads, random weights) with its tokenizer."""
    return write_esm(tmp_path_factory.mktemp("esm"))


def write_esm(folder: Path, *, seed: int = 0, **changes) -> Path:
    """A folder written by ``save_pretrained`` that holds a small ESM and the true tokenizer.

    Weights are drawn wide enough that attention is far from uniform; biases and norms are drawn too.
    """
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
    save_random(lambda: EsmForMaskedLM(EsmConfig(**(settings | changes))), folder, seed)
    vocabulary = Path(plmlearn.assets.__file__).parent / "mini" / "vocab.txt"
    EsmTokenizer(str(vocabulary)).save_pretrained(folder)
    return folder


def save_random(build, folder: Path, seed: int) -> None:
    """Write the model that ``build`` makes, its weights drawn wide, its norms around 1."""
    import torch
    import transformers

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = build()
        with torch.no_grad():
            for name, tensor in model.named_parameters():
                is_norm = "norm" in name.lower() and name.endswith("weight")
                tensor.normal_(float(is_norm), 0.3 if tensor.ndim > 1 else 0.1)
                if name.endswith("SelfAttention.q.weight"):  # T5 scales no scores, its weights are smaller
                    tensor.mul_(0.3)
    bars = transformers.utils.logging.is_progress_bar_enabled()
    transformers.utils.logging.disable_progress_bar()
    model.save_pretrained(folder)
    if bars:
        transformers.utils.logging.enable_progress_bar()


def write_esmc(folder: Path, *, seed: int = 0, **changes) -> Path:
    """ESM-C in miniature (3 layers, width 32, 4 heads) with its tokenizer."""
    from transformers import EsmcConfig, EsmcForMaskedLM, EsmcTokenizer

    settings = {
        "hidden_size": 32,
        "num_hidden_layers": 3,
        "num_attention_heads": 4,
        "intermediate_size": 48,
    }
    save_random(lambda: EsmcForMaskedLM(EsmcConfig(**(settings | changes))), folder, seed)
    EsmcTokenizer().save_pretrained(folder)
    return folder


# The letters in the order of their ids in ProtTrans and Ankh, from 3 on.
T5_LETTERS = "ALGVSREDTIPKFQNYMHWCXBOUZ"


def write_t5(folder: Path, kind: str = "prott5", *, seed: int = 0, **changes) -> Path:
    """ProtT5, ProstT5, Ankh or Ankh 3 in miniature (3 layers, width 32, 4 heads of width 12).

    The tokenizers have the pieces and rules of the true ones: a unigram model of single letters, behind
    a space in ProtT5; ProstT5 adds lower-case letters and two prefixes; Ankh's letters stand alone.
    """
    from transformers import T5Config, T5ForConditionalGeneration

    gated = {
        "feed_forward_proj": "gated-gelu",
        "relative_attention_num_buckets": 64,
        "tie_word_embeddings": False,
    }
    tokenizer = make_t5_tokenizer(kind)
    settings = {
        "vocab_size": 160,
        "d_model": 32,
        "d_kv": 12,
        "num_heads": 4,
        "d_ff": 48,
        "num_layers": 3,
        "num_decoder_layers": 1,
        "dropout_rate": 0.1,
    }
    settings |= gated if kind == "ankh" else {}
    settings |= gated | {"feed_forward_proj": "gated-silu"} if kind == "ankh3" else {}
    save_random(lambda: T5ForConditionalGeneration(T5Config(**(settings | changes))), folder, seed)
    tokenizer.save_pretrained(folder)
    return folder


def make_t5_tokenizer(kind: str):
    """The tokenizer of ProtT5, ProstT5, Ankh or Ankh 3, without the files of the true one."""
    from tokenizers import Regex, Tokenizer, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast, T5Tokenizer

    space = "▁" if kind in ("prott5", "prostt5") else ""
    pieces = [(token, 0.0) for token in ("<pad>", "</s>", "<unk>")]
    pieces += [(space + letter, -3.0) for letter in T5_LETTERS]
    pieces += [(f"<extra_id_{i}>", 0.0) for i in range(99, -1, -1)]
    if space:
        tokenizer = T5Tokenizer(vocab=pieces)
        if kind == "prostt5":
            tokenizer.add_tokens([*"algvsredtipkfqnymhwc", "<fold2AA>", "<AA2fold>"])
        return tokenizer
    model = Tokenizer(models.Unigram(pieces, unk_id=2, byte_fallback=False))
    model.pre_tokenizer = pre_tokenizers.Split(Regex("[A-Z]"), "isolated")
    model.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=model, eos_token="</s>", unk_token="<unk>", pad_token="<pad>"
    )
    if kind == "ankh3":
        tokenizer.add_tokens(["[NLU]", "[S2S]"])
    return tokenizer


PROTBERT = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *"LAGVESIKRDTPNQFYMHCWXUBZO"]
"""ProtBert's vocabulary, in the order of its ids."""


def write_bert(folder: Path, *, seed: int = 0, **changes) -> Path:
    """ProtBert in miniature (3 layers, width 32, 4 heads) with its tokenizer."""
    from transformers import BertConfig, BertForMaskedLM, BertTokenizer

    settings = {
        "vocab_size": 40,  # of the published ones 30: some rows without a token do no harm
        "hidden_size": 32,
        "num_hidden_layers": 3,
        "num_attention_heads": 4,
        "intermediate_size": 64,
        "max_position_embeddings": 258,
        "hidden_dropout_prob": 0.0,
        "attention_probs_dropout_prob": 0.0,
    }
    save_random(lambda: BertForMaskedLM(BertConfig(**(settings | changes))), folder, seed)
    vocabulary = {token: i for i, token in enumerate(PROTBERT)}
    BertTokenizer(vocab=vocabulary, do_lower_case=False).save_pretrained(folder)
    return folder


def write_saprot(folder: Path, **changes) -> Path:
    """SaProt in miniature: an ESM-2 with its 446 tokens, pairs of a residue and a structural state."""
    from transformers import EsmTokenizer

    write_esm(folder, **({"vocab_size": 446, "mask_token_id": 4} | changes))
    tokens = ["<cls>", "<pad>", "<eos>", "<unk>", "<mask>"]
    tokens += [r + s for r in "ACDEFGHIKLMNPQRSTVWY#" for s in "pynwrqhgdlvtmfsaeikc#"]
    (folder / "saprot.txt").write_text("\n".join(tokens))
    EsmTokenizer(str(folder / "saprot.txt")).save_pretrained(folder)
    (folder / "saprot.txt").unlink()
    return folder


MINIATURES = {
    "bert": write_bert,
    "saprot": write_saprot,
    "esm2": write_esm,
    "esm1b": lambda folder, **changes: write_esm(
        folder, **({"position_embedding_type": "absolute", "emb_layer_norm_before": True} | changes)
    ),
    "esmc": write_esmc,
    "prott5": write_t5,
    "prostt5": lambda folder, **changes: write_t5(folder, "prostt5", **changes),
    "ankh": lambda folder, **changes: write_t5(folder, "ankh", **changes),
    "ankh3": lambda folder, **changes: write_t5(folder, "ankh3", **changes),
}


@pytest.fixture(scope="session")
def miniature(tmp_path_factory: pytest.TempPathFactory):
    """A function from the name of an architecture to the folder that holds it in miniature."""
    made: dict[str, Path] = {}

    def find(name: str) -> Path:
        if name not in made:
            made[name] = MINIATURES[name](tmp_path_factory.mktemp(name))
        return made[name]

    return find


@pytest.fixture(scope="session")
def write_miniature():
    """A function that writes an architecture with changes to its configuration into a folder."""
    return lambda name, folder, **changes: MINIATURES[name](folder, **changes)


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
