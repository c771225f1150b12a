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


def resolve_outside(app, env, node, content) -> nodes.reference | None:
    """A link for a name such as ``sklearn.model_selection.GridSearchCV``; None for all others."""
    name = node.get("reftarget", "")
    place = _PLACES.get(name.partition(".")[0])
    if place is None or "." not in name:
        return None
    return nodes.reference("", "", content, refuri=place.format(name=name), reftitle=name)
