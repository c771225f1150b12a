"""What docstrings of tuned estimators have in common.

The text stands in each estimator's docstring where that has ``{shared}``, for the parameters of all of its
kind, or the name of an entry of ``BLOCKS``, such as ``{backbone}``. ``retell`` gives inherited methods the
words of the kind of ``X`` at hand.
"""

import inspect
from collections.abc import Mapping
from functools import reduce, update_wrapper
from types import FunctionType

_ALL = """
    revision : str, optional
        Branch, tag or commit of a Hugging Face repository.
    backbone_init : {"pretrained", "random"}, default="pretrained"
        "random" keeps the architecture and draws its weights anew: the control experiment.
    layer_mixing : bool, default=False
        Read a mean of all hidden states with learned weights, not the last one alone. Nothing frozen is
        then reused: every epoch runs the whole backbone.
    {read_out}
    head_dropout : float, default=0.1
        In [0, 1).
    standardize : bool, default=True
        Scale what enters the head by its mean and deviation over (at most 2,048 of) the training
        proteins, taken before training. Embeddings of related proteins differ by a hundredth of their
        size, and a head learns from that only after scaling.
    epochs : int, default=10
        Passes over the training proteins.
    lr : float, optional
        Highest learning rate of the adapter; None takes what suits the method
        (1e-3 LoRA, 1e-4 full fine-tuning).
    head_lr : float, optional
        The same for pooling and head; None takes 1e-3, or ``lr`` where a larger one is given.
    weight_decay : float, default=0.01
        Norms and biases do not decay.
    optimizer : {"adamw", "adamax"}, default="adamw"
        Adamax adds the decay to the gradient, as its authors had it; AdamW shrinks the weights apart from it.
    schedule : {"linear", "cosine", "constant"}, default="linear"
        Course of the learning rate after the warm-up.
    warmup : float, default=0.1
        Share of all steps in which the rate rises from zero.
    batch_size : int, default=16
        Proteins of an optimiser step. Memory does not depend on it: see ``max_tokens``.
    max_tokens : int or "auto", default="auto"
        Tokens that go through the model at once; a step that has more is accumulated. Memory grows with
        it, results do not change. Halved, with a warning, when memory runs out.
    gradient_clip : float or None, default=1.0
        Largest norm of all gradients together.
    early_stopping : bool, default=False
        Set ``validation_fraction`` of the proteins aside (by class, or by ``groups``), stop after
        ``patience`` epochs without improvement and keep the best epoch.
    validation_fraction : float, default=0.1
        In (0, 1).
    patience : int, default=5
        Epochs.
    scoring : str or callable, optional
        scikit-learn scorer that chooses the best epoch; None takes the validation loss.
    precision : {"auto", "fp32", "bf16", "fp16"}, default="auto"
        Of the frozen matrices and of all products; trained tensors are float32 always. "auto" takes bf16
        where the device is faster in it.
    quantization : {"int8", "nf4"}, optional
        Hold the frozen matrices in 8 or 4 bits: a half or a quarter of bfloat16's memory, for steps that
        are a little slower. "nf4" needs ``pip install "plmlearn[quantization]"``. Not with full fine-tuning.
    gradient_checkpointing : bool, default=False
        Keep each layer's input alone and recompute the rest in the backward pass: a fraction of the memory,
        for a third to a half more time.
    compile : bool, default=False
        Run the layers through ``torch.compile``: for long runs on a GPU. The first steps compile for some
        seconds; on a CPU, where it wants a C++ compiler too, nothing is gained (docs/benchmarks.md).
    max_length : int, default=1022
        Residues that the backbone sees at once, at most 10,000.
    long_sequences : {"truncate", "window", "raise"}, default="truncate"
        What to do with longer proteins: read their first ``max_length`` residues, and warn with counts;
        read all of them in overlapping windows of at most ``max_length``, and blend these (memory and
        time then grow in proportion to the length); or refuse.
    invalid : {"raise", "replace"}, default="raise"
        What to do with characters that are no residue: refuse, or read as X.
    device : str, default="auto"
        "auto" takes a GPU where there is one; else "cpu", "cuda", "cuda:1", ….
    callbacks : list of skorch callbacks, optional
        Called at the beginning and end of training, epochs and steps.
    random_state : int, RandomState or None, default=None
        Fixes head, adapters, dropout, order and splits: same seed, same CPU, same bits.
    verbose : int, default=1
        1 shows a progress bar where a person looks on, 0 never.
    warm_start : bool, default=False
        ``fit`` goes on from the tensors of the previous one.
"""

_POOLED = """pooling : {"mean", "max", "cls", "attention", "light_attention"}, default="mean"
        How residues become one vector per protein. "attention" learns one weight per residue,
        "light_attention" convolutions and one weight per residue and feature; its vectors are twice as
        wide. ProtT5 and Ankh have no token for "cls".
    head : {"esm", "mlp", "relu", "linear"}, default="esm"
        "esm": dropout, dense, tanh, dropout, dense; with ``head_dropout=0.2`` also the usual one of T5.
        "mlp": layer norm, dense, ReLU, dropout, dense. "relu": the same without the norm.
    head_hidden : int, optional
        Width of the head's hidden layer; None takes the backbone's width."""

