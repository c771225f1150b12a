"""PLMMaskedLM against transformers, against brute force, and through kill -9."""

import os
import pickle
import re
import signal
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
import torch.distributed as dist
import transformers
from safetensors.torch import load
from sklearn.base import clone

from plmlearn import PLMClassifier, PLMEmbedder, PLMMaskedLM, save
from plmlearn import load as load_estimator
from plmlearn.adapters import IA3, Frozen, LoRA
from plmlearn.backbones import BackboneWeightsError, load_backbone
from plmlearn.pretraining import likelihood
from plmlearn.pretraining.likelihood import hide_parts, site_log_probabilities
from plmlearn.pretraining.loop import RowStream
from plmlearn.pretraining.masking import Corpus, Masking, draw_crops
from plmlearn.sequences import SequenceError

TINY = {"n_layers": 2, "width": 32, "n_heads": 2, "batch_size": 8, "crop_length": 24, "precision": "fp32"}
QUIET = {"random_state": 0, "verbose": 0}
FP32 = {"precision": "fp32", **QUIET}


def tiny(**changes) -> PLMMaskedLM:
    return PLMMaskedLM(**{**TINY, **QUIET, "epochs": 2, "validation_fraction": None, **changes})


@pytest.fixture(scope="module")
def proteins(draw_proteins):
    return draw_proteins(40)


@pytest.fixture(scope="module")
def fitted(proteins):
    return tiny().fit(proteins)


@pytest.fixture(scope="module")
def folder(fitted, tmp_path_factory) -> Path:
    return fitted.save_pretrained(tmp_path_factory.mktemp("lm"))


@pytest.fixture(scope="module")
def reference(folder):
    """The saved folder in plain transformers."""
    model = transformers.EsmForMaskedLM.from_pretrained(folder).eval()
    return model, transformers.AutoTokenizer.from_pretrained(folder)


def logits_of(reference, sequence: str, hidden: list[int]) -> np.ndarray:
    """Log-probabilities of a sequence's residues, those counted from 0 in ``hidden`` masked."""
    model, tokenizer = reference
    ids = tokenizer(sequence, return_tensors="pt")["input_ids"]
    for site in hidden:
        ids[0, site + 1] = tokenizer.mask_token_id
    with torch.no_grad():
        return model(ids).logits[0, 1:-1].double().log_softmax(-1).numpy()


# -- the model ------------------------------------------------------------------------------------


def test_saved_folder_gives_the_same_logits_in_transformers(fitted, reference, proteins):
    sequence = proteins[0]
    expected = logits_of(reference, sequence, [2, 5])
    model = fitted._restored()
    vocabulary = model.backbone.vocabulary
    ids = Corpus(model.backbone, [sequence])[0].copy()
    ids[[3, 6]] = vocabulary["<mask>"]
    places = np.arange(1, len(ids) - 1)
    masking = Masking.of(model.backbone)
    got = site_log_probabilities(model.module, ids, places, masking, model.config, hide=False)
    np.testing.assert_allclose(got, expected, atol=1e-4)


def test_training_loss_equals_a_direct_computation(make_esm, tmp_path, proteins):
    """The first step's loss on its hidden residues, from transformers' logits one crop at a time."""
    folder = make_esm(tmp_path)
    lm = PLMMaskedLM(
        str(folder),
        precision="fp32",
        batch_size=8,
        crop_length=24,
        max_steps=1,
        validation_fraction=None,
        **QUIET,
    ).fit(proteins)
    loaded = lm._restored()
    seed, corpus = loaded.config.seed, Corpus(loaded.backbone, proteins)
    rng = np.random.default_rng([seed, 2, 0])
    ids, lengths = draw_crops(corpus, RowStream(len(proteins), seed).take(0, 8), 24, rng)
    masked_ids, positions = Masking.of(loaded.backbone).mask(ids, rng)
    model = transformers.EsmForMaskedLM.from_pretrained(folder).eval()
    with torch.no_grad():
        rows = torch.cat(
            [
                model(torch.from_numpy(crop.astype(np.int64))[None]).logits[0]
                for crop in np.split(masked_ids, np.cumsum(lengths)[:-1])
            ]
        )
    expected = torch.nn.functional.cross_entropy(
        rows[positions], torch.from_numpy(ids[positions].astype(np.int64))
    )
    assert lm.history_[0]["train_loss"] == pytest.approx(float(expected), rel=1e-4)


