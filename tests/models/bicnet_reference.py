"""BiCnet's parts as NumPy loops over clips, groups and frames, written from the description; and drawn variables."""

import jax
import numpy as np


def drawn_variables(module, *inputs, seed=0):
    """Variables of a module away from their initial values, the gammas that start at 0 too."""
    rng = np.random.default_rng(seed)
    shapes = jax.eval_shape(lambda: module.init(jax.random.key(0), *inputs))

    def drawn(path, leaf):
        noise, name = rng.standard_normal(leaf.shape), path[-1].key
        if name == "kernel":
            return (noise / np.sqrt(np.prod(leaf.shape[:-1]))).astype(np.float32)
        return (np.exp(0.3 * noise) if name in ("var", "scale") else 0.3 * noise).astype(np.float32)

    return jax.tree_util.tree_map_with_path(drawn, dict(shapes))


def pooled(x, size, how):
    """[h, w, d] in windows of size x size from the upper left corner, the last ones smaller."""
    h, w, _ = x.shape
    return np.array(
        [
            [how(x[i : i + size, j : j + size].reshape(-1, x.shape[-1]), axis=0) for j in range(0, w, size)]
            for i in range(0, h, size)
        ]
    )


def norm(x, params, stats, train):
    """BatchNorm of the last axis: (values, running statistics afterwards)."""
    axes = tuple(range(x.ndim - 1))
    mean, var = (x.mean(axes), x.var(axes)) if train else (stats["mean"], stats["var"])
    after = {key: 0.9 * stats[key] + 0.1 * new for key, new in (("mean", mean), ("var", var))} if train else stats
    return (x - mean) / np.sqrt(var + 1e-5) * params["scale"] + params["bias"], after


def softmax(x):
    e = np.exp(x - x.max())
    return e / e.sum()


def propagate(detail, context, params):
    kernel, d = params["message"]["kernel"], detail.shape[-1]
    out = context.astype(np.float64)
    for b, g, j in np.ndindex(*context.shape[:3]):
        out[b, g, j] += pooled(detail[b, g], 2, np.max) @ kernel[:, j * d : (j + 1) * d]
    return out


def select_kernels(detail, context, counts, params, stats, train):
    """Temporal kernel selection: (detail, context, statistics afterwards)."""
    batch, groups = detail.shape[:2]
    grid, descriptions, branches = pooled(detail[0, 0], 8, np.mean).shape, [], []
    for b in range(batch):
        frames = {}
        for g in range(groups):
            frames[4 * g] = pooled(detail[b, g], 8, np.mean)
            for j in range(3):
                frames[4 * g + 1 + j] = pooled(context[b, g, j], 4, np.mean)
        branch = np.zeros((2, 4 * groups, *grid))
        for k, dilation in enumerate((1, 2)):
            kernel = params[f"dilation{dilation}"]["kernel"]
            for t in range(4 * groups):
                for tap, earlier in enumerate((-dilation, 0, dilation)):
                    if t + earlier in frames and counts[b, t + earlier]:
                        branch[k, t] += frames[t + earlier] @ kernel[tap]
        both = branch.sum(axis=0)
        descriptions.append(np.mean([both[t].mean((0, 1)) for t in range(4 * groups) if counts[b, t]], axis=0))
        branches.append(branch)
    squeezed = np.array(descriptions) @ params["squeeze"]["kernel"]
    squeezed, squeeze_stats = norm(squeezed, params["squeeze_norm"], stats["squeeze_norm"], train)
    scores = np.maximum(squeezed, 0) @ params["select"]["kernel"]
    to_detail, to_context = np.zeros(detail.shape), np.zeros(context.shape)
    d = detail.shape[-1]
    for b in range(batch):
        weights = np.array([softmax(scores[b, [c, d + c]]) for c in range(d)])
        chosen = weights[:, 0] * branches[b][0] + weights[:, 1] * branches[b][1]
        for g in range(groups):
            for y, x in np.ndindex(*detail.shape[2:4]):
                to_detail[b, g, y, x] = chosen[4 * g, y // 8, x // 8]
            for j, y, x in np.ndindex(*context.shape[2:5]):
                to_context[b, g, j, y, x] = chosen[4 * g + 1 + j, y // 4, x // 4]
    to_detail, after = norm(to_detail, params["norm"], stats["norm"], train)
    to_context, after = norm(to_context, params["norm"], after, train)
    return detail + to_detail, context + to_context, {"squeeze_norm": squeeze_stats, "norm": after}


def stripes(x):
    """[h, w, d] -> [8, d]: rows that a stripe touches, however little, are averaged."""
    h = x.shape[0]
    touched = [[r for r in range(h) if r * 8 < (i + 1) * h and (r + 1) * 8 > i * h] for i in range(8)]
    return np.array([x[rows].mean((0, 1)) for rows in touched])


def attend(detail, context, params, stats, train):
    """Divided attention: (detail, context, masks of the context frames, statistics afterwards)."""
    batch, groups = detail.shape[:2]
    out, masks, after = [detail.astype(np.float64), context.astype(np.float64)], [], {}
    for kind in range(4):
        maps = [
            [pooled(detail[b, g], 2, np.mean) if kind == 0 else context[b, g, kind - 1] for g in range(groups)]
            for b in range(batch)
        ]
        cut = np.array([[stripes(x) for x in clip] for clip in maps], np.float64)
        if kind < 2:
            logits = cut.mean(-1)
        else:
            logits = np.einsum("bgkd,d->bgk", cut, params[f"score{kind}"]["kernel"][:, 0])
            logits = np.einsum("bgk,kl->bgl", logits, params[f"mix{kind}"]["kernel"])
            name = f"mix_norm{kind}"
            logits, after[name] = norm(logits, params[name], stats[name], train)
        mask = np.array([[softmax(row) for row in clip] for clip in logits])
        vector = np.einsum("bgk,bgkd->bgd", mask, cut)
        vector, after[f"norm{kind}"] = norm(vector, params[f"norm{kind}"], stats[f"norm{kind}"], train)
        for b, g in np.ndindex(batch, groups):
            if kind == 0:
                out[0][b, g] += vector[b, g]
            else:
                out[1][b, g, kind - 1] += vector[b, g]
        masks.append(mask)
    return out[0], out[1], np.stack(masks[1:], axis=2), after


def diversity(masks, counts):
    """Gram matrix of the roots minus I, Frobenius norm / 4, pair by pair; mean over a clip's pairs, then over clips."""
    clips = []
    for clip, counted in zip(masks, counts, strict=True):
        pairs = []
        for group, alive in zip(clip, counted, strict=True):
            for i, j in ((0, 1), (0, 2), (1, 2)):
                if alive[i] and alive[j]:
                    roots = np.sqrt(group[[i, j]])
                    pairs.append(np.linalg.norm(roots @ roots.T - np.eye(2)) / 4)
        clips.append(np.mean(pairs) if pairs else 0.0)
    return np.mean(clips)
