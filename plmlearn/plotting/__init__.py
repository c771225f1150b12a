"""Pictures, and the numbers inside a model that some of them show. Needs ``pip install "plmlearn[plot]"``.

A Display holds its data in attributes. ``from_estimator`` and ``from_predictions`` (or a name that says what
else it takes) compute and draw; ``plot(ax=...)`` draws again, on axes of your own. Colours are told apart by
colour-blind readers.

``LearningCurvesDisplay``                        losses and scores by epoch
``ResidueDisplay``                               predictions along a sequence
``ClassScoresDisplay``, ``ReliabilityDisplay``   scores by class; how far to trust probabilities
``EmbeddingMapDisplay``                          proteins as points
``MutationHeatmapDisplay``                       effects of mutations, positions against residues
``PredictedMeasuredDisplay``                     predictions with their intervals against measurements
``CampaignDisplay``                              what rounds of a campaign find
``LeakageDisplay``, ``LayerSweepDisplay``        what a split leaks; what each layer knows
``SearchDisplay``                                what a search found, and what it cost
``attention_maps``, ``AttentionDisplay``         attention before and after tuning
``attributions``, ``AttributionDisplay``         what each residue contributes to a prediction
"""

from .attention import AttentionDisplay, AttentionMaps, attention_maps
from .attribution import AttributionDisplay, attributions
from .campaigns import CampaignDisplay
from .classes import ClassScoresDisplay, ReliabilityDisplay
from .curves import LearningCurvesDisplay
from .embeddings import EmbeddingMapDisplay
from .layers import LayerSweepDisplay
from .leakage import LeakageDisplay
from .mutations import MutationHeatmapDisplay
from .predictions import PredictedMeasuredDisplay
from .residues import ResidueDisplay
from .search import SearchDisplay

__all__ = [
    "AttentionDisplay",
    "AttentionMaps",
    "AttributionDisplay",
    "CampaignDisplay",
    "ClassScoresDisplay",
    "EmbeddingMapDisplay",
    "LayerSweepDisplay",
    "LeakageDisplay",
    "LearningCurvesDisplay",
    "MutationHeatmapDisplay",
    "PredictedMeasuredDisplay",
    "ReliabilityDisplay",
    "ResidueDisplay",
    "SearchDisplay",
    "attention_maps",
    "attributions",
]