def test_every_estimator_loads_the_folder(folder, fitted, proteins):
    embedded = PLMEmbedder(str(folder), precision="fp32").fit_transform(proteins[:5])
    np.testing.assert_allclose(embedded, fitted.transform(proteins[:5]), atol=1e-5)
    labels = [len(s) % 2 for s in proteins]
    PLMClassifier(str(folder), epochs=1, verbose=0, random_state=0).fit(proteins, labels)
    again = PLMMaskedLM(
        str(folder), max_steps=1, lr=1e-12, validation_fraction=None, precision="fp32", **QUIET
    )
    np.testing.assert_allclose(
        again.fit(proteins).score_samples(proteins[:5]), fitted.score_samples(proteins[:5]), atol=1e-4
    )


def test_an_adapter_is_merged_into_the_folder(folder, proteins, tmp_path):
    lm = PLMMaskedLM(
        str(folder),
        adapter=LoRA(rank=2),
        epochs=2,
        validation_fraction=None,
        precision="fp32",
        lr=1e-2,
        **QUIET,
    ).fit(proteins)
    merged = lm.save_pretrained(tmp_path / "merged")
    np.testing.assert_allclose(
        PLMEmbedder(str(merged), precision="fp32").fit_transform(proteins[:5]),
        lm.transform(proteins[:5]),
        atol=1e-5,
    )
    assert np.abs(lm.transform(proteins[:5]) - tiny_transform(folder, proteins[:5])).max() > 1e-4
    lm.score(proteins[:2])  # its own model is as it was


def tiny_transform(folder, sequences):
    return PLMEmbedder(str(folder), precision="fp32").fit_transform(sequences)


def test_an_adapter_on_a_quantized_backbone(folder, proteins, tmp_path):
    settings = {"adapter": LoRA(rank=2), "max_steps": 3, "validation_fraction": None, **FP32}
    plain = PLMMaskedLM(str(folder), **settings).fit(proteins)
    lm = PLMMaskedLM(str(folder), quantization="int8", **settings).fit(proteins)
    assert lm._loaded.backbone.quantization == "int8"
    assert (lm.n_parameters_, lm.n_trainable_parameters_) == (
        plain.n_parameters_,
        plain.n_trainable_parameters_,
    )
    expected = lm.score_samples(proteins[:4])
    np.testing.assert_allclose(expected, plain.score_samples(proteins[:4]), atol=0.02)
    assert not np.array_equal(expected, plain.score_samples(proteins[:4]))
    again = load_estimator(save(lm, tmp_path / "estimator"))
    np.testing.assert_array_equal(again.score_samples(proteins[:4]), expected)
    with pytest.raises(ValueError, match=r"quantization='int8' has rounded the weights.*plmlearn\.save"):
        lm.save_pretrained(tmp_path / "checkpoint")


def test_results_do_not_depend_on_the_token_budget(proteins):
    small, large = (tiny(max_tokens=n, max_steps=3).fit(proteins) for n in (64, 4096))
    for name, tensor in load(small._trained).items():
        torch.testing.assert_close(tensor, load(large._trained)[name], atol=2e-5, rtol=1e-3)


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore:The .grad attribute:UserWarning")
def test_compiling_changes_nothing(proteins, graphs):
    plain = tiny(max_steps=3).fit(proteins)
    assert not graphs
    compiled = tiny(max_steps=3, compile=True).fit(proteins)
    assert graphs
    for name, tensor in load(plain._trained).items():
        torch.testing.assert_close(tensor, load(compiled._trained)[name], atol=2e-5, rtol=1e-3)


