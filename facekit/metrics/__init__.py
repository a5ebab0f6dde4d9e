"""Measures of the thesis's tables, and some beside them: each module one family, each function one number.

Where a measure needs weights that cannot be had, it raises `WeightsUnavailable`: a table then says so in that cell.
"""

from facekit.metrics.distribution import frechet_distance, inception_discriminative_scores, kernel_distance
from facekit.metrics.errors import WeightsUnavailable
from facekit.metrics.identity import cosine_similarity, identity_distance
from facekit.metrics.landmarks import LandmarkScores, score_landmarks
from facekit.metrics.lite0 import lite0_kernel_distance, pooled_features
from facekit.metrics.pixels import psnr, ssim

__all__ = [
    "LandmarkScores",
    "WeightsUnavailable",
    "cosine_similarity",
    "frechet_distance",
    "identity_distance",
    "inception_discriminative_scores",
    "kernel_distance",
    "lite0_kernel_distance",
    "pooled_features",
    "psnr",
    "score_landmarks",
    "ssim",
]
