"""Fitting the face model to one picture: θ_s = {α, β_s, δ, γ, p} (Sec. 3.1) from landmarks and pixels."""

from __future__ import annotations

import dataclasses

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from ..constants import CROP_SIZE
from ..numeric import fixed, smooth_path
from .model import FaceModel, rotation_vector, sh_basis, shade
from .procrustes import similarity
from .raster import interpolate, rasterize
from .topology import EXPRESSION_NAMES, INDEX, INNER_LIPS, LEFT_EYE, LIP_PAIRS, N_SKIN, RIGHT_EYE

CROP_MARGIN = 1.8  # crop side / longer side of the landmarks' box
CROP_LIFT = 0.04  # the crop's centre lies this part of its side above the box's: hair needs room
DEPTH_WEIGHT = 0.5  # a monocular landmarker's z is less certain than its x and y
IDENTITY_RIDGE, EXPRESSION_RIDGE = 0.3, 1.0
KNOWN_RIDGE, KNOWN_FRAMES = 0.1, 64  # of a person in a film: share of the ridge, and frames that tell who it is
# Resting brows, lids and lips differ between people as much as between moods: explain them by identity first.
CAUTIOUS_RIDGE = {"brow": 12.0, "eye": 4.0, "cheek": 6.0, "noseSneer": 6.0, "jawForward": 12.0, "mouthRoll": 4.0}
CAUTIOUS_RIDGE |= {"mouthFrown": 3.0, "mouthShrug": 4.0, "mouthPucker": 4.0, "mouthFunnel": 4.0, "mouthClose": 6.0}
CAUTIOUS_RIDGE |= {"mouthUpperUp": 3.0, "mouthLowerDown": 2.0, "residual": 8.0}
# Broad smiles: least squares explain a third of them by identity. What 89 people's smiles (London set) have in common,
# how much of its amount a fit misses beyond the spread of resting faces, and what a tracker's score of 1 amounts to.
SMILE = {"mouthSmile": 0.45, "mouthShrugLower": 0.3, "mouthShrugUpper": 0.2, "jawOpen": 0.2, "mouthUpperUp": 0.1}
SMILE |= {"mouthRollLower": 0.1, "mouthRollUpper": 0.05, "mouthStretch": 0.05, "mouthPress": 0.05, "noseSneer": 0.05}
SMILE |= {"cheekSquint": 0.08}
SMILE_REST, SMILE_MISSED, SMILE_SCORE = 0.25, 0.45, 1.7
SMILE_FADED, SMILE_OVER = 0.15, 0.4  # beyond the first, this much more is removed: folds that stay still read as smile
# In outer eye distances: opening from which on lips have an inner edge to be found; how far a landmark may be from it,
# and usually is; half the width over which colours are averaged along it; outwards of the edge, half of its blur.
LIP_APART, LIP_REACH, LIP_TRUST, LIP_SIDE, LIP_SLACK = 0.035, 0.03, 0.02, 0.012, 0.004
LIP_OWN, LIP_DEEP = (0.025, 0.055), (-0.04, -0.015)  # outwards, where the lip's own colour is; where no lip is
LIP_STEPS, LIP_STIFF = 31, 1.5  # how many places are tried; cost of a bend against that of distance
LIP_RED, LIP_EVEN = 2.0, 0.45  # weight of redness against lightness; of what is no lip, the difference that counts half
LID_SEARCH, CORNER_SEARCH = (-0.05, 0.11), (-0.05, 0.14)  # eye widths, outwards: where a lower lid's edge, a corner is
LID_TRUST, LID_STEP = 0.03, 0.18  # in units of an eyeball's contrast with skin: of a landmark; that is surely an edge
LID_PIXELS, LID_OPEN = 16, 0.12  # px of an eye's width, and of that its opening, below which no edge can be told
SH_RIDGE = 0.02
TEXTURE_RIDGE = 1.0