@pytest.mark.parametrize(
    "changes", [{}, {"optimizer": "muon"}, {"averaging": 0.9}, {"curriculum": [(0.5, 8)]}]
)
def test_it_learns_a_family(changes):
    """Sequences that differ at one site: the others become certain."""
    family = [f"MKTAYIAKQRQISFV{letter}SHFSRQ" for letter in "ACDEFGHIKLMNPQRSTVWY"]
    lm = tiny(epochs=40, lr=5e-3, validation_fraction=0.1, **changes).fit(family)
    assert lm.valid_loss_ < 0.6 * lm.unigram_loss_
    assert lm.history_[-1]["step"] == lm.n_steps_ == 90
    assert lm.valid_loss_ == pytest.approx(min(row["valid_loss"] for row in lm.history_), rel=1e-6)


@pytest.mark.parametrize(("adapter", "decays"), [(IA3(), False), (LoRA(rank=1), True)])
def test_weight_decay_spares_vectors_and_no_matrix_of_one_row(proteins, adapter, decays):
    """IA3 scales features by tensors of shape (1, n) or (n, 1); LoRA of rank 1 has matrices of that shape."""
    settings = {"adapter": adapter, "max_steps": 1, "validation_fraction": None, **FP32}
    plain, decayed = (
        load(PLMMaskedLM("mini", weight_decay=decay, **settings).fit(proteins)._trained)
        for decay in (0.0, 0.5)
    )
    of_adapter = [name for name in plain if "ia3_l" in name or "lora_A" in name]
    assert of_adapter
    assert [torch.equal(plain[name], decayed[name]) for name in of_adapter] == [not decays] * len(of_adapter)


# -- likelihoods against brute force --------------------------------------------------------------


def test_pseudo_perplexity_by_hand(fitted, reference, proteins):
    sequence = proteins[1][:9] + "X"
    vocabulary = fitted._restored().backbone.vocabulary
    logs = [logits_of(reference, sequence, [i])[i, vocabulary[sequence[i]]] for i in range(9)]
    assert fitted.pseudo_perplexity([proteins[0], sequence])[1] == pytest.approx(
        np.exp(-np.mean(logs)), rel=1e-4
    )


def test_few_views_exist_at_a_time(fitted, proteins, monkeypatch):
    expected, seen = fitted.pseudo_perplexity(proteins), []
    whole = likelihood.log_likelihoods

    def counted(model, corpus, views, config):
        seen.append(len(views))
        return whole(model, corpus, views, config)

    monkeypatch.setattr(likelihood, "log_likelihoods", counted)
    monkeypatch.setattr(likelihood, "_RESIDUES_AT_ONCE", 200)
    np.testing.assert_allclose(fitted.pseudo_perplexity(proteins), expected, rtol=1e-6)
    assert sum(seen) == sum(map(len, proteins))
    assert max(seen) <= 200


def test_score_samples_by_hand(fitted, reference, proteins):
    """Every residue once, in the parts that the sequence's own digest draws."""
    backbone = fitted._restored().backbone
    corpus = Corpus(backbone, proteins[:3])
    expected = []
    for row in range(3):
        logs = []
        for view in hide_parts(corpus, Masking.of(backbone), 0):
            if view.sequence == row:
                found = logits_of(reference, proteins[row], list(view.places - 1))
                logs += [found[p - 1, corpus[row][p]] for p in view.places]
        assert len(logs) == len(proteins[row])
        expected.append(np.mean(logs))
    np.testing.assert_allclose(fitted.score_samples(proteins[:3]), expected, atol=1e-4)
    assert fitted.score(proteins[:3]) == pytest.approx(np.mean(expected), abs=1e-4)


