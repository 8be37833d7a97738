"""Learn the face model from the data pack: `emotalk train face-model`."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from scipy.optimize import lsq_linear
from torch.nn import functional as F

from ...emotions.atlas import components
from ...face import fit
from ...face.model import N_TEXTURE, FaceDims, FaceModel, shade
from ...face.procrustes import similarity_of_arrays
from ...face.raster import rasterize
from ...face.topology import (
    EXPRESSION_NAMES,
    INNER_LIPS,
    LEFT_EYE,
    N_RESIDUAL,
    N_SKIN,
    N_VERTICES,
    OUTER_LIPS,
    RIGHT_EYE,
)
from ...models import checkpoints
from ...numeric import smoothstep

ICT_SKIN = slice(0, 9409)
ICT_MOUTH = slice(14062, 21451)
ICT_GUMS_END, ICT_TEETH_LOWER = 17039, 19247
FURROW_DEPTH, FURROW_WIDTH = 0.055, 0.15  # cm
STRONGER = {"browDown": 1.65}  # factor on shapes whose extreme in the scans is shy of an actor's
RESIDUAL_NORM = 3.0  # cm, root sum of squares over all vertices: of the order of a named shape
TOOTH, GUM, TONGUE = (0.95, 0.92, 0.87), (0.62, 0.40, 0.39), (0.66, 0.33, 0.33)
THROAT, LOWER_LIGHT = (0.06, 0.025, 0.025), 0.85  # colour of the dark; lower teeth stand in the upper ones' shadow
TONGUE_DARK, TONGUE_LIT = 3.5, 9.0  # cm, depths between which a tongue comes to light
CROWN_REACH, CROWN_DEPTH, PAPILLA = 0.45, 0.3, 0.85  # cm: a gum's nearest crowns; their depth; gum this near their edge
TOOTH_HEIGHT = 1.2  # of the scans' upper crowns, whose gums would show in any smile


def ict_basis(dense: np.lib.npyio.NpzFile, part: slice) -> np.ndarray:
    """ICT expression shapes regrouped to the named components: [53, vertices, 3] cm."""
    names, shapes = [str(n) for n in dense["expression_names"]], dense["expression"].astype(np.float32)[:, part]
    basis = np.zeros((53, shapes.shape[1], 3), np.float32)
    for row, name in enumerate(EXPRESSION_NAMES[:53]):
        sources = [name.replace("Left", "_L").replace("Right", "_R"), name, f"{name}_L", f"{name}_R"]
        for source in sources if name not in ("jawLeft", "jawRight", "mouthLeft", "mouthRight") else [name]:
            if source in names:
                basis[row] += shapes[names.index(source)]
                if source == sources[0]:
                    break
    return basis


def barycentric_map(uv: torch.Tensor, triangles: torch.Tensor, size: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Rasterise a UV layout: face number [1,size,size] (-1 where empty) and barycentric weights."""
    vertices = torch.cat([uv * size, torch.zeros_like(uv[:, :1])], 1)[None]
    return rasterize(vertices, triangles, size, size)


def fill_holes(maps: torch.Tensor, mask: torch.Tensor, steps: int = 60) -> torch.Tensor:
    """Grow [N,C,H,W] values outward from mask [1,1,H,W] so that differences at its rim are defined."""
    known = mask.clone()
    maps = maps * known
    for _ in range(steps):
        weight = F.avg_pool2d(known, 3, 1, 1)
        grown = F.avg_pool2d(maps, 3, 1, 1) / weight.clamp_min(1e-6)
        maps = torch.where(known > 0, maps, grown)
        known = (weight > 0).float()
    return maps