@dataclasses.dataclass
class Pose:
    """Weak perspective: image = scale · (rotation · X) · [1,-1,-1] + translation, rotation in the y-up frame.

    rotation [B,3,3], scale [B] px per cm, translation [B,3] px.
    """

    rotation: Tensor
    scale: Tensor
    translation: Tensor

    def project(self, points: Tensor) -> Tensor:
        """Model points [B,V,3] cm -> image px [B,V,3] (z away from the camera)."""
        return self.rotate(points) + self.translation[:, None]

    def rotate(self, vectors: Tensor) -> Tensor:
        """Model displacements [B,V,3] cm -> image displacements px."""
        turned = vectors @ self.rotation.transpose(1, 2) * self.scale[:, None, None]
        return turned * fixed([1.0, -1.0, -1.0], turned)

    def unproject(self, points: Tensor) -> Tensor:
        """Image px [B,V,3] -> model cm."""
        centred = (points - self.translation[:, None]) * fixed([1.0, -1.0, -1.0], points)
        return centred @ self.rotation / self.scale[:, None, None]

    def vector(self, size: int = CROP_SIZE) -> Tensor:
        """p ∈ R^6: rotation vector in camera space (x right, y down, z away), x, y (crop fraction), log scale."""
        flip = self.rotation.new_tensor([1.0, -1.0, -1.0])
        turn = rotation_vector(self.rotation * flip[:, None] * flip)
        place = self.translation[:, :2] / size - 0.5
        return torch.cat([turn, place, (self.scale / size).log()[:, None]], 1)


@dataclasses.dataclass
class PortraitFit:
    """A fitted source face.

    image [3,512,512] 0..1; landmarks [478,3] crop px; alpha [80], beta [64], delta [80], gamma [27];
    pose: Pose of batch 1 in crop px; to_source: [2,3] affine from crop px to source px;
    source: the whole picture, uint8 [H,W,3]. residual: cm [478,3] by which landmarks stand beside the person's resting
    face and β, where that is known; in motion they stand where the model says.
    """

    image: Tensor
    landmarks: Tensor
    alpha: Tensor
    beta: Tensor
    delta: Tensor
    gamma: Tensor
    pose: Pose
    to_source: np.ndarray
    source: np.ndarray
    residual: Tensor | None = None

    def over(self, source: np.ndarray) -> PortraitFit:
        """The same face in another picture uint8 [H,W,3] of the same place."""
        square = (*self.to_source[:, 2], self.to_source[0, 0] * self.image.shape[-1])
        pixels = torch.tensor(cut(source, square)).permute(2, 0, 1).float() / 255
        return dataclasses.replace(self, image=pixels, source=source)


def align(source: Tensor, target: Tensor) -> Pose:
    """Similarity that carries model points [B,V,3] to image points [B,V,3] in least squares."""
    flipped = target * target.new_tensor([1.0, -1.0, -1.0])
    scale, rotation, offset = similarity(source, flipped)
    return Pose(rotation, scale, offset * target.new_tensor([1.0, -1.0, -1.0]))


def expression_ridge(names: list[str]) -> Tensor:
    """Prior precision of each expression component."""
    strongest = [
        max([v for k, v in CAUTIOUS_RIDGE.items() if n.startswith(k)], default=EXPRESSION_RIDGE) for n in names
    ]
    return torch.tensor(strongest)