@pytest.mark.parametrize("method", ["masked", "wild_type"])
def test_mutation_scores_by_hand(fitted, reference, proteins, method):
    wild = proteins[2]
    vocabulary = fitted._restored().backbone.vocabulary
    variants = [[(0, "A")], [(3, "W"), (6, "C")], []]
    text = [":".join(f"{wild[i]}{i + 1}{new}" for i, new in variant) for variant in variants]
    expected = []
    for variant in variants:
        total = 0.0
        for i, new in variant:
            logs = logits_of(reference, wild, [i] if method == "masked" else [])[i]
            total += logs[vocabulary[new]] - logs[vocabulary[wild[i]]]
        expected.append(total)
    np.testing.assert_allclose(fitted.mutation_scores(wild, text, method=method), expected, atol=1e-4)
    whole = list(wild)
    whole[3], whole[6] = "W", "C"
    assert fitted.mutation_scores(wild, ["".join(whole)], method=method)[0] == pytest.approx(
        expected[1], abs=1e-4
    )


def test_held_out_losses_add_up(proteins):
    groups = np.array(["a", "b", "c", "d"])[np.arange(40) % 4]
    lm = tiny(validation_fraction=0.5).fit(proteins, groups=groups)
    assert set(groups[lm.valid_rows_]) == set(lm.valid_loss_by_group_)
    assert not set(groups[lm.valid_rows_]) & set(np.delete(groups, lm.valid_rows_))
    assert lm.valid_loss_by_sequence_.shape == (20,)
    low, high = min(lm.valid_loss_by_group_.values()), max(lm.valid_loss_by_group_.values())
    assert low <= lm.valid_loss_ <= high


# -- resuming -------------------------------------------------------------------------------------


def long_run(folder: Path, kill_at: int | None) -> None:
    """A run with all that a checkpoint has to hold; killed without warning behind a step."""
    rng = np.random.default_rng(5)
    X = ["".join(rng.choice(list("ACDEFGHIKLMNPQRSTVWY"), n)) for n in rng.integers(8, 40, 30)]

    def die(progress):
        if progress["step"] == kill_at:
            os.kill(os.getpid(), signal.SIGKILL)

    lm = tiny(
        max_steps=12,
        optimizer="muon",
        averaging=0.9,
        curriculum=[(0.5, 12)],
        evaluate_every=4,
        validation_fraction=0.2,
        checkpoint=str(folder),
        checkpoint_minutes=0,
        callbacks=[die],
    ).fit(X)
    folder.with_suffix(".bin").write_bytes(lm._trained)


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="no kill -9 here")
def test_a_killed_run_goes_on_bit_for_bit(tmp_path, fresh_processes):
    def run(folder: str, kill_at: int | None) -> int | None:
        process = fresh_processes.Process(target=long_run, args=(tmp_path / folder, kill_at))
        process.start()
        process.join(300)
        return process.exitcode

    assert run("whole", None) == 0
    assert run("killed", 7) == -signal.SIGKILL
    assert not (tmp_path / "killed.bin").exists()
    assert run("killed", None) == 0
    assert (tmp_path / "killed.bin").read_bytes() == (tmp_path / "whole.bin").read_bytes()


def test_time_limit_ends_and_goes_on(proteins, tmp_path):
    settings = {"max_steps": 6, "checkpoint": str(tmp_path)}
    first = tiny(**settings, time_limit=1e-9).fit(proteins)
    assert not first.finished_
    assert first.n_steps_ == 1
    second = tiny(**settings, callbacks=[lambda progress: progress["step"] == 4]).fit(proteins)
    assert second.n_steps_ == 4
    third = tiny(**settings).fit(proteins)
    assert third.finished_
    assert third._trained == tiny(max_steps=6).fit(proteins)._trained


def test_a_checkpoint_of_another_configuration(proteins, tmp_path):
    tiny(max_steps=2, checkpoint=str(tmp_path)).fit(proteins)
    with pytest.raises(ValueError, match=r"another configuration \(lr: there 0.002, here 0.003\)"):
        tiny(max_steps=2, lr=3e-3, checkpoint=str(tmp_path)).fit(proteins)
    with pytest.raises(ValueError, match=r"another configuration .*sequences"):
        tiny(max_steps=2, checkpoint=str(tmp_path)).fit(proteins[::-1])
    with pytest.raises(ValueError, match=r"another configuration .*width"):
        tiny(max_steps=2, width=64, checkpoint=str(tmp_path)).fit(proteins)
    with pytest.raises(ValueError, match=r"another configuration \(held_out: there None, here '"):
        tiny(max_steps=2, checkpoint=str(tmp_path)).fit(proteins, X_val=["MKTAYIAKQR"])