def closest_on_mesh(points: np.ndarray, vertices: np.ndarray, triangles: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """For each point the triangle it projects to and its (clamped) barycentric weights."""
    a, b, c = (vertices[triangles[:, i]] for i in range(3))
    u, v = b - a, c - a
    uu, uv, vv = (u * u).sum(1), (u * v).sum(1), (v * v).sum(1)
    best, weights = np.zeros(len(points), int), np.zeros((len(points), 3), np.float32)
    for start in range(0, len(points), 512):
        w = points[start : start + 512, None] - a
        wu, wv = (w * u).sum(-1), (w * v).sum(-1)
        det = uu * vv - uv * uv
        s, t = (wu * vv - wv * uv) / det, (wv * uu - wu * uv) / det
        s, t = s.clip(0, 1), t.clip(0, 1)
        over = np.maximum(s + t, 1)
        s, t = s / over, t / over
        gap = ((w - s[..., None] * u - t[..., None] * v) ** 2).sum(-1)
        pick = gap.argmin(1)
        rows = np.arange(len(pick))
        best[start : start + 512] = pick
        st = np.stack([s[rows, pick], t[rows, pick]], 1)
        weights[start : start + 512] = np.concatenate([1 - st.sum(1, keepdims=True), st], 1)
    return best, weights


def learn_relief(basis: np.lib.npyio.NpzFile, dense: np.lib.npyio.NpzFile, uv: np.ndarray, size: int) -> dict:
    """UV position map of the dense skin and of its 53 expression shapes (facial folds included)."""
    skin, triangles = dense["vertices"][ICT_SKIN].astype(np.float32), dense["triangles"]
    triangles = triangles[(triangles < ICT_SKIN.stop).all(1)]
    holes = [set(ring) for ring in (INNER_LIPS, LEFT_EYE, RIGHT_EYE)]
    surface = np.array([t for t in basis["triangles"] if not any(set(t) <= hole for hole in holes)])
    face, weights = closest_on_mesh(skin, basis["mean"], surface)
    gap = np.linalg.norm((basis["mean"][surface[face]] * weights[..., None]).sum(1) - skin, axis=1)
    dense_uv = torch.tensor((uv[surface[face]] * weights[..., None]).sum(1), dtype=torch.float32)
    near = gap < 0.6  # cm; the rest lies behind the mesh (ears, lip and lid undersides)
    kept = triangles[near[triangles].all(1)]
    span = (dense_uv[kept].amax(1) - dense_uv[kept].amin(1)).amax(1) < 0.08
    picked, weight = barycentric_map(dense_uv, torch.tensor(kept[span.numpy()]), size)
    mask = (picked >= 0).float()[:, None]
    corners = torch.tensor(kept[span.numpy()])[picked.clamp_min(0)[0]]
    values = np.concatenate([skin[None], ict_basis(dense, ICT_SKIN)])
    maps = torch.stack([(torch.tensor(v)[corners] * weight[0][..., None]).sum(2) for v in values]).permute(0, 3, 1, 2)
    maps = fill_holes(maps, mask)
    kernel = torch.tensor([1.0, 4.0, 6.0, 4.0, 1.0]) / 16  # the facets of the dense mesh must not show in normals
    blur = (kernel[:, None] * kernel)[None, None].expand(3, 1, 5, 5)
    maps = F.conv2d(F.pad(maps, (2, 2, 2, 2), mode="replicate"), blur, groups=3)
    relief = torch.zeros(64, 3, size, size)
    relief[:53] = maps[1:]
    for name, depth in furrows(maps[0]).items():
        relief[EXPRESSION_NAMES.index(name), 2] -= depth  # these surfaces face forward
    return {"relief_mean": maps[0], "relief_basis": relief, "relief_mask": mask[0]}


def furrows(position: torch.Tensor) -> dict[str, torch.Tensor]:
    """Furrows that the scans of young subjects lack: depth in cm per unit of the shape that folds the skin.

    position: UV position map [3,H,W] cm. Forehead lines come with raised brows, the two glabellar lines with
    lowered ones, lines across the nose's root and down its sides with a wrinkled nose, the nasolabial fold with it and
    with a raised lip, a fold below the corner of the mouth when that is drawn down, dimples in a chin pushed up.
    """
    x, y = position[:2]

    def line(distance: torch.Tensor, width: float = FURROW_WIDTH) -> torch.Tensor:
        inside = torch.exp(-0.5 * (distance / width) ** 2)
        return inside - 0.5 * torch.exp(-0.5 * (distance / (2 * width)) ** 2)  # skin bulges beside its fold

    def near(distance: torch.Tensor, reach: float, power: int = 4) -> torch.Tensor:
        return torch.exp(-0.5 * (distance / reach).abs() ** power)

    wave = 0.12 * torch.sin(1.3 * x + 0.7) + 0.06 * torch.sin(2.9 * x)
    forehead = sum(line(y - height - wave * k) for height, k in ((6.95, 1.0), (7.5, 0.8), (8.0, 1.2)))
    root = line(y - 4.4) * near(x, 0.8, 2)
    chin = torch.sin(6.2 * x + 0.8) * torch.sin(5.6 * y + 0.3) + 0.7 * torch.sin(4.7 * x - 3.9 * y)
    depths = {"browInnerUp": 0.8 * forehead * near(x, 1.8, 2)}
    depths["mouthShrugLower"] = 0.3 * chin * near(x, 1.3) * near(y + 6.1, 0.75)
    for side, sign in (("Left", 1), ("Right", -1)):
        out = sign * x  # towards this side
        depths[f"browOuterUp{side}"] = 0.8 * forehead * near(out - 2.8, 1.5, 2)
        slanted = out - 0.65 - 0.15 * (y - 5.5)
        depths[f"browDown{side}"] = line(slanted) * near(y - 5.6, 0.8)
        nasolabial = line(out - 2.2 + 0.33 * y, 0.2) * near(y + 1.1, 1.2)
        sides = line(0.8 * y - 2.2 + 0.6 * out) * near(out - 0.85, 0.35)
        depths[f"noseSneer{side}"] = 0.5 * root + 0.8 * nasolabial + 0.6 * sides
        depths[f"mouthUpperUp{side}"] = 0.6 * nasolabial
        depths[f"mouthFrown{side}"] = 0.9 * line(out - 2.95 + 0.1 * (y + 4.5), 0.2) * near(y + 4.7, 0.9)
    return {name: FURROW_DEPTH * depth for name, depth in depths.items()}


def learn_mouth(dense: np.lib.npyio.NpzFile) -> dict:
    """Front-facing teeth, gums and tongue with baked colour; the lower ones move affinely with the jaw."""
    part = ICT_MOUTH
    vertices, shapes = dense["vertices"][part].astype(np.float32), ict_basis(dense, part)
    triangles = dense["triangles"] - part.start
    triangles = triangles[((triangles >= 0) & (triangles < len(vertices))).all(1)]
    moves = np.linalg.norm(shapes[EXPRESSION_NAMES.index("jawOpen")], axis=1) > 0.3
    number = np.arange(len(vertices)) + part.start
    lower = np.where(number >= ICT_GUMS_END, number >= ICT_TEETH_LOWER, moves)
    a, b, c = (vertices[triangles[:, i]] for i in range(3))
    normal = np.cross(b - a, c - a)
    normal /= np.linalg.norm(normal, axis=1, keepdims=True) + 1e-9
    front = (normal[:, 2] > -0.1) | (np.abs(normal[:, 1]) > 0.8)
    front &= (lower[triangles].all(1)) | (~lower[triangles]).all(1)
    triangles, normal = triangles[front], normal[front]
    smooth = np.zeros_like(vertices)
    for i in range(3):
        np.add.at(smooth, triangles[:, i], normal)
    smooth /= np.linalg.norm(smooth, axis=1, keepdims=True) + 1e-9
    tooth = number >= ICT_GUMS_END
    radius = np.hypot(vertices[:, 0], vertices[:, 2] - 5.5)
    tongue = ~tooth & lower & (radius < 3.0) & (vertices[:, 1] > -4.6)
    crown = tooth | between_teeth(vertices, tooth, lower, ~tooth & ~tongue)
    color = np.where(crown[:, None], TOOTH, np.where(tongue[:, None], TONGUE, GUM))
    diffuse = 0.55 + 0.45 * (smooth @ (np.array([0.0, 0.35, 0.94]))).clip(0)  # a light from the front and above
    # what is further back lies in the mouth's own shadow: molars would stand in its corners like posts
    lit = np.where(tongue, (vertices[:, 2] - TONGUE_DARK) / (TONGUE_LIT - TONGUE_DARK), (vertices[:, 2] - 6.5) / 3.0)
    lit = lit.clip(0, 1)
    lit = smoothstep(lit) * np.where(lower & tooth, LOWER_LIGHT, 1.0)
    color = np.array(THROAT) + (color * diffuse[:, None] - np.array(THROAT)) * lit[:, None]
    edge = vertices[tooth & ~lower, 1].min()
    vertices[~lower, 1] = edge + TOOTH_HEIGHT * (vertices[~lower, 1] - edge)
    used = np.unique(triangles)
    renumber = np.full(len(vertices), -1)
    renumber[used] = np.arange(len(used))
    points = np.concatenate([vertices, np.ones((len(vertices), 1))], 1)
    rows = lower & tooth
    jaw = np.stack([np.linalg.lstsq(points[rows], shape[rows], rcond=1e-6)[0] for shape in shapes])
    mouth_jaw = np.zeros((64, 4, 3), np.float32)
    mouth_jaw[:53] = jaw
    return {
        "mouth_mean": torch.tensor(vertices[used]),
        "mouth_jaw": torch.tensor(mouth_jaw),
        "mouth_lower": torch.tensor(lower[used].astype(np.float32)),
        "mouth_triangles": torch.tensor(renumber[triangles]),
        "mouth_color": torch.tensor(color[used].astype(np.float32)),
    }


def between_teeth(vertices: np.ndarray, tooth: np.ndarray, lower: np.ndarray, gum: np.ndarray) -> np.ndarray:
    """Which gum vertices fill the triangles between crowns: in small pictures they look like broken teeth."""
    filled = np.zeros(len(vertices), bool)
    radius = np.hypot(vertices[:, 0], vertices[:, 2] - 5.5)  # of the dental arch
    for jaw, sign in ((lower, -1), (~lower, 1)):
        crowns, rows = np.flatnonzero(tooth & jaw), np.flatnonzero(gum & jaw)
        near = np.linalg.norm(vertices[rows, None][..., [0, 2]] - vertices[crowns][None][..., [0, 2]], axis=2)
        near = near < CROWN_REACH
        edge = np.where(near, sign * vertices[None, crowns, 1], np.inf).min(1)
        front = np.where(near, radius[None, crowns], -np.inf).max(1)
        front[~near.any(1)] = np.inf
        filled[rows] = (sign * vertices[rows, 1] < edge + PAPILLA) & (radius[rows] > front - CROWN_DEPTH)
    return filled


def smooth_lift(mean: np.ndarray, known: np.ndarray, upper: np.ndarray) -> np.ndarray:
    """Gaussian-process regression matrix [478, known] that spreads motion of some vertices over all.

    `upper` is +1 above the lip line and -1 below near the mouth, so that the lips do not drag each other.
    """
    coordinates = np.concatenate([mean / 1.6, 1.5 * upper[:, None]], 1)
    kernel = np.exp(-0.5 * ((coordinates[:, None] - coordinates[None]) ** 2).sum(-1))
    return kernel[:, known] @ np.linalg.inv(kernel[np.ix_(known, known)] + 0.02 * np.eye(len(known)))


def expression_residuals(model: FaceModel, data: Path, held_out: dict) -> np.ndarray:
    """PCA of what the 53 named shapes leave unexplained: in real smiles and in real speech. [11,478,3] cm."""
    basis = model.expression[:53].numpy()
    labels = np.load(data / "faces/labels.npz")
    row = {name: i for i, name in enumerate(labels["name"])}
    samples = []
    for name in labels["name"]:
        if not name.startswith("london_neutral") or name in held_out["faces"]:
            continue
        pair = name.replace("neutral", "smiling").replace("_03", "_08")
        if pair not in row or pair in held_out["faces"]:
            continue
        neutral, smile = (to_model_space(model.mean.numpy(), labels["landmarks"][row[n]]) for n in (name, pair))
        samples += explain(basis, (smile - neutral)[None], np.arange(N_VERTICES))
    mean, mirror = model.mean.numpy(), model.mirror.numpy()
    shapes = np.array(samples)
    smiles = principal(np.concatenate([shapes, shapes[:, mirror] * [-1, 1, 1]]), 5)

    tracks = np.load(data / "grid/tracks.npz")
    known = tracks["landmark_index"]
    keep = ~np.repeat(np.isin(tracks["name"], held_out["grid"]), tracks["length"])
    frames = tracks["landmarks"][keep][::40].astype(np.float32)
    spoken = np.stack([to_model_space(mean[known], frame) for frame in frames])
    lips = {n: i for i, n in enumerate(known)}
    rest = spoken[np.argsort(spoken[:, lips[13], 1] - spoken[:, lips[14], 1])[: len(spoken) // 5]].mean(0)
    motion = np.stack(explain(basis, (spoken - rest)[::3], known))
    below = np.isin(np.arange(N_VERTICES), INNER_LIPS[11:] + OUTER_LIPS[11:])
    near = np.exp(-((mean - mean[[13, 14]].mean(0)) ** 2).sum(1) / 8)
    side = np.where(below, -near, near)
    lift = smooth_lift(mean, known, side)
    lifted = np.einsum("vk,nkc->nvc", lift, motion)
    lifted -= np.einsum("nk,kvc->nvc", np.einsum("nvc,kvc->nk", lifted, smiles), smiles)
    speech = principal(np.concatenate([lifted, lifted[:, mirror] * [-1, 1, 1]]), N_RESIDUAL - 5)
    return np.concatenate([smiles, speech]) * RESIDUAL_NORM


def to_model_space(reference: np.ndarray, landmarks: np.ndarray) -> np.ndarray:
    """Landmarks in px (x right, y down, z away) -> the model's frame and scale by rigid alignment with scale."""
    points = landmarks.astype(np.float64) * [1, -1, -1]
    scale, rotation, shift = similarity_of_arrays(points, reference)
    return scale * points @ rotation.T + shift


def explain(basis: np.ndarray, motion: np.ndarray, known: np.ndarray) -> list[np.ndarray]:
    """Residuals of bounded least squares of each motion [n,known,3] in the named shapes."""
    matrix = basis[:, known].reshape(len(basis), -1).T
    ridge = 0.35 * np.eye(len(basis))
    out = []
    for target in motion:
        stacked = np.concatenate([target.reshape(-1), np.zeros(len(basis))])
        beta = lsq_linear(np.concatenate([matrix, ridge]), stacked, bounds=(0, 1)).x
        out.append(target - (matrix @ beta).reshape(target.shape))
    return out


def principal(samples: np.ndarray, count: int) -> np.ndarray:
    """Leading right singular vectors (not centred: motion from rest), unit norm. [count,478,3]."""
    return np.linalg.svd(samples.reshape(len(samples), -1), full_matrices=False)[2][:count].reshape(count, -1, 3)


def learn_texture(model: FaceModel, data: Path, held_out: dict, size: int) -> dict:
    """De-lit UV albedo of every training photo -> mean and PCA (eq. 1). Two passes refine light against albedo."""
    labels = np.load(data / "faces/labels.npz")
    rows = [i for i, n in enumerate(labels["name"]) if n not in held_out["faces"]]
    mask = (barycentric_map(model.uv[:N_SKIN], model.triangles, size)[0][0] >= 0).float()
    textures, normals = [], []
    for i in rows:
        image = np.asarray(Image.open(data / "faces" / labels["name"][i]).convert("RGB"), np.float32) / 255
        points = torch.tensor(labels["landmarks"][i])
        textures.append(fit.unwrap(model, torch.tensor(image).permute(2, 0, 1), points)[0])
        alpha, beta, pose = fit.fit_shape(model, points[None])
        normals.append(fit.camera_normals(model, beta, pose, size)[0])
    colours, facing = torch.stack(textures), torch.stack(normals)
    albedo = colours.mean(0, keepdim=True).expand(len(colours), -1, -1, -1)
    mean = albedo[:1]
    for _ in range(3):
        gamma = fit.fit_illumination(colours, facing, mean.expand_as(colours), mask)
        light = shade(facing, gamma).clamp_min(0.15)
        albedo = (colours / light).clamp(0, 1.5)
        mean = albedo.median(0, keepdim=True).values
    both = torch.cat([albedo, albedo.flip(-1)])
    centred = ((both - mean) * mask).flatten(1)
    _, s, v = torch.pca_lowrank(centred, N_TEXTURE, center=False, niter=6)
    basis = (v * (s / len(centred) ** 0.5)).T.reshape(N_TEXTURE, 3, size, size)
    maps = fill_holes(torch.cat([mean, basis]), mask[None, None], steps=8)  # so that the rim has no seam
    return {"texture_mean": maps[0], "texture_basis": maps[1:], "texture_mask": mask[None]}


def resting_expression(model: FaceModel, data: Path, held_out: dict) -> torch.Tensor:
    """Mean fitted β of people asked to look neutral, left and right alike: [64]."""
    labels = np.load(data / "faces/labels.npz")
    rows = [i for i, n in enumerate(labels["name"]) if n.startswith(("london_neutral", "canada"))]
    rows = [i for i in rows if labels["name"][i] not in held_out["faces"]]
    beta = fit.fit_shape(model, torch.tensor(labels["landmarks"][rows]))[1].mean(0)
    swap = [
        EXPRESSION_NAMES.index(n.replace("Left", "~").replace("Right", "Left").replace("~", "Right"))
        for n in EXPRESSION_NAMES
    ]
    return (beta + beta[swap]) / 2


def learn(data: Path, out: Path, seed: int, command: str) -> Path:
    """Learn all parts from the data pack and write `out/face_model.safetensors`; its path."""
    torch.manual_seed(seed)
    basis = np.load(data / "face_basis_478.npz")
    dense = np.load(data / "ict_light.npz")
    held_out = json.loads((data / "splits.json").read_text())
    uv = np.zeros((N_VERTICES, 2), np.float32)
    uv[:N_SKIN] = basis["uv"]
    for centre, ring, corners in ((468, slice(469, 473), (33, 133)), (473, slice(474, 478), (362, 263))):
        uv[centre] = uv[list(corners)].mean(0)
        uv[ring] = uv[centre]
    mouth = learn_mouth(dense)
    dims = FaceDims(n_mouth_vertices=len(mouth["mouth_mean"]), n_mouth_triangles=len(mouth["mouth_triangles"]))
    model = FaceModel(dims)
    state = {
        "mean": torch.tensor(basis["mean"]),
        "identity": torch.tensor(basis["identity"][: dims.n_identity]),
        "triangles": torch.tensor(basis["triangles"]).long(),
        "mirror": torch.tensor(basis["mirror"]).long(),
        "uv": torch.tensor(uv),
        **mouth,
        **learn_relief(basis, dense, uv, dims.relief_size),
    }
    state["expression"] = torch.zeros(64, N_VERTICES, 3)
    state["expression"][:53] = torch.tensor(basis["expression"])
    for shape, factor in STRONGER.items():
        for part in ("expression", "relief_basis"):
            state[part][components(shape)] *= factor
    model.load_state_dict(state, strict=False)
    model.expression[53:] = torch.tensor(expression_residuals(model, data, held_out)).float()
    model.expression_rest[:] = resting_expression(model, data, held_out)
    model.load_state_dict(learn_texture(model, data, held_out, dims.texture_size), strict=False)
    return checkpoints.save(
        "face_model",
        model.state_dict(),
        dims,
        out,
        data="face_basis_478, ICT-FaceKit Light, London and Canada sets, SFHQ, GRID s1 (see MODEL_CARD.md)",
        command=command,
        seed=seed,
    )