_PER_RESIDUE = """head : {"linear", "mlp", "cnn", "light_attention", "crf"}, default="linear"
        From a residue's vector to its outputs. "linear": dropout, dense. "mlp": layer norm, dense, ReLU,
        dropout, dense. "cnn": two convolutions over 7 residues with tanh between them, as in SETH.
        "light_attention": convolutions over 9 residues and a learned summary of the protein. "crf"
        (classifiers): "linear" below a linear-chain conditional random field.
    head_hidden : int, optional
        Width of the head's hidden layer; None takes the backbone's width, 28 for "cnn" and 64 for
        "light_attention"."""

PARAMETERS = _ALL.replace("{read_out}", _POOLED)
RESIDUE_PARAMETERS = (
    _ALL.replace("{read_out}", _PER_RESIDUE)
    .replace('"raise"}, default="truncate"', '"raise"}, default="window"')
    .replace("The same for pooling and head;", "The same for the head;")
)

PAIR_PARAMETERS = (
    PARAMETERS.replace("Passes over the training proteins.", "Passes over the training pairs.")
    .replace("Proteins of an optimiser step.", "Pairs of an optimiser step.")
    .replace("of the proteins aside", "of the pairs aside")
)

_FROM, _TO = RESIDUE_PARAMETERS.index("    max_length :"), RESIDUE_PARAMETERS.index("    invalid :")
SIGNAL_PARAMETERS = (
    RESIDUE_PARAMETERS.replace(
        RESIDUE_PARAMETERS[_FROM:_TO],
        """    max_length : int, default=70
        Residues read of each protein, from the first; the rest does not matter, and needs no window.
    long_sequences : {"truncate"}, default="truncate"
        There is no other way.
""",
    )
    .replace(', "crf"}, default="linear"', '}, default="linear"')
    .replace(
        """ "crf"
        (classifiers): "linear" below a linear-chain conditional random field.""",
        " The random\n        field is on top of each.",
    )
)

_ATTRIBUTES = """
    history_ : list of dict
        One entry per epoch: train_loss, valid_loss, valid_score, lr, seconds, residues_per_second.
    best_epoch_ : int
        Epoch whose tensors were kept (the last one without validation).
    best_score_ : float or None
        Its validation score.
    n_trainable_parameters_, n_parameters_ : int
        Trained numbers, and all.
    n_truncated_ : int
        Training proteins cut to ``max_length``.
    backbone_fingerprint_ : str
        Digest of the frozen weights; predictions refuse others.
"""

BLOCKS = {
    "backbone": """
    backbone : str, default="esm2-8m"
        "mini" (bundled, offline), a short name such as "esm2-35m", a Hugging Face id, or a folder written
        by ``save_pretrained``.
""",
    "adapter": """
    adapter : Adapter, optional
        How the backbone is adapted, any of :mod:`plmlearn.adapters`: LoRA (also for None), DoRA, AdaLoRA,
        VeRA, IA3, PrefixTuning, PromptTuning, Bottleneck, LayerNormTuning, FullFineTuning, Frozen,
        PeftAdapter. Its parameters are searchable as ``adapter__rank``.
""",
    "lora": """
    rank : int, default=8
        Width of LoRA's thin matrices.
    alpha : float, default=16
        LoRA's product is scaled by ``alpha / rank``.
    lora_dropout : float, default=0.0
        In [0, 1).
    target_modules : tuple of str, default=("key", "value")
        Adapted matrices: "query", "key", "value", "output" (attention), "ffn_in", "ffn_out"; also
        "attention" and "all".
    last_n_layers : int, optional
        Adapt the last n layers only: what lies below is computed once per protein and reused in every
        epoch, fold and candidate, several times faster. None adapts all.
""",
    "learned": _ATTRIBUTES,
    "diverged": """
    TrainingDivergedError
        The loss became infinite or nan; the message names step and rows.
""",
    "cost": """
    Cost: one forward pass and, in the adapted layers, one backward pass per protein and epoch.
    A fitted estimator holds and pickles the trained tensors alone, some hundred kB for LoRA.
""",
}

# Words of the methods of an estimator of proteins, and those that stand for them with other rows.
PAIR_WORDS = {
    "protein": "pair",
    "list, array or Series of str, shape (n_pairs,)": (
        "array of str, shape (n_pairs, 2), DataFrame with two columns, or list of 2-tuples"
    ),
    "Amino-acid sequences.": """Amino-acid sequences of both partners, one pair per row. Of two lists a and b
            pass ``list(zip(a, b))``.""",
    """groups : array-like of shape (n_pairs,), optional
            Clusters that the""": """groups : array-like of shape (n_pairs, 2) or (n_pairs,), optional
            Clusters of both partners, or one per pair, that the
           """,
}
RESIDUE_WORDS = {
    """array-like of shape (n_proteins,) or (n_proteins, n_targets)
            Targets.""": """list or array of targets, shape (n_proteins,)
            One str or array per protein, with an entry for each of its residues.""",
}


def retell(cls: type, words: Mapping[str, str]) -> None:
    """Give a class copies of those methods that it inherits whose docstrings these words change, in turn."""
    for name, method in inspect.getmembers(cls, inspect.isfunction):
        before = method.__doc__ or ""
        told = reduce(lambda text, word: text.replace(word, words[word]), words, before)
        if told != before and name not in vars(cls) and not name.startswith("_"):
            setattr(cls, name, _retold(method, told))


def _retold(method: FunctionType, told: str) -> FunctionType:
    """The same code under another docstring, without a call in between."""
    same = FunctionType(
        *(method.__code__, method.__globals__, method.__name__, method.__defaults__, method.__closure__)
    )
    update_wrapper(same, method)
    same.__kwdefaults__, same.__doc__ = method.__kwdefaults__, told
    return same