def train_as_one_of_two(rank: int, port: int, proteins: list[str], out: Path) -> None:
    """What a process that ``accelerate launch`` has started does."""
    os.environ |= {"RANK": str(rank), "WORLD_SIZE": "2", "LOCAL_RANK": str(rank), "CUDA_VISIBLE_DEVICES": ""}
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    lm = tiny(max_steps=3).fit(proteins)
    assert (dist.get_world_size(), dist.get_rank()) == (2, rank)
    out.write_bytes(lm._trained)
    dist.destroy_process_group()


def test_two_processes_train_one_model(proteins, tmp_path, fresh_processes):
    """Under gloo, as ``accelerate launch`` starts them: gradients are those of one process."""
    outputs = [tmp_path / f"out{rank}" for rank in range(2)]
    workers = [
        fresh_processes.Process(
            target=train_as_one_of_two, args=(rank, 20_000 + os.getpid() % 20_000, proteins, out)
        )
        for rank, out in enumerate(outputs)
    ]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(300)
    assert [worker.exitcode for worker in workers] == [0, 0]
    both = [out.read_bytes() for out in outputs]
    assert both[0] == both[1]
    alone = load(tiny(max_steps=3).fit(proteins)._trained)
    for name, tensor in load(both[0]).items():
        torch.testing.assert_close(tensor, alone[name], atol=2e-5, rtol=1e-3)


# -- scikit-learn's ways --------------------------------------------------------------------------


def test_pickle_save_and_clone(fitted, proteins, tmp_path):
    expected = fitted.score_samples(proteins[:4])
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(fitted)).score_samples(proteins[:4]), expected)
    np.testing.assert_array_equal(
        load_estimator(save(fitted, tmp_path)).score_samples(proteins[:4]), expected
    )
    assert clone(fitted).get_params() == fitted.get_params()
    changed = pickle.loads(pickle.dumps(fitted)).set_params(width=64)
    np.testing.assert_array_equal(changed.score_samples(proteins[:4]), expected)


def test_same_seed_same_weights_and_input_left_alone(proteins, fitted):
    X = list(proteins)
    assert tiny().fit(X)._trained == fitted._trained
    assert proteins == X


def test_features_have_names(fitted):
    assert fitted.get_feature_names_out()[0] == "plmmaskedlm0"
    assert len(fitted.get_feature_names_out()) == 32


# -- bad input ------------------------------------------------------------------------------------


def test_sequences_without_residues_are_named(proteins, fitted):
    for call in (tiny().fit, fitted.score_samples):
        with pytest.raises(
            SequenceError, match=r"1 of 3 sequences of X \(rows 1\) hold none of the 20"
        ) as error:
            call([proteins[0], "XXX", proteins[1]])
        assert error.value.rows == [1]


def test_what_is_read_has_residues(proteins, fitted):
    cut = clone(fitted).set_params(max_length=5, max_steps=1).fit(proteins)
    late, told = "XXXXXXXMKT", pytest.warns(UserWarning, match="cut to their first 5")
    for call in (cut.score_samples, cut.pseudo_perplexity):
        with told, pytest.raises(SequenceError, match=r"X \(rows 1\) hold none .* raise max_length") as error:
            call([proteins[0], late])
        assert error.value.rows == [1]
    with pytest.raises(SequenceError, match=r"1 of 2 sequences of X_val \(rows 0\) hold none"):
        cut.fit(proteins, X_val=[late, "MKTAYI"])
    cut.set_params(validation_fraction=0.2).fit(proteins)
    rows = cut.valid_rows_
    late_ones = ["XXXXX" + s if row == rows[1] else s for row, s in enumerate(proteins)]
    with pytest.raises(SequenceError, match=rf"of X held out \(rows {rows[1]}\) hold none"):
        cut.fit(late_ones)