def fit_shape(
    model: FaceModel,
    landmarks: Tensor,
    rounds: int = 4,
    alpha: Tensor | None = None,
    residual: Tensor | None = None,
    caution: float = 1.0,
) -> tuple[Tensor, Tensor, Pose]:
    """α, β_s and pose by regularised least squares against landmarks [B,478,3] px, β in 0..1 where named.

    alpha [1,80]: of a person who is known; residual [478,3] cm: what this person has beside the model on average, from
    which β then goes both ways, and what a pose could say as well counts as β. caution: share of the prior on β. β
    counts from `model.expression_rest`, so that a resting face reads zero on average. Returns alpha [B,80],
    beta [B,64], Pose.
    """
    mean = model.mean if residual is None else model.mean + residual
    count = len(model.identity)
    basis = torch.cat([model.identity, model.expression]).flatten(1)
    weight = torch.tensor([1.0, 1.0, DEPTH_WEIGHT]).to(landmarks).repeat(model.mean.shape[0]) ** 2
    expression = caution * expression_ridge(EXPRESSION_NAMES)
    ridge = torch.cat([torch.full((count,), IDENTITY_RIDGE), expression]).to(landmarks)
    against = basis * weight
    if residual is not None:
        rigid = _rigid(mean) * weight.sqrt()
        free = basis * weight.sqrt()
        against = (free - free @ rigid.T @ torch.linalg.solve(rigid @ rigid.T, rigid)) * weight.sqrt()
    normal = against @ basis.T + ridge.diag()
    step = 1 / torch.linalg.eigvalsh(normal)[-1]
    low = torch.full_like(ridge, -3.0)
    high = torch.full_like(ridge, 3.0)
    low[count : count + 53], high[count : count + 53] = 0 if residual is None else -1, 1
    theta = landmarks.new_zeros(len(landmarks), len(ridge))
    if alpha is not None:
        low[:count] = high[:count] = theta[:, :count] = alpha[0].to(theta)
    for _ in range(rounds):
        shape = mean + (theta @ basis).view(-1, *mean.shape)
        pose = align(shape, landmarks)
        target = (pose.unproject(landmarks) - mean).flatten(1)
        right = target @ against.T
        momentum = theta
        for i in range(150):  # accelerated projected gradient
            new = (momentum - step * (momentum @ normal - right)).clamp(low, high)
            momentum = new + (i / (i + 3)) * (new - theta)
            theta = new
    if residual is not None:
        pose = align(mean + (theta @ basis).view(-1, *mean.shape), landmarks)
    return theta[:, :count], theta[:, count:] - model.expression_rest, pose


def _rigid(points: Tensor) -> Tensor:
    """How points [V,3] move, shifted, turned and scaled a little: [7,3V]."""
    zero, (x, y, z) = torch.zeros_like(points[:, 0]), points.T
    turns = [torch.stack(t, 1) for t in ((zero, -z, y), (z, zero, -x), (-y, x, zero))]
    shifts = torch.eye(3).to(points)[:, None].expand(3, len(points), 3)
    return torch.stack([*shifts, *turns, points]).flatten(1)


