"""References into other packages' documentation, by the rules of their addresses: no network is needed."""

from docutils import nodes

_PLACES = {
    "sklearn": "https://scikit-learn.org/stable/modules/generated/{name}.html",
    "torch": "https://docs.pytorch.org/docs/stable/generated/{name}.html",
    "optuna": "https://optuna.readthedocs.io/en/stable/reference/generated/{name}.html",
    "numpy": "https://numpy.org/doc/stable/reference/generated/{name}.html",
    "scipy": "https://docs.scipy.org/doc/scipy/reference/generated/{name}.html",
    "pandas": "https://pandas.pydata.org/docs/reference/api/{name}.html",
    "skorch": "https://skorch.readthedocs.io/en/stable/search.html?q={name}",
    "peft": "https://huggingface.co/docs/peft/index",
    "transformers": "https://huggingface.co/docs/transformers/index",
}
# Labels and terms of scikit-learn's own guide, in the docstrings of methods that estimators inherit from it.
_SET_OUTPUT = "auto_examples/miscellaneous/plot_set_output.html"
_GUIDE = "https://scikit-learn.org/stable/"
_LABELS = {
    "accuracy_score": "modules/model_evaluation.html#accuracy-score",
    "r2_score": "modules/model_evaluation.html#r2-score",
    "metadata_routing": "metadata_routing.html",
    "df_output_transform": _SET_OUTPUT,
    "sphx_glr_auto_examples_miscellaneous_plot_set_output.py": _SET_OUTPUT,
    "meta-estimator": "glossary.html#term-meta-estimator",
    "classes_": "glossary.html#term-classes_",
}


def resolve_outside(app, env, node, content) -> nodes.reference | None:
    """A link for a name such as ``sklearn.model_selection.GridSearchCV``; None for all others."""
    name = node.get("reftarget", "")
    if node.get("reftype") in ("ref", "term"):
        address = _GUIDE + _LABELS[name] if name in _LABELS else None
    else:
        place = _PLACES.get(name.partition(".")[0])
        address = place.format(name=name) if place and "." in name else None
    return nodes.reference("", "", content, refuri=address, reftitle=name) if address else None