def test_families_of_x_val_need_x_val(proteins):
    with pytest.raises(ValueError, match="X_val is None; groups_val are the families of X_val"):
        tiny(max_steps=1).fit(proteins, groups_val=["a"] * 40)


@pytest.mark.parametrize(
    "groups, message",
    [
        ([None, "a", "b"], "groups of X_val is missing in rows 0"),
        (["a", 1, 2], "groups of X_val mixes int, str"),
        ([["a"], ["b"], ["c"]], r"groups of X_val has shape \(3, 1\)"),
    ],
)
def test_families_are_looked_at_before_training(proteins, groups, message):
    steps = []
    with pytest.raises(ValueError, match=message):
        tiny(callbacks=[steps.append]).fit(proteins, X_val=["MKTAYI", "MKV", "MKL"], groups_val=groups)
    assert not steps


def test_crops_fit_the_table_of_positions_and_proteins_need_not(miniature, draw_proteins):
    folder, long = miniature("esm1b"), [s * 30 for s in draw_proteins(6, seed=3)]
    assert min(map(len, long)) > load_backbone(folder).n_positions
    options = {"validation_fraction": None, "max_steps": 2, "batch_size": 2, **FP32}
    assert PLMMaskedLM(folder, crop_length=60, **options).fit(long).n_steps_ == 2
    assert PLMMaskedLM(folder, crop_length=256, **options).fit(long).n_steps_ == 2
    assert PLMMaskedLM(folder, crop_length=300, **options).fit([s[:254] for s in long]).n_steps_ == 2
    with pytest.raises(ValueError, match=r"up to 257 tokens, but .* positions for 256. Pass crop_length=256"):
        PLMMaskedLM(folder, crop_length=257, **options).fit(long)


def test_variants_come_in_a_list(fitted):
    wild_type = "MKTAYI"
    expected = fitted.mutation_scores(wild_type, ["K2A"])
    for variants in (iter(["K2A"]), pd.Series(["K2A"]), pd.DataFrame({"mutant": ["K2A"]})):
        np.testing.assert_array_equal(fitted.mutation_scores(wild_type, variants), expected)
    with pytest.raises(ValueError, match="list of variants, got one string: 'K2A'"):
        fitted.mutation_scores(wild_type, "K2A")
    with pytest.raises(TypeError, match="of variants, got dict"):
        fitted.mutation_scores(wild_type, {"K2A": 1.0})


def test_duplicates_are_counted(proteins):
    with pytest.warns(UserWarning, match="2 of 42 sequences repeat an earlier one"):
        tiny(max_steps=1).fit([*proteins, proteins[0], proteins[0]])


def test_duplicates_are_not_parted(proteins):
    X = [*proteins[:10]] * 3
    with pytest.warns(UserWarning, match="20 of 30"):
        lm = tiny(max_steps=1, validation_fraction=0.3).fit(X)
    held_out = {X[row] for row in lm.valid_rows_}
    assert not held_out & {s for row, s in enumerate(X) if row not in lm.valid_rows_}