def fit_clip(model: FaceModel, landmarks: Tensor) -> tuple[Tensor, Tensor, Pose]:
    """One person's α [80], and β [T,64] and poses of the frames, from landmarks [T,478,3] px.

    What stays the same over the clip is the person: α, and what the model cannot say of them. Known, it no longer
    passes for an expression, nor an expression for it, so β may follow the landmarks closely.
    """
    spread = landmarks[:: max(1, len(landmarks) // KNOWN_FRAMES)]
    alpha = fit_shape(model, spread)[0].mean(0, keepdim=True)
    _, beta, pose = fit_shape(model, spread, alpha=alpha)
    shape = model.vertices(alpha, beta + model.expression_rest)
    residual = (pose.unproject(spread) - shape).mean(0)
    _, beta, pose = fit_shape(model, landmarks, alpha=alpha, residual=residual, caution=KNOWN_RIDGE)
    return alpha[0], beta, pose


def complete_smile(model: FaceModel, beta: Tensor, score: float = 0.0) -> Tensor:
    """β_s [B,64] with the part of a smile that `fit_shape` took for identity. score: a tracker's mouthSmile, 0..1."""
    common = beta.new_tensor([SMILE.get(n.removesuffix("Left").removesuffix("Right"), 0.0) for n in EXPRESSION_NAMES])
    direction = model.displacement(common[None]).flatten()
    amount = model.displacement(beta).flatten(1) @ direction / direction.square().sum()
    whole = amount + SMILE_MISSED * (amount - SMILE_REST).clamp_min(0)
    whole = torch.maximum(whole, (whole + SMILE_SCORE * score) / 2)
    whole = whole + SMILE_OVER * (whole - SMILE_FADED).clamp_min(0)
    return beta + (whole - amount)[:, None] * common


def camera_normals(model: FaceModel, beta: Tensor, pose: Pose, size: int) -> Tensor:
    """Relief normals turned to the camera's y-up frame and resized: [B,3,size,size]."""
    normals = F.interpolate(model.normals(beta), size=(size, size), mode="bilinear", align_corners=False)
    return F.normalize(torch.einsum("bij,bjhw->bihw", pose.rotation, normals), dim=1, eps=1e-6)


def fit_illumination(texture: Tensor, normals: Tensor, albedo: Tensor, mask: Tensor) -> Tensor:
    """γ [B,27] of three-band light per colour, least squares of texture ≈ albedo · shade(normals, γ).

    texture, albedo, normals [B,3,h,w]; mask [h,w]. Only surfaces facing the camera are trusted.
    """
    bands = sh_basis(normals).flatten(2)
    trust = (mask * normals[:, 2].clamp_min(0)).flatten(1)[:, None]
    prior = SH_RIDGE * trust.sum(2, keepdim=True) * torch.eye(9, device=texture.device)
    prior[:, 0, 0] *= 0.01
    out = []
    for c in range(3):
        design = bands * albedo[:, c].flatten(1)[:, None] * trust
        target = (texture[:, c].flatten(1)[:, None] * trust).transpose(1, 2)
        out.append(torch.linalg.solve(design @ design.transpose(1, 2) + prior, design @ target)[..., 0])
    return torch.stack(out, 1).flatten(1)


def unwrap(model: FaceModel, image: Tensor, landmarks: Tensor, size: int = 0) -> Tensor:
    """The pixels under the mesh as a UV texture [1,3,size,size], by default of the model's size.

    image [3,h,w], landmarks [478,2+] px.
    """
    size = size or model.dims.texture_size
    flat = torch.cat([model.uv[:N_SKIN] * size, torch.zeros_like(model.uv[:N_SKIN, :1])], 1)[None]
    face, weights = rasterize(flat, model.triangles, size, size)
    limit = landmarks.new_tensor(image.shape[:0:-1])
    at = interpolate(face, weights, model.triangles, landmarks[:N_SKIN, :2] / limit * 2 - 1).permute(0, 2, 3, 1)
    return F.grid_sample(image[None], at, align_corners=False, padding_mode="border")


def fit_appearance(
    model: FaceModel, image: Tensor, landmarks: Tensor, beta: Tensor, pose: Pose
) -> tuple[Tensor, Tensor]:
    """δ [1,80] and γ [1,27] from the pixels under the mesh. image [3,h,w], landmarks [478,3] px."""
    texture = unwrap(model, image, landmarks)
    normals = camera_normals(model, beta[None], pose, model.dims.texture_size)
    mask, basis = model.texture_mask[0], model.texture_basis.flatten(1)
    normal = (basis * model.texture_mask.expand(3, -1, -1).flatten()) @ basis.T
    delta = texture.new_zeros(1, len(basis))
    for _ in range(2):
        gamma = fit_illumination(texture, normals, model.albedo(delta), mask)
        delit = (texture / shade(normals, gamma).clamp_min(0.15)).clamp(0, 1.5)
        right = ((delit - model.texture_mean) * mask).flatten(1) @ basis.T
        ridge = TEXTURE_RIDGE * mask.sum() * 3 * 0.003
        delta = torch.linalg.solve(normal + ridge * torch.eye(len(basis)).to(normal), right.T).T
    return delta, gamma


def crop_box(landmarks: np.ndarray) -> tuple[float, float, float]:
    """(left, top, side) of the square portrait crop around landmarks [478,2+] px."""
    low, high = landmarks[:, :2].min(0), landmarks[:, :2].max(0)
    side = CROP_MARGIN * float((high - low).max())
    x, y = (low + high) / 2
    return float(x) - side / 2, float(y) - side / 2 - CROP_LIFT * side, side


def cut(image: np.ndarray, box: tuple[float, float, float], size: int = CROP_SIZE) -> np.ndarray:
    """Resample the square (left, top, side) of uint8 [H,W,3] to [size,size,3]; edges are repeated outside."""
    left, top, side = box
    height, width = image.shape[:2]
    pad = int(max(0, -left, -top, left + side - width, top + side - height)) + 2
    x0, y0 = max(0, int(left) - 2), max(0, int(top) - 2)
    x1, y1 = min(width, int(left + side) + 3), min(height, int(top + side) + 3)
    part = np.pad(image[y0:y1, x0:x1], ((pad, pad), (pad, pad), (0, 0)), mode="edge")
    shift = np.array([left - x0 + pad, top - y0 + pad])
    area = (*shift, *(shift + side))
    return np.asarray(Image.fromarray(part).resize((size, size), Image.Resampling.LANCZOS, box=area))


def snap_lips(image: Tensor, landmarks: Tensor) -> Tensor:
    """Move the inner contour of an open mouth onto the edge between lip and teeth or cavity.

    A rim of teeth would be carried along by a lip that closes; a lip that is taken for teeth vanishes. What differs
    from the lip's own colour, which is looked for further out, lies inside; a smooth curve parts it from what does not,
    near the landmarks, which are seldom far from the edge.
    image [3,h,w] 0..1, landmarks [478,3] px -> landmarks.
    """
    upper, lower = torch.tensor(LIP_PAIRS).T
    opening = (landmarks[lower, :2] - landmarks[upper, :2]).norm(dim=1)
    eyes = float((landmarks[33] - landmarks[263])[:2].norm())
    if float(opening.max()) < LIP_APART * eyes:
        return landmarks
    limit = landmarks.new_tensor(image.shape[:0:-1])
    steps = torch.linspace(-1, 1, LIP_STEPS) * LIP_REACH * eyes
    step = float(steps[1] - steps[0])
    corners = landmarks[[INNER_LIPS[0], INNER_LIPS[10]], :2]
    share = (opening / (LIP_APART * eyes)).clamp(0, 1)
    landmarks = landmarks.clone()
    for vertices, sign in ((upper, -1.0), (lower, 1.0)):
        start = landmarks[vertices, :2]
        row = torch.cat([corners[:1], start, corners[1:]])
        along = F.normalize(row[2:] - row[:-2], dim=1)
        outward = sign * torch.stack([-along[:, 1], along[:, 0]], 1)

        def read(far: Tensor, start: Tensor = start, outward: Tensor = outward, along: Tensor = along) -> Tensor:
            """Lightness and redness [9,N,2] at `far` px [N] outwards, means along the lip."""
            side = torch.linspace(-1, 1, 5)[:, None] * LIP_SIDE * eyes
            at = (start[:, None] + far[:, None] * outward[:, None])[:, :, None] + side * along[:, None, None]
            found = F.grid_sample(image[None], (at / limit * 2 - 1).flatten(0, 1)[None], align_corners=False)[0]
            red, green, _ = found = found.reshape(3, len(start), len(far), 5).mean(3)
            return torch.stack([found.mean(0), LIP_RED * (red - green)], 2)

        lip = read(torch.linspace(*LIP_OWN, 7) * eyes).median(1, keepdim=True).values
        lip = F.avg_pool1d(F.pad(lip[:, 0].T[None], (1, 1), mode="replicate"), 3, 1)[0].T[:, None]
        strange = (read(steps) - lip).norm(dim=2)
        deep = (read(torch.linspace(*LIP_DEEP, 5) * eyes) - lip).norm(dim=2)[2:7].median()
        inside = strange.square() / (strange.square() + (LIP_EVEN * deep).clamp(0.03, 0.2).square())
        lost, kept = inside.flip(1).cumsum(1).flip(1), (1 - inside).cumsum(1)
        cost = (lost - inside + kept) * step / eyes / LIP_TRUST + (steps / (LIP_TRUST * eyes)).square() / 2
        offset = steps[smooth_path(cost, (steps[:, None] - steps).square() * (LIP_STIFF / (LIP_TRUST * eyes) ** 2))]
        landmarks[vertices, :2] = start + ((offset + LIP_SLACK * eyes) * share)[:, None] * outward
    return landmarks


def snap_lids(image: Tensor, landmarks: Tensor) -> Tensor:
    """Move the lower lids and outer corners of open eyes onto the edge of what shows of the eyeball.

    A landmarker leaves a sliver of white below its outline, which a lid that moves would drag along. The white is
    lighter in its darkest channel than the skin below, an iris darker than that in its brightest; the strongest step
    from either to skin near each landmark wins. image [3,h,w] 0..1, landmarks [478,3] px -> landmarks.
    """
    limit = landmarks.new_tensor(image.shape[:0:-1])
    landmarks = landmarks.clone()

    def read(at: Tensor) -> Tensor:
        """The picture's colours [3,...] at px [...,2]."""
        grid = (at / limit * 2 - 1).reshape(1, -1, 1, 2)
        found = F.grid_sample(image[None], grid, padding_mode="border", align_corners=False)
        return found.reshape(3, *at.shape[:-1])

    def step(ball: Tensor, distance: Tensor, reach: float) -> tuple[Tensor, Tensor]:
        """Where rows [N,S] leave the eyeball, as offsets of `distance` [S], and how surely, 0..1: [N] each."""
        inside = F.pad(ball, (6, 0), mode="replicate").unfold(1, 7, 1).mean(2)
        outside = F.pad(ball, (0, 5), mode="replicate").unfold(1, 5, 1).mean(2)[:, 1:]
        best = (inside - outside - LID_TRUST * (distance / reach).square()).max(1)
        return distance[best.indices], (best.values / LID_STEP).clamp(0, 1)

    for ring in (LEFT_EYE, RIGHT_EYE):
        outer, inner, upper, middle = landmarks[[ring[0], ring[8], ring[4], ring[12]], :2]
        width = float((inner - outer).norm())
        along = (inner - outer) / max(width, 1e-3)
        down = torch.stack([-along[1], along[0]])
        down = down * ((middle - upper) @ down).sign()
        if width < LID_PIXELS or float((middle - upper) @ down) < LID_OPEN * width:
            continue
        lower = ring[:8:-1]  # from the outer corner on, without either
        start = landmarks[lower, :2]
        skin = read(start[:, None] + torch.tensor([[0.2], [0.26], [0.32]]) * width * down).flatten(1).median(1).values
        light, dark = skin.min().clamp_min(0.05), skin.max().clamp_min(0.05)

        def eyeball(at: Tensor, light: Tensor = light, dark: Tensor = dark) -> Tensor:
            """How much px [N,S,K,2] look like an eyeball, mean over K: [N,S]."""
            colour = read(at)
            white = (colour.amin(0) / light - 1).clamp(-0.3, 0.8)
            return torch.maximum(white, 1.2 * (0.65 - colour.amax(0) / dark).clamp(0, 0.6)).mean(2)

        steps = torch.linspace(*LID_SEARCH, 33)[:, None, None] * width
        side = torch.linspace(-0.03, 0.03, 5)[:, None] * width * along
        offset, sure = step(eyeball(start[:, None, None] + steps * down + side), steps[:, 0, 0], 0.05 * width)
        padded = F.pad((offset * sure)[None, None], (2, 2), mode="replicate")
        offset = F.avg_pool1d(padded.unfold(2, 3, 1).median(3).values, 3, 1)[0, 0]
        landmarks[lower, :2] = start + offset[:, None] * down
        steps = torch.linspace(*CORNER_SEARCH, 39)[:, None, None] * width
        side = torch.linspace(-0.01, 0.05, 5)[:, None] * width * down
        offset, sure = step(eyeball((outer - steps * along + side)[None]), steps[:, 0, 0], 0.08 * width)
        for vertices, share in (([ring[0]], 1.0), ([ring[1], ring[15]], 0.6), ([ring[2], ring[14]], 0.25)):
            landmarks[vertices, :2] -= share * offset * sure * along
    return landmarks


def fit_portrait(
    model: FaceModel, image: np.ndarray, landmarks: np.ndarray, scores: np.ndarray | None = None
) -> PortraitFit:
    """Crop and fit a face. image: uint8 [H,W,3]; landmarks: [478,3] in its px; scores: [51] ARKit, of a tracker.

    Runs on the CPU.
    """
    left, top, side = crop_box(landmarks)
    zoom = CROP_SIZE / side
    points = torch.tensor((landmarks - [left, top, 0]) * zoom, dtype=torch.float32)
    pixels = torch.tensor(cut(image, (left, top, side))).permute(2, 0, 1).float() / 255
    points = snap_lids(pixels, snap_lips(pixels, points))
    with torch.no_grad():
        alpha, beta, pose = fit_shape(model, points[None])
        sides = [INDEX["mouthSmileLeft"], INDEX["mouthSmileRight"]]
        beta = complete_smile(model, beta, 0.0 if scores is None else float(np.mean(scores[sides])))
        delta, gamma = fit_appearance(model, pixels, points, beta[0], pose)
    affine = np.array([[1 / zoom, 0, left], [0, 1 / zoom, top]])
    return PortraitFit(pixels, points, alpha[0], beta[0], delta[0], gamma[0], pose, affine, image)
