"""One feeling, held still: what face, head and eyes do, and a picture of it."""

from __future__ import annotations

import dataclasses

import numpy as np
import torch
from torch import Tensor

from .animate import Animator, Portrait
from .constants import CROP_SIZE, FPS, SAMPLE_RATE
from .emotions import atlas
from .emotions.emotion import Emotion
from .emotions.prototypes import intensity_gain
from .emotions.reader import EmotionReader
from .errors import UsageError
from .media.audio import level, log_mel, relative, syllables
from .media.framing import CropFraming
from .models.hef import generated
from .motion import life
from .settings import parse_intensity


class Stills:
    """Of one set of models. Of a timeline, all take its beginning."""

    def __init__(self, animator: Animator, emotions: EmotionReader) -> None:
        self._animator, self._emotions = animator, emotions

    @torch.inference_mode()
    def behaviour(self, emotion: str | Emotion, intensity: float = 3.0) -> Tensor:
        """[`atlas.WIDTH`] what a face, a head and eyes do that feel `emotion`.

        Zero but for an emotion space that has a `Behaviour`.
        """
        return self._behaviour(self._emotions.of(emotion), _single(intensity))

    def _behaviour(self, felt: Emotion, mu: float) -> Tensor:
        given = dataclasses.replace(felt, mu=torch.full_like(felt.mu, mu))
        return self._animator.manner(given, given.times[:1])[0]

    @torch.inference_mode()
    def expression(
        self, emotion: str | Emotion, intensity: float = 2.0, speaking: bool = False
    ) -> tuple[Tensor, Tensor]:
        """See `EmoTalk.expression`."""
        return self._expression(self._emotions.of(emotion), _single(intensity), speaking)[:2]

    def _expression(self, felt: Emotion, mu: float, speaking: bool) -> tuple[Tensor, Tensor, np.ndarray]:
        """β [64] and σ̂ [width] of the face, and the pose [6] of its head."""
        wave = syllables() if speaking else np.zeros(SAMPLE_RATE, np.float32)
        mel = relative(log_mel(wave), level(wave))
        beta, sigma = self._animator.eac.predict(mel, felt.z[0], mu)
        open_mouth = round(0.5 * FPS)
        behaviour = self._behaviour(felt, mu).numpy()
        pose, gaze = life.posture(behaviour)
        face = beta[open_mouth]
        if not speaking:
            face = torch.maximum(face, torch.from_numpy(life.settled(behaviour)).to(face))
        return face + _looking(gaze).to(face), sigma[open_mouth], pose

    @torch.inference_mode()
    def felt(self, portrait: Portrait, emotion: str | Emotion, intensity: float, size: int = CROP_SIZE) -> np.ndarray:
        """The face saying "ma" with an emotion, uint8 [size,size,3]."""
        beta, sigma, pose = self._expression(self._emotions.of(emotion), _single(intensity), speaking=True)
        return self._picture(portrait, beta, sigma, pose, size)

    @torch.inference_mode()
    def state(self, portrait: Portrait, name: str, intensity: float = 3.0) -> np.ndarray:
        """The silent face in a state of the atlas, as it is written there, uint8 [512,512,3].

        Raises UsageError for an unknown state.
        """
        if name not in atlas.states():
            raise UsageError(f"The atlas has no state {name!r}; emotalk emotion atlas lists them.")
        state, gain = atlas.states()[name], intensity_gain(_single(intensity))
        pose, gaze = life.posture((state.behaviour * gain).numpy())
        return self._picture(portrait, state.beta * gain + _looking(gaze), self._animator.plain_style()[0], pose)

    def _picture(
        self, portrait: Portrait, beta: Tensor, sigma: Tensor, pose: np.ndarray, size: int = CROP_SIZE
    ) -> np.ndarray:
        """The frame of β [64], σ̂ [width] and a head pose [6]."""
        device = self._animator.device
        framing = CropFraming(portrait.fit, size, device)
        beta, sigma, turned = (part[None].to(device) for part in (beta, sigma, torch.from_numpy(pose)))
        geometry = portrait.motion.frame(beta, turned)
        crops = generated(self._animator.hef, portrait.source, geometry, beta, turned, sigma, framing.half)
        return next(iter(framing(crops, geometry)))


def _looking(gaze: np.ndarray) -> Tensor:
    """β [64] of open eyes that look along a gaze [2]."""
    return torch.from_numpy(life.eyes(np.zeros(1), gaze[None])[0])


def _single(intensity: float) -> float:
    """One intensity. Raises UsageError for a range."""
    strength = parse_intensity(intensity)
    if isinstance(strength, tuple):
        raise UsageError(f"--intensity {intensity} is a range; give one number here.")
    return strength