def test_validation_that_repeats_training_is_counted(proteins):
    with pytest.warns(UserWarning, match=r"2 of 3 sequences of X_val are also in X \(X_val's rows 0, 2\)"):
        tiny(max_steps=1).fit(proteins[:30], X_val=[proteins[3], proteins[35], proteins[4]])


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"width": 30, "n_heads": 4}, "width=30 is not an even multiple of n_heads=4"),
        ({"adapter": LoRA()}, "with backbone=None all is trained"),
        ({"quantization": "int8"}, "with backbone=None all are trained; pass quantization=None"),
        (
            {"backbone": "mini", "quantization": "int8", "width": 192, "n_heads": 6},
            "FullFineTuning trains the backbone's own weights, which quantization='int8' has rounded",
        ),
        ({"curriculum": [(0.5, 24)]}, "crops of 8 to less than crop_length=24"),
        ({"curriculum": [(1.0, 12)]}, "add up to less than 1"),
        ({"optimizer": "sgd"}, "'optimizer' parameter"),
    ],
)
def test_settings_that_do_not_fit(proteins, changes, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        tiny(**changes).fit(proteins)


def test_one_sequence_cannot_be_parted(proteins):
    with pytest.raises(ValueError, match="there is 1 in all"):
        tiny(validation_fraction=0.1).fit(proteins[:1])
    tiny(max_steps=1).fit(proteins[:1])


@pytest.fixture(scope="module")
def headless(folder, tmp_path_factory) -> str:
    """The checkpoint of a classifier: an encoder that was trained, and no language head."""
    place = tmp_path_factory.mktemp("headless")
    transformers.EsmForSequenceClassification.from_pretrained(folder).save_pretrained(place)
    transformers.AutoTokenizer.from_pretrained(folder).save_pretrained(place)
    return str(place)


def test_a_language_head_is_trained_on_a_frozen_encoder_that_has_none(headless, folder, proteins, tmp_path):
    lm = PLMMaskedLM(headless, adapter=Frozen(), epochs=12, lr=1e-2, validation_fraction=0.2, **FP32)
    with pytest.warns(UserWarning, match="holds no language head .* A new one is trained") as warned:
        lm.fit(proteins)
    assert len(warned) == 1
    assert lm.valid_loss_ < lm.history_[0]["valid_loss"] < 3.1
    assert {name.split(".")[0] for name in load(lm._trained)} == {"lm_head"}
    saved = transformers.EsmForMaskedLM.from_pretrained(lm.save_pretrained(tmp_path / "whole"))
    encoder = transformers.EsmForMaskedLM.from_pretrained(folder).esm.state_dict()
    assert all(torch.equal(tensor, encoder[name]) for name, tensor in saved.esm.state_dict().items())
    tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path / "whole")
    expected = logits_of((saved.eval(), tokenizer), proteins[0], [3])[3]
    again = load_estimator(save(lm, tmp_path / "lm"))  # without a warning
    sequence = proteins[0]
    found = again.mutation_scores(sequence, [f"{sequence[3]}4{new}" for new in "AW"])
    columns = [tokenizer.convert_tokens_to_ids(letter) for letter in ("A", "W", sequence[3])]
    assert found == pytest.approx(expected[columns[:2]] - expected[columns[2]], abs=1e-4)


def test_a_new_language_head_is_not_left_untrained(headless, proteins):
    lm = PLMMaskedLM(headless, adapter=Frozen(), max_steps=0, validation_fraction=None, **QUIET)
    with pytest.raises(BackboneWeightsError, match="no language head"):
        lm.fit(proteins)


def test_long_wild_types_are_refused(fitted):
    with pytest.raises(SequenceError, match="longer than max_length"):
        clone(fitted).set_params(max_length=10).fit(["MKTAYIAKQRQIS"] * 1).mutation_scores(
            "MKTAYIAKQRQIS", ["M1A"]
        )


def test_it_must_be_fitted(proteins):
    from sklearn.exceptions import NotFittedError

    for call in (tiny().score, tiny().transform, tiny().pseudo_perplexity):
        with pytest.raises(NotFittedError):
            call(proteins)


def test_adapters_that_do_not_fit(folder, proteins, tmp_path):
    from plmlearn.adapters import AdaLoRA, Bottleneck

    lm = PLMMaskedLM(str(folder), max_steps=1, validation_fraction=None, **FP32)
    with pytest.raises(ValueError, match="AdaLoRA steers its own training"):
        clone(lm).set_params(adapter=AdaLoRA()).fit(proteins)
    with pytest.raises(ValueError, match="cannot be merged"):
        clone(lm).set_params(adapter=Bottleneck()).fit(proteins).save_pretrained(tmp_path)
