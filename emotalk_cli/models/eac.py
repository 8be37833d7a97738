"""EAC, the emotion-aware audio-to-3DMM converter (Sec. 3.3): speech + emotion + intensity -> expression.

A Transformer over one intensity token and one token per video frame (eq. 3), then an MLP (eq. 4).
It works on windows of 32 frames; longer audio runs through overlapping windows that are blended, in
constant memory, so that neither seams nor the way the audio was cut into blocks can be seen. What it hears is speech
relative to its own level, as `vad.VAD.listen` gives it.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..emotions.atlas import FACE, limited
from ..emotions.emotion import between
from ..emotions.prototypes import intensity_gain, speech_mask
from ..errors import UsageError, WeightsError
from ..media.audio import FLOOR, FPS, MELS_PER_FRAME, N_MELS, SPAN
from ..motion.lips import (
    CONTACT,
    PEAK,
    SHARP,
    VISEMES,
    VOWELS,
    blended,
    close_lips,
    moulded,
    opened,
    peaks,
    sharpened,
    smoothed,
)
from ..numeric import silence, smoothstep
from ..settings import INTENSITY
from . import checkpoints
from .behaviour import Behaviour, BehaviourDims

ENCODERS = ("transformer", "gru", "mlp")
RIVAL = 0.3  # weight of what is neither bilabial nor vowel: lips closed on a /t/ do less harm than lips open on a /p/
LIKELY = (0.03, 0.07)  # probability of closed lips (`closing`) from which on they are drawn together, and closed
REACH = PEAK + 2  # video frames on either side on which `EAC.contact` depends
PARTING = 0.1  # cm by which a component parts the lips, from which on what is felt shapes them (`lips.moulded`)


@dataclass(frozen=True)
class Dims:
    """Sizes of an EAC; `space` names the emotion space (AME checkpoint) that it was trained in.

    visemes: classes that it also tells apart, once a mel frame; 0 for none. feeling: hidden width of what reads the
    face of z beside the Transformer, which then has speech and its say in that face to learn; 0 for equation 4 alone.
    """

    n_mels: int = N_MELS
    width: int = 192
    heads: int = 4
    layers: int = 4
    hidden: int = 512
    emotion: int = 512
    components: int = 64
    window: int = 32
    encoder: str = "transformer"
    space: str = ""
    visemes: int = 0
    feeling: int = 0


@dataclass(frozen=True)
class Overlap:
    """How windows overlap: a new one every `hop` frames, each of which answers for the 2 hop frames before its last
    `after`."""

    hop: int
    after: int

    @property
    def look_ahead(self) -> int:
        """Video frames after a moment on which its motion depends."""
        return 2 * self.hop + self.after - 1 + REACH


WHOLE = Overlap(16, 0)  # a recording that is there: every frame stands in the middle of a window once
LIVE = Overlap(4, 4)  # speech that is coming in: four times the work, a third of the delay


class EAC(nn.Module):
    """Speech mel [B,80,4T] (see `vad.VAD.listen`), z_emo [B,512], mu [B] in 1..3 -> beta [B,T,64], sigma [B,width]."""

    lips: Tensor
    encoder: nn.TransformerEncoder | nn.GRU | nn.Sequential

    def __init__(self, dims: Dims = Dims()) -> None:
        super().__init__()
        if dims.encoder not in ENCODERS:
            raise UsageError(f"Unknown EAC encoder {dims.encoder!r}; choose one of {', '.join(ENCODERS)}.")
        self.dims = dims
        width = dims.width
        self.audio = nn.Sequential(
            nn.Conv1d(dims.n_mels, width // 2, 5, 2, 2),
            nn.GELU(),
            nn.Conv1d(width // 2, width, 5, 2, 2),
            nn.GELU(),
            nn.Conv1d(width, width, 3, 1, 1),
        )
        self.emotion = nn.Sequential(nn.Linear(dims.emotion, width), nn.GELU(), nn.Linear(width, width))
        self.intensity = nn.Parameter(torch.randn(width) * 0.02)
        self.position = nn.Parameter(torch.randn(dims.window + 1, width) * 0.02)
        if dims.encoder == "transformer":
            layer = nn.TransformerEncoderLayer(
                width, dims.heads, dims.hidden, 0.0, "gelu", batch_first=True, norm_first=True
            )
            self.encoder = nn.TransformerEncoder(layer, dims.layers, nn.LayerNorm(width), enable_nested_tensor=False)
        elif dims.encoder == "gru":
            self.encoder = nn.GRU(width, width // 2, dims.layers, batch_first=True, bidirectional=True)
        else:
            blocks = [
                nn.Sequential(
                    nn.LayerNorm(width), nn.Linear(width, dims.hidden), nn.GELU(), nn.Linear(dims.hidden, width)
                )
                for _ in range(dims.layers)
            ]
            self.encoder = nn.Sequential(*blocks)
        self.register_buffer("lips", torch.zeros(dims.components, 5))  # cm, see `close_lips`
        self.head = nn.Sequential(nn.Linear(width, width), nn.GELU(), nn.Linear(width, dims.components + 1))
        self.feeling = None
        if dims.feeling:
            self.feeling = Behaviour(BehaviourDims(dims.feeling, dims.components, dims.space))
        self.heard = nn.Linear(width, MELS_PER_FRAME * dims.visemes) if dims.visemes else None

    @classmethod
    def load(cls, weights: str | os.PathLike[str] | None = None) -> EAC:
        """The shipped network, in eval mode. Raises WeightsError."""
        checkpoint = checkpoints.load("eac", weights)
        return checkpoint.fill(cls(checkpoint.sizes(Dims)))

    def check(self, space: str) -> None:
        """Raises WeightsError if it was trained in another emotion space."""
        if self.dims.space != space:
            raise WeightsError(
                f"EAC was trained in emotion space {self.dims.space!r}, not {space!r}; train it again with this AME "
                "checkpoint."
            )

    def adopt(self, older: EAC) -> None:
        """Go on from another network's weights; those for the emotion only if it was trained in the same space.

        Raises UsageError if its encoder is another.
        """
        if older.dims.encoder != self.dims.encoder:
            raise UsageError(f"start holds a {older.dims.encoder}; choose encoder to match.")
        kept = {name: value for name, value in older.state_dict().items() if name != "lips"}
        if older.dims.feeling != self.dims.feeling:
            kept = {name: value for name, value in kept.items() if not name.startswith("feeling.")}
        if older.dims.space != self.dims.space:
            kept = {name: value for name, value in kept.items() if not name.startswith(("emotion.", "feeling."))}
            last = self.emotion[-1]
            assert isinstance(last, nn.Linear)
            nn.init.zeros_(last.weight)  # a new emotion does not disturb what is known of speech
        self.load_state_dict(kept, strict=False)
        if isinstance(self.encoder, nn.TransformerEncoder):  # layers that come on top change nothing at first
            for layer in list(self.encoder.layers)[older.dims.layers :]:
                assert isinstance(layer, nn.TransformerEncoderLayer)
                silence(layer.self_attn.out_proj)
                silence(layer.linear2)

    @torch.no_grad()
    def feel(self, behaviour: Behaviour) -> None:
        """Begin with the face that `behaviour` reads in z, as far as it stays while speaking."""
        assert self.feeling is not None
        faces = len(FACE)
        share = speech_mask()[:faces]
        theirs = behaviour.state_dict()
        for name, own in self.feeling.state_dict().items():
            if name.startswith(("direct", "layers.4")):  # rows are channels
                rows = theirs[name][:faces]
                own[:faces] = rows * (share[:, None] if rows.dim() > 1 else share)
                own[faces:] = 0
            else:
                own.copy_(theirs[name])

    def closing(self, closed: Tensor, heard: Tensor | None) -> Tensor:
        """Logit [B,T] of lips being closed from what `window` gives: a bilabial rather than a vowel, for 80 ms."""
        if heard is None:  # the other head is surer of itself
            return closed - 1.6
        said = heard.softmax(2)
        bilabial = said[..., VISEMES.index("bilabial")]
        vowels = said[..., [VISEMES.index(name) for name in VOWELS]].sum(2)
        share = bilabial / (bilabial + vowels + RIVAL * (1 - bilabial - vowels))
        half = MELS_PER_FRAME // 2
        return F.avg_pool1d(F.pad(share, (half, half)), 2 * MELS_PER_FRAME, MELS_PER_FRAME).logit(1e-4)

    def sharpness(self, heard: Tensor | None, like: Tensor) -> Tensor:
        """Share of each of `SHARP` in what is heard, logits [B,4T,visemes]: [B,T,len(SHARP)] in 0..1, like `like`."""
        if heard is None:
            return like.new_zeros(*like.shape[:2], len(SHARP))
        said = heard.softmax(2)
        share = torch.stack([said[..., [VISEMES.index(name) for name in names]].sum(2) for names in SHARP.values()], 1)
        return F.avg_pool1d(share, MELS_PER_FRAME).transpose(1, 2)

    def forward(self, mel: Tensor, z: Tensor, mu: Tensor) -> tuple[Tensor, Tensor]:
        """One window: speech mel [B,80,4T] with T <= 32, z [B,512], mu [B] -> beta [B,T,64], sigma [B,width]."""
        beta, _, _, sigma = self.window(mel, z, mu)
        return beta, sigma

    def window(self, mel: Tensor, z: Tensor, mu: Tensor) -> tuple[Tensor, Tensor, Tensor | None, Tensor]:
        """`forward`, and between its results logits: [B,T] of closed lips, [B,4T,visemes] of what is being said."""
        sigma = mu[:, None] * self.intensity
        tokens = torch.cat([sigma[:, None], self.audio((mel - FLOOR) / SPAN).transpose(1, 2)], 1)
        tokens = tokens + self.position[: tokens.shape[1]] + self.emotion(z)[:, None]
        if isinstance(self.encoder, nn.Sequential):
            for block in self.encoder:
                tokens = tokens + block(tokens)
        else:
            tokens = self.encoder(tokens)
        if self.dims.encoder == "gru":
            tokens = tokens[0]
        motion = self.head(tokens[:, 1:])
        if self.feeling is not None:
            keeps = (self.lips.mean(1).abs() < PARTING).to(z)  # how far lips part is speech's to say, feeling or not
            felt = self.feeling.raw(z) * intensity_gain(mu[:, None])
            beta = moulded(motion[..., :-1] + (felt * keeps)[:, None], felt * (1 - keeps), self.lips)
            motion = torch.cat([beta, motion[..., -1:]], 2)
        heard = self.heard(tokens[:, 1:]).reshape(len(mel), -1, self.dims.visemes) if self.heard else None
        return motion[..., :-1], motion[..., -1], heard, tokens[:, 0]

    @torch.inference_mode()
    def stream(
        self,
        mels: Iterable[Tensor],
        z: Tensor,
        mu: float | Tensor,
        batch: int = 16,
        times: Tensor | None = None,
        overlap: Overlap = WHOLE,
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """Motion for speech of any length.

        mels: blocks [80, 4 n] of any size, as `vad.VAD.listen` gives them. z: [512]. mu: 1..3. With times [K] in s,
        z [K,512] and mu [K] are keyframes: each window takes what lies at its middle, and the blending of windows
        makes the change smooth. overlap: `WHOLE`, or `LIVE` for less delay. Yields beta [n,64] and sigma [n,width]
        blocks, one row a video frame at 25 frames/s; their content does not depend on how the mels were cut. Raises
        UsageError for mu outside 1..3.
        """
        mu = torch.as_tensor(mu, dtype=torch.float32, device="cpu").reshape(-1)
        if not bool(((mu >= INTENSITY[0]) & (mu <= INTENSITY[1])).all()):
            raise UsageError(f"Intensity {mu.tolist()} is outside 1..3; choose a value between them.")
        times = torch.zeros(1) if times is None else times.cpu()
        z = z.cpu().reshape(len(times), -1)
        sizes = [self.dims.components, 1 + len(SHARP), self.dims.width]
        rows, done = torch.empty(0, sum(sizes), device=self.intensity.device), 0  # the first `done` rows have left
        for block in itertools.chain(self._rows(mels, z, mu, times, batch, overlap), [None]):
            if block is not None:
                rows = torch.cat([rows, block])
            ready = len(rows) - (REACH if block is not None else 0)
            if ready > done:
                beta, said, sigma = rows.split(sizes, 1)
                beta = self.contact(beta, said[:, 0].sigmoid(), said[:, 1:])
                yield beta[done:ready], sigma[done:ready].clone()
                rows, done = rows[max(0, ready - REACH) :], min(REACH, ready)

    def _rows(
        self, mels: Iterable[Tensor], z: Tensor, mu: Tensor, times: Tensor, batch: int, overlap: Overlap
    ) -> Iterator[Tensor]:
        """Windows blended: rows of beta, the logit of closed lips, shares of `SHARP`, and sigma, one a video frame."""
        window, device, hop = self.dims.window, self.intensity.device, overlap.hop
        answered = slice(window - overlap.after - 2 * hop, window - overlap.after)
        middle = answered.start + hop
        fade = torch.sin(torch.pi * (torch.arange(2 * hop) + 0.5) / (2 * hop)).square()[:, None].to(device)

        def silence(frames: int) -> Tensor:
            return torch.full((self.dims.n_mels, frames * MELS_PER_FRAME), FLOOR, device=device)

        buffer, carry, seen, given = (
            silence(middle),
            None,
            0,
            -hop,
        )  # `given`: frames that have left, the lead-in counted
        first = 0  # of the windows to come; window i has its middle at frame i * hop

        def padded() -> Iterator[tuple[Tensor, bool]]:
            nonlocal seen
            for mel in mels:
                seen += mel.shape[1] // MELS_PER_FRAME
                yield mel.to(device), False
            yield silence(-seen % hop + hop + overlap.after), True

        for mel, last in padded():
            buffer = torch.cat([buffer, mel], 1)
            windows = (buffer.shape[1] // MELS_PER_FRAME - window) // hop + 1
            while windows > 0:
                count = min(windows, batch)
                length = ((count - 1) * hop + window) * MELS_PER_FRAME
                inputs = buffer[:, :length].unfold(1, window * MELS_PER_FRAME, hop * MELS_PER_FRAME).transpose(0, 1)
                middles = torch.arange(first, first + count) * (hop / FPS)
                felt = F.normalize(between(times, z, middles), dim=1) if len(times) > 1 else z.expand(count, -1)
                beta, closed, heard, sigma = self.window(
                    inputs, felt.to(device), between(times, mu, middles).to(device, inputs.dtype)
                )
                closed, sharp = self.closing(closed, heard), self.sharpness(heard, beta)
                first += count
                told = [beta, closed[..., None], sharp, sigma[:, None].expand(-1, window, -1)]
                rows = torch.cat(told, 2)[:, answered] * fade
                mixed = torch.zeros((count + 1) * hop, rows.shape[2], device=device)
                for i in range(count):
                    mixed[i * hop : (i + 2) * hop] += rows[i]
                if carry is not None:
                    mixed[:hop] += carry
                carry = mixed[-hop:].clone()
                buffer = buffer[:, count * hop * MELS_PER_FRAME :]
                windows -= count
                ready = mixed[: count * hop]
                start = max(0, -given)
                stop = len(ready) if not last else min(len(ready), seen - given)
                given += len(ready)
                if stop > start:
                    yield ready[start:stop]

    def predict(self, mel: Tensor, z: Tensor, mu: float | Tensor, times: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """`stream` for all speech [80, 4 T] at once: beta [T,64], sigma [T,width]."""
        motion = list(self.stream([mel], z, mu, times=times))
        return torch.cat([beta for beta, _ in motion]), torch.cat([sigma for _, sigma in motion])

    @torch.inference_mode()
    def visemes(self, mel: Tensor, z: Tensor) -> Tensor:
        """Logits [4T, visemes] of what is said in each mel frame of speech [80,4T]."""
        window, hop = self.dims.window * MELS_PER_FRAME, self.dims.window * MELS_PER_FRAME // 2
        count = -(-mel.shape[1] // hop)
        margin = (hop // 2, count * hop - mel.shape[1] + hop // 2)
        windows = F.pad(mel.to(self.intensity.device), margin, value=FLOOR).unfold(1, window, hop).transpose(0, 1)
        z = z.to(windows).expand(count, -1)
        logits = self.window(windows, z, torch.ones(count, device=windows.device))[2]
        assert logits is not None, "a network without visemes"
        return logits[:, hop // 2 : hop // 2 + hop].flatten(0, 1)[: mel.shape[1]]

    def contact(self, beta: Tensor, closed: Tensor, sharp: Tensor) -> Tensor:
        """Coefficients [...,n,64] in their range, with the mouth that is seen to say what is heard.

        closed: probability [...,n] of closed lips; sharp: how much of each of `SHARP` is heard [...,n,len(SHARP)].
        A regression averages a closure, or a rounding, with what surrounds it. Lips that are likely to be closed, or
        nearer than `CONTACT`, are therefore drawn smoothly together, and shapes that are heard are made
        (`lips.sharpened`). All is smoothed a little, which closures survive.
        """
        beta = limited(beta)
        beta = sharpened(opened(beta), sharp)
        apart = (beta @ self.lips).clamp(min=0)
        likely = smoothstep(((peaks(closed) - LIKELY[0]) / (LIKELY[1] - LIKELY[0])).clamp(0, 1))
        allowed = (
            apart * smoothstep((apart.mean(-1, keepdim=True) / CONTACT).clamp(0, 1)) * (1 - blended(likely)[..., None])
        )
        beta = smoothed(close_lips(beta, allowed, self.lips))
        return close_lips(beta, (beta @ self.lips).clamp(min=0) * (1 - likely[..., None]), self.lips)

    def save(self, directory: str | os.PathLike[str], **provenance: Any) -> Path:
        """Write `eac.safetensors` (see `checkpoints.save` for the provenance to give)."""
        return checkpoints.save("eac", self.state_dict(), asdict(self.dims), directory, **provenance)
