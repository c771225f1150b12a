"""The commands and their options. What they do is in ``runs``, which loads when a command has been read."""

from collections.abc import Callable
from typing import Any

import click

from .. import cli
from .settings import Assignment, Commands, merge, merge_any, use_config

_FILE = click.Path(exists=True, dir_okay=False)
_FOLDER = click.Path(exists=True, file_okay=False)
_KINDS = click.Choice(["labels", "numbers", "residue_labels", "residue_numbers"])

Decorator = Callable[[Any], Any]


def _options(*options: Decorator) -> Decorator:
    """Several options as one decorator, listed in this order."""

    def decorate(command: Any) -> Any:
        for option in reversed(options):
            command = option(command)
        return command

    return decorate


_set = click.option(
    "--set",
    type=Assignment(),
    multiple=True,
    callback=merge,
    help="A parameter of the estimator, such as epochs=5 or adapter__rank=4; the value is YAML.",
)
_json = click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
_backbone = click.option("--backbone", help="The same as --set backbone=NAME: mini, esm2-8m, … or a folder.")
_config = click.option(
    "--config",
    type=_FILE,
    is_eager=True,
    expose_value=False,
    callback=use_config,
    help="YAML file of options, as --dry-run prints it; the options of the command line override it.",
)
_rows = _options(
    click.argument("data", type=_FILE),
    click.option(
        "--sequence",
        "-s",
        multiple=True,
        metavar="COLUMN",
        help='Column of the sequences, "sequence" if not given; give it twice for pairs.',
    ),
    click.option(
        "--where",
        type=Assignment(as_text=True),
        multiple=True,
        callback=merge_any,
        metavar="COLUMN=TEXT",
        help="Use only the rows with this entry, such as split=train; of one column several, with any.",
    ),
    click.option(
        "--proteins", type=_FILE, help="FASTA or CSV file (id, sequence), if DATA has ids of proteins."
    ),
)
_study = _options(
    _rows,
    click.option(
        "--target",
        "-t",
        multiple=True,
        required=True,
        metavar="COLUMN",
        help="Column to predict, or several.",
    ),
    click.option(
        "--labels",
        multiple=True,
        metavar="LABEL",
        help='Labels of a target such as "A|B"; without them, all that it has.',
    ),
    click.option("--task", type=_KINDS, help="What the target holds, where the file is misread."),
    click.option(
        "--groups", metavar="COLUMN", help='Column of clusters; "clusters" computes them, "none": none.'
    ),
    click.option(
        "--identity",
        default=0.3,
        show_default=True,
        help="Proteins this similar share a cluster, from 0 to 1.",
    ),
    click.option("--estimator", metavar="CLASS", help="Another estimator, such as PLMFrozenMLP."),
    click.option(
        "--preset", metavar="NAME", help="A published recipe of plmlearn.presets: NAME or NAME/TASK."
    ),
    _backbone,
    _set,
    _config,
    click.option("--dry-run", is_flag=True, help="Print all settings as YAML and do nothing."),
)
_folds = _options(
    click.option("--folds", default=5, show_default=True, help="Folds of cross-validation."),
    click.option("--scoring", multiple=True, help="Names of scores, of scikit-learn or plmlearn."),
    click.option("--jobs", type=int, help="Fits at once, in processes of their own."),
)


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(package_name="plmlearn")
@click.option("--debug", is_flag=True, help="Show where an error comes from.")
def main(debug: bool) -> None:
    """Fine-tune protein language models: fit, evaluate, predict.

    DATA is a CSV file with a header line (commas, semicolons or tabs) or a FASTA file, plain or compressed.
    Results go to standard output, everything else to standard error.
    """


@main.command()
@_study
@click.option("--out", required=True, type=click.Path(file_okay=False), help="Folder of the model.")
@_json
def fit(**options: Any) -> None:
    """Fine-tune a model on labelled proteins and save it.

    Ctrl-C saves the model after the epoch that is running; a second Ctrl-C stops at once.
    """
    cli.runs.fit(options)


@main.command()
@click.argument("model", type=_FOLDER)
@_rows
@click.option("--out", type=click.Path(dir_okay=False), help="CSV file; without it, standard output.")
@click.option("--proba", is_flag=True, help="Probabilities of the classes too.")
@_json
def predict(**options: Any) -> None:
    """Predict with a saved model; if DATA has the target, score the predictions too."""
    cli.runs.predict(options)


@main.command()
@_study
@_folds
@click.option("--floors/--no-floors", default=True, show_default=True, help="Compare with cheap models.")
@click.option(
    "--report",
    type=click.Path(dir_okay=False),
    help="HTML file that shows the whole evaluation, with pictures.",
)
@_json
def evaluate(**options: Any) -> None:
    """Cross-validate on folds that do not leak, and compare with cheap models.

    A fold's scores are printed as soon as they are known.
    """
    cli.runs.evaluate(options)


@main.command()
@_study
@_folds
@click.option(
    "--param",
    type=Assignment(),
    multiple=True,
    required=True,
    callback=merge,
    help="What to search: rank=[2,8], or lr={low: 1e-4, high: 1e-2, log: true}.",
)
@click.option(
    "--n-trials", "--trials", "trials", type=int, help="Candidates; without it, all combinations of lists."
)
@click.option(
    "--storage", help="File or database URL where trials are kept, to go on later or in several processes."
)
@click.option("--timeout", type=float, help="Seconds after which no more trials begin.")
@click.option(
    "--out", type=click.Path(file_okay=False), help="Folder for the best model, fitted on all rows."
)
@_json
def search(**options: Any) -> None:
    """Search for the parameters with the best cross-validated score; bad candidates end early."""
    cli.runs.search(options)


@main.command()
@click.argument("data", type=_FILE)
@click.option("--sequence", "-s", multiple=True, metavar="COLUMN", help="Column of the sequences.")
@click.option("--id", metavar="COLUMN", help='Column of names; "id" if there is one, else numbers from 1.')
@click.option("--model", type=_FOLDER, help="Embed with the tuned backbone of this model.")
@_backbone
@click.option("--residues", is_flag=True, help="One vector per residue, not per protein.")
@_set
@click.option("--out", required=True, type=click.Path(dir_okay=False), help=".npz, .parquet or .h5 file.")
@_json
def embed(**options: Any) -> None:
    """Write embeddings of proteins. What was computed is kept: a run that was stopped goes on from there."""
    cli.runs.embed(options)


@main.command()
@click.argument("protein")
@click.option("--model", type=_FOLDER, help="A saved PLMMaskedLM, or a model that predicts one number.")
@_backbone
@click.option(
    "--method", type=click.Choice(["masked", "wild_type"]), default="masked", help="See mutation_scores."
)
@_set
@click.option("--out", type=click.Path(dir_okay=False), help="CSV file; without it, standard output.")
@_json
def scan(**options: Any) -> None:
    """Score every single mutation of PROTEIN: a sequence, or a FASTA file that holds one.

    Without a model that was fitted, a score is the log-odds of the language model; higher is more plausible.
    """
    cli.runs.scan(options)


@main.command()
@click.argument("model", type=_FOLDER)
@_json
def info(**options: Any) -> None:
    """Say what a saved model is: estimator, backbone, training, scores."""
    cli.runs.info(options)


@main.command()
@click.argument("name")
@click.option("--out", type=click.Path(file_okay=False), help="Folder; of a data set the data home.")
@_json
def download(**options: Any) -> None:
    """Fetch a backbone (esm2-8m, …) or a data set (gb1, deeploc2, …) once."""
    cli.runs.download(options)
